"""accelerate: window reductions of every layout, and their gradients, as lax computes them."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from support.trees import assert_same

import jaxconv as jc

pytestmark = pytest.mark.sampled

POOLS = {
    "NHWC 3/2": ((1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (0, 1), (0, 0))),
    "NCHW 2/2": ((1, 1, 2, 2), (1, 1, 2, 2), ((0, 0),) * 4),
    "all of an axis": ((1, 6, 1, 1), (1, 1, 1, 1), ((0, 0),) * 4),
    "wide pads": ((1, 2, 3, 1), (1, 1, 1, 1), ((0, 0), (3, 0), (0, 4), (0, 0))),
    "four axes": ((2, 2, 2, 2), (1, 1, 1, 1), ((0, 0),) * 4),  # left to lax
    "axes apart": ((2, 1, 1, 2), (1, 1, 1, 1), ((0, 0),) * 4),
    "cropped": ((1, 2, 2, 1), (1, 1, 1, 1), ((0, 0), (-1, 0), (0, 0), (0, 0))),
}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("kind", ["max", "sum"])
def test_pools_of_any_layout(name, kind, rng):
    window, strides, pads = POOLS[name]
    init, op = {"max": (-jnp.inf, lax.max), "sum": (0.0, lax.add)}[kind]
    x = rng.permutation(2 * 6 * 5 * 6).reshape(2, 6, 5, 6).astype(np.float32)  # no ties
    f = lambda x: lax.reduce_window(x, init, op, window, strides, pads)  # noqa: E731
    weigh = lambda x: (lambda y: (jnp.where(jnp.isfinite(y), y, 0) * jnp.arange(y.size).reshape(y.shape)).sum())(f(x))  # noqa: E731
    for g in (f,) if name == "cropped" else (f, jax.grad(weigh)):  # lax has no gradient of a cropped window
        assert_same(jax.jit(jc.accelerate(g))(x), jax.jit(g)(x), 1e-6)


def test_dilated_window_sum_and_other_types(rng):
    x = rng.normal(size=(1, 9, 9, 2)).astype(np.float32)
    f = lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 2, 2, 1), "VALID", (1, 1, 1, 1), (1, 2, 1, 1))  # noqa: E731
    assert_same(jax.jit(jc.accelerate(f))(x), jax.jit(f)(x))
    i = rng.integers(9, size=(1, 4, 4, 1))
    g = lambda i: lax.reduce_window(i, 0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "VALID")  # noqa: E731
    np.testing.assert_array_equal(jc.accelerate(g)(i), g(i))


CHOICES = {
    "plain": {},
    "dilated": {"window_dilation": (1, 2, 1, 1)},
    "dilated on the other axis": {"window_dilation": (1, 1, 2, 1)},
    "of a dilated array": {"base_dilation": (1, 2, 1, 1)},
    "padded": {"padding": ((0, 0), (1, 0), (0, 0), (0, 0))},
    "taller": {"window": (1, 3, 2, 1)},
    "closer": {"strides": (1, 2, 4, 1)},
}


def max_of(x, window=(1, 2, 2, 1), strides=(1, 4, 4, 1), padding=((0, 0),) * 4, **dilations):
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, padding, **dilations)


@pytest.mark.parametrize(("first", "second"), [*itertools.permutations(CHOICES, 2)])
def test_two_max_pools_of_one_array_keep_their_choices_apart(first, second, rng):
    """Each that has a gradient in lax gives its own, whatever other pool reads the same array."""
    x = rng.normal(size=(2, 8, 8, 4)).astype(np.float32)

    def f(x):
        found, pulls = [], []
        for name in (first, second):
            if set(CHOICES[name]) & {"window_dilation", "base_dilation"}:
                found.append(max_of(x, **CHOICES[name]))
            else:
                y, pull = jax.vjp(lambda x, name=name: max_of(x, **CHOICES[name]), x)
                found.append(y)
                pulls.append(lambda y=y, pull=pull: pull(jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)))
        return found, [pull() for pull in pulls]

    jax.tree.map(np.testing.assert_array_equal, jax.jit(jc.accelerate(f))(x), jax.jit(f)(x))


@pytest.mark.slow
def test_choices_stay_within_their_jaxpr(rng):
    """One jitted gradient, traced once, called on two arrays, and inside a loop on a third."""
    x = rng.normal(size=(3, 2, 8, 8, 4)).astype(np.float32)
    pulled = jax.jit(jax.grad(lambda x: (max_of(x) ** 2).sum()))

    def f(x):
        return pulled(x[0]), pulled(x[1]), max_of(x[1]), lax.scan(lambda c, x: (c + pulled(x), pulled(x)), 0 * x[0], x)

    jax.tree.map(np.testing.assert_array_equal, jax.jit(jc.accelerate(f))(x), jax.jit(f)(x))


def test_a_type_without_infinity_is_left_to_lax(rng):
    """float8_e4m3fn has no -inf to pad with: it would become NaN."""
    x = jnp.asarray(rng.normal(size=(1, 5, 5, 2)), jnp.float8_e4m3fn)
    low = np.asarray(jnp.finfo(x.dtype).min).astype(x.dtype)
    f = lambda x: lax.reduce_window(x, low, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")  # noqa: E731
    np.testing.assert_array_equal(*(np.asarray(g(x)).astype(np.float32) for g in (jc.accelerate(f), f)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sums_of_halves_are_taken_in_f32(dtype, rng):
    x = jnp.asarray(rng.normal(size=(2, 12, 12, 4)) - 3, dtype)
    f = lambda x, zero: lax.reduce_window(x, zero, lax.add, (1, 4, 4, 1), (1, 4, 4, 1), "VALID")  # noqa: E731
    want = np.asarray(f(x.astype(jnp.float32), 0.0)).astype(dtype)
    got = jc.accelerate(lambda x: f(x, np.zeros((), x.dtype)))(x)
    assert got.dtype == dtype
    np.testing.assert_array_equal(np.asarray(got), want)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_strict_promotion(dtype, x64, rng):
    """As JAX's own tests run: no operation mixes types or ranks."""
    x = jnp.asarray(rng.normal(size=(1, 5, 5, 2)), dtype)
    low, zero = np.asarray(-np.inf).astype(x.dtype), np.zeros((), x.dtype)
    reduce = functools.partial(
        lax.reduce_window, window_dimensions=(1, 2, 2, 1), window_strides=(1, 1, 2, 1), padding="SAME"
    )
    largest = lambda x: reduce(x, low, lax.max)  # noqa: E731
    f = lambda x: (largest(x), jax.grad(lambda x: largest(x).sum())(x), reduce(x, zero, lax.add))  # noqa: E731
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        got, want = (jax.tree.map(lambda a: np.asarray(a).astype("f8"), g(x)) for g in (jc.accelerate(f), f))
    tolerance = {"float64": 1e-14, "float32": 1e-6, "bfloat16": 2**-6}[dtype]
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def test_an_axis_of_an_explicit_mesh_is_not_merged_with_another(rng):
    x = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    f = lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")  # noqa: E731
    with jax.set_mesh(jax.make_mesh((1,), ("d",))):
        y = jax.jit(jc.accelerate(f))(jax.device_put(x, jax.P("d")))
    assert jax.typeof(y).sharding.spec == jax.P("d", None, None, None)
    np.testing.assert_array_equal(y, f(x))
