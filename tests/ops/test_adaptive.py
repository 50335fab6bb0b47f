"""Adaptive pools, blur pool, local convolution and unpooling against the NumPy oracle in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import oracle

import jaxconv as jc

pytestmark = pytest.mark.sampled

QUICK = {"xla_backend_optimization_level": 0}


def value_and_pull(f, x, g):
    """f(x) and the pull-back of g, in one program."""

    @partial(jax.jit, compiler_options=QUICK)
    def program(x, g):
        y, pull = jax.vjp(f, x)
        return y, pull(g)[0]

    return program(x, g)


def with_indices(x, size, **arguments):
    """`max_pool_with_indices` as one program: eagerly, each operation in it would be compiled separately."""
    return jax.jit(lambda x: jc.max_pool_with_indices(x, size, **arguments), compiler_options=QUICK)(x)


def slope(f, x, g, u, eps=1e-6):
    """⟨g, ∂f(x + t u)/∂t⟩ by a central difference of the oracle."""
    return np.vdot(g, (f(x + eps * u) - f(x - eps * u)) / (2 * eps))


@pytest.mark.parametrize("out", [1, 2, 3, 5, 7, 9])
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_adaptive_windows(kind, out, rng, x64):
    x = rng.normal(size=(2, 7, 5, 3))
    ours, theirs = getattr(jc, f"adaptive_{kind}_pool"), getattr(oracle, f"adaptive_{kind}_pool")
    sizes = (out, 4)
    want = theirs(x, sizes)
    g = rng.normal(size=want.shape)
    y, dx = value_and_pull(lambda x: ours(x, sizes), x, g)
    np.testing.assert_allclose(y, want, rtol=1e-12)
    u = rng.normal(size=x.shape)
    np.testing.assert_allclose(np.vdot(dx, u), slope(lambda x: theirs(x, sizes), x, g, u), rtol=1e-6)


@pytest.mark.parametrize("kind", ["avg", "max"])
@pytest.mark.parametrize(("out", "sizes"), [((None, 4), (7, 4)), ([2, None], (2, 5)), ((None, None), (7, 5))])
def test_none_is_the_size_of_the_input(kind, out, sizes, rng):
    x = rng.normal(size=(2, 7, 5, 3)).astype(np.float32)
    layer = {"avg": jc.AdaptiveAvgPool, "max": jc.AdaptiveMaxPool}[kind](out)
    want = getattr(oracle, f"adaptive_{kind}_pool")(x, sizes)
    np.testing.assert_allclose(layer.apply({}, {}, x)[0], want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 8, 3), (2, 3, 5, 4, 2)])
def test_adaptive_in_one_and_three_dimensions(shape, rng, x64):
    x = rng.normal(size=shape)
    sizes = (3, 2, 3)[: len(shape) - 2]
    for kind in ("avg", "max"):
        got = getattr(jc, f"adaptive_{kind}_pool")(x, sizes)
        np.testing.assert_allclose(got, getattr(oracle, f"adaptive_{kind}_pool")(x, sizes), rtol=1e-12)


def test_an_infinity_stays_in_its_own_windows():
    x = jnp.zeros((1, 6, 1)).at[0, 0, 0].set(jnp.inf)
    assert jc.adaptive_avg_pool(x, 3).ravel().tolist() == [float("inf"), 0.0, 0.0]


@pytest.mark.slow
def test_the_gradient_of_a_tie_in_global_and_adaptive_max_pools_goes_to_the_first():
    x = jnp.ones((1, 2, 2, 1))
    for f in (jc.global_max_pool, lambda x: jc.adaptive_max_pool(x, 1)):
        assert jax.grad(lambda x, f=f: f(x).sum())(x).ravel().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    "arguments", [{}, {"stride": 2, "padding": "same"}, {"dilation": 2, "padding": 1, "padding_mode": "wrap"}]
)
@pytest.mark.parametrize("rank", [1, 2])
def test_local_conv(rank, arguments, rng, x64, quick_jit):
    x = rng.normal(size=(2, *(7, 6)[:rank], 3))
    size = (3, 2)[:rank]
    out = jax.eval_shape(lambda: jc.conv(x, np.zeros((*size, 3, 4)), **arguments)).shape[1:-1]
    kernel, bias = rng.normal(size=(*out, *size, 3, 4)), rng.normal(size=(*out, 4))
    got, unbatched = quick_jit(lambda *a: [jc.local_conv(x, *a, **arguments) for x in (x, x[0])])(kernel, bias)
    np.testing.assert_allclose(got, oracle.local_conv(x, kernel, bias, **arguments), rtol=1e-10)
    np.testing.assert_allclose(unbatched, got[0], rtol=1e-12)


@pytest.mark.slow
def test_local_conv_with_one_kernel_everywhere_is_conv(rng, x64):
    x, kernel = rng.normal(size=(2, 6, 5, 3)), rng.normal(size=(3, 2, 3, 4))
    unshared = np.broadcast_to(kernel, (4, 4, *kernel.shape))
    np.testing.assert_allclose(jc.local_conv(x, unshared), jc.conv(x, kernel), rtol=1e-10)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stride": 1},
        {"stride": 2, "padding": 1, "ceil_mode": True},
        {"dilation": 2, "stride": 1, "padding": (1, 0)},
    ],
)
def test_indices_point_to_the_maximum(arguments, rng):
    x = rng.normal(size=(2, 7, 6, 3)).astype(np.float32)
    y, at = with_indices(x, (3, 2), **arguments)
    np.testing.assert_array_equal(y, jc.max_pool(x, (3, 2), **arguments))
    cells = x.reshape(2, 42, 3)
    found = np.take_along_axis(cells, np.asarray(at).reshape(2, -1, 3), axis=1).reshape(y.shape)
    np.testing.assert_array_equal(found, y)


def test_indices_of_ties_are_the_first_and_never_padding():
    _, at = with_indices(jnp.zeros((1, 4, 4, 1)), 2)
    assert at[0, :, :, 0].tolist() == [[0, 2], [8, 10]]
    _, at = with_indices(jnp.full((1, 4, 4, 1), -jnp.inf), 3, stride=2, padding=1)
    assert at[0, :, :, 0].tolist() == [[0, 1], [4, 5]]


def test_unpooling_scatters_and_its_gradient_gathers(rng):
    x = rng.normal(size=(2, 6, 4, 3)).astype(np.float32)
    g = rng.normal(size=x.shape).astype(np.float32)
    y, at = with_indices(x, 2)
    back, dy = value_and_pull(lambda y: jc.max_unpool(y, at, (6, 4)), y, g)
    np.testing.assert_array_equal(back, oracle.max_unpool(np.asarray(y), np.asarray(at), (6, 4)))
    np.testing.assert_array_equal(np.asarray(back)[back != 0], x[back != 0])
    want = np.take_along_axis(g.reshape(2, 24, 3), np.asarray(at).reshape(2, -1, 3), axis=1).reshape(y.shape)
    np.testing.assert_array_equal(dy, want)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_blur_is_a_depthwise_binomial_convolution(size, rng, x64):
    x = rng.normal(size=(2, 9, 8, 3))
    weights = {2: [1, 1], 3: [1, 2, 1], 5: [1, 4, 6, 4, 1]}[size]
    kernel = np.outer(weights, weights) / np.sum(weights) ** 2
    pads = ((size - 1) // 2, size // 2)
    want = oracle.conv(
        x, np.broadcast_to(kernel[:, :, None, None], (size, size, 1, 3)), None,
        stride=2, padding=pads, padding_mode="reflect", groups=3,
    )  # fmt: skip
    np.testing.assert_allclose(jc.blur_pool(x, size), want, rtol=1e-10)
