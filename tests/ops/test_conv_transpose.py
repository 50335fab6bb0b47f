"""conv_transpose is the adjoint of conv: ⟨A x, y⟩ = ⟨x, Aᵀ y⟩, over a grid of arguments."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import oracle

import jaxconv as jc

pytestmark = pytest.mark.sampled

PADDINGS = ("valid", "same", "same_lower", "full", "causal", 1, (2, 0), (0, 3))
GRID = list(
    itertools.product((1, 4, 5, 6, 7), (1, 2, 3), (1, 2), (1, 2, 3), (1, 2))
)  # n, size, dilation, stride, groups


def check_adjoint(padding, cases, rng, jit):
    """All cases in one program: compiled separately, each would take a tenth of a second."""
    calls, given, wanted = [], [], []
    for n, k, d, s, g in cases:
        arguments = {"stride": s, "dilation": d, "groups": g, "padding": padding}
        ((lo, hi),) = oracle.pads(padding, (n,), (k,), (s,), (d,))
        if n + lo + hi < d * (k - 1) + 1:
            continue
        x, kernel = rng.normal(size=(2, n, 4)), rng.normal(size=(k, 4 // g, 6))
        y = oracle.conv(x, kernel, None, **arguments)
        g_y = rng.normal(size=y.shape)
        calls.append(arguments | {"output_size": n})
        given.append((g_y, kernel))
        wanted.append((x, np.vdot(g_y, y), oracle.conv_grads(x, kernel, g_y, **arguments)[0]))

    @jit
    def all_back(pairs):
        return [jc.conv_transpose(*pair, **call) for pair, call in zip(pairs, calls, strict=True)]

    for back, (x, product, want) in zip(all_back(given), wanted, strict=True):
        assert back.shape == x.shape
        np.testing.assert_allclose(np.vdot(back, x), product, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(back, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
def test_it_is_the_adjoint_and_restores_the_size(padding, rng, x64, quick_jit):
    check_adjoint(padding, [GRID[i] for i in rng.choice(len(GRID), 12, replace=False)], rng, quick_jit)


@pytest.mark.slow
@pytest.mark.parametrize("padding", PADDINGS, ids=str)
def test_it_is_the_adjoint_over_the_full_grid(padding, rng, x64, quick_jit):
    check_adjoint(padding, GRID, rng, quick_jit)


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("rank", [2, 3])
def test_more_axes_and_pad_modes(rank, padding_mode, rng, x64):
    shape, size = (5, 6, 4)[:rank], (3, 2, 2)[:rank]
    arguments = {"stride": (2, 1, 2)[:rank], "padding": ((1, 1), (0, 1), (1, 0))[:rank], "padding_mode": padding_mode}
    kernel, x = rng.normal(size=(*size, 2, 3)), rng.normal(size=(2, *shape, 2))
    y = oracle.conv(x, kernel, None, **arguments)
    g = rng.normal(size=y.shape)
    back = jc.conv_transpose(g, kernel, output_size=shape, **arguments)
    np.testing.assert_allclose(back, oracle.conv_grads(x, kernel, g, **arguments)[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("impl", ["lax", "einsum"])
def test_gradients_are_the_convolution_s(impl, rng, x64):
    y, kernel = rng.normal(size=(2, 4, 4, 3)), rng.normal(size=(3, 3, 2, 3))
    u = rng.normal(size=(2, 9, 9, 2))

    def f(y, kernel):
        return jnp.vdot(u, jc.conv_transpose(y, kernel, stride=2, impl=impl))

    dy, dk = jax.grad(f, (0, 1))(y, kernel)
    np.testing.assert_allclose(dy, oracle.conv(u, kernel, None, stride=2), rtol=1e-9)
    np.testing.assert_allclose(dk, oracle.conv_grads(u, kernel, y, stride=2)[1], rtol=1e-9)


@pytest.mark.parametrize("s", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same", "full"])
def test_output_padding_selects_among_the_sizes_that_conv_maps_to_x(s, padding):
    y, kernel = jnp.ones((1, 4, 1)), jnp.ones((3, 1, 1))
    for extra in range(s):
        x = jc.conv_transpose(y, kernel, stride=s, padding=padding, output_padding=extra)
        assert jc.conv(x, kernel, stride=s, padding=padding).shape == y.shape
    assert jc.conv_transpose(y, kernel, stride=s, padding="same").shape == (1, 4 * s, 1)


def test_bias_and_an_unbatched_input():
    y, kernel, bias = jnp.ones((3, 3, 2)), jnp.ones((2, 2, 4, 2)), jnp.arange(4.0)
    unbatched = jc.conv_transpose(y, kernel, bias)
    np.testing.assert_array_equal(unbatched, jc.conv_transpose(y[None], kernel)[0] + bias)
