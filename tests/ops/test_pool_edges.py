"""Edge cases of pools: ties, infinities, NaN, zeros, half precision, and invalid windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import oracle
from support.conv_cases import QUICK, X64
from support.pool_cases import KINDS, compiled, draw, fits, has_empty_window, value_and_slope

import jaxconv as jc

pytestmark = pytest.mark.sampled


def test_invalid_windows_are_errors():
    """A window that does not fit or that contains only padding raises."""
    rng, seen = np.random.default_rng(3), 0
    while seen < 40:
        case = draw(rng, ("max", "avg")[seen % 2])
        if fits(case) and not has_empty_window(case):
            continue
        seen += 1
        shape = jax.ShapeDtypeStruct(case.shape, "float32")
        with pytest.raises(jc.ShapeError):
            jax.eval_shape(lambda a, c=case: KINDS[c.kind][0](a, c.size, **c.window), shape)


@pytest.mark.parametrize("pool", [jc.max_pool, jc.avg_pool, jc.lp_pool, jc.l2_pool])
def test_an_int_kernel_size_needs_an_unambiguous_rank(pool):
    shape = lambda *x: jax.eval_shape(lambda a: pool(a, 2), jax.ShapeDtypeStruct(x, "float32")).shape  # noqa: E731
    with pytest.raises(jc.ShapeError):
        shape(8, 8, 3)
    assert shape(1, 8, 8, 3) == (1, 4, 4, 3)
    assert shape(1, 4, 4, 4, 3) == (1, 2, 2, 2, 3)


# ---------------------------------------------------------------- maxima


@pytest.mark.parametrize("window", [{}, {"stride": 1, "padding": "same"}, {"stride": 1, "padding": "full"}])
def test_a_ties_gradient_goes_to_the_first_maximum(window, assert_close):
    x = np.ones((1, 4, 4, 1), np.float32)
    y, dx = value_and_slope(lambda a: jc.max_pool(a, 2, **window), x)
    assert_close(dx, oracle.max_pool_grad(x, np.ones(y.shape), 2, **window), tolerance=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_minus_infinity_is_a_value(dtype, assert_close):
    """Padding is never the maximum: if all cells are -inf, the gradient goes to the first of them."""
    x = np.full((1, 5, 5, 1), -np.inf, jnp.dtype(dtype))
    y, dx = value_and_slope(lambda a: jc.max_pool(a, 3, stride=2, padding=1), x)
    np.testing.assert_array_equal(y, np.full((1, 3, 3, 1), -np.inf))
    want = oracle.max_pool_grad(np.asarray(x, np.float64), np.ones(y.shape), 3, stride=2, padding=1)
    assert_close(dx, want, tolerance=0)


@pytest.mark.parametrize("place", [(0, 0), (2, 2), (3, 1), (4, 4)])
def test_nan_propagates(place, rng, assert_close):
    x = rng.normal(size=(1, 5, 5, 1)).astype(np.float32)
    x[(0, *place, 0)] = np.nan
    for window in ({}, {"stride": 1, "padding": "same"}, {"stride": 2, "ceil_mode": True}):
        assert_close(compiled(jc.max_pool, 3, **window)(x), oracle.max_pool(x, 3, **window), tolerance=0)
    assert np.isnan(jc.global_max_pool(x)).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_max_of_integers(dtype, rng, assert_close):
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max, (2, 5, 4, 2), dtype, endpoint=True)
    x[0] = info.min
    y = compiled(jc.max_pool, (2, 3), stride=2, padding=1)(x)
    assert y.dtype == dtype
    assert_close(y, oracle.max_pool(x, (2, 3), stride=2, padding=1), tolerance=0)


# ---------------------------------------------------------------- norms and means


@pytest.mark.parametrize(("p", "magnitude"), [(p, m) for p in (1.5, 2, 3, 10) for m in (1e30, 1e-30)] + [(2, 3e38)])
def test_norms_neither_overflow_nor_vanish(p, magnitude, rng, assert_close):
    x = (rng.uniform(0.1, 0.2, (1, 4, 4, 2)) * rng.choice([-1, 1], (1, 4, 4, 2)) * magnitude).astype(np.float32)
    y, dx = value_and_slope(lambda a: jc.lp_pool(a, 2, p=p), x)
    assert_close(y, oracle.lp_pool(x, 2, p=p))
    assert_close(dx, oracle.lp_pool_grad(x, np.ones(y.shape), 2, p=p))


@pytest.mark.parametrize(
    ("p", "dtype"), [*((p, "float32") for p in (1, 1.5, 2, 3, 10)), (1, "bfloat16"), (2, "bfloat16")]
)
def test_norm_of_zeros_has_zero_gradient(p, dtype, rng, assert_close):
    """Even for windows on padding alone."""
    x = np.zeros((1, 4, 4, 1), jnp.dtype(dtype))
    x[0, 0, 0, 0] = 3  # one window that is not zero
    for window in ({}, {"stride": 1, "padding": (3, 0)}):
        y, dx = value_and_slope(lambda a, w=window: jc.lp_pool(a, 2, p=p, **w), x)
        assert_close(dx, oracle.lp_pool_grad(x, np.ones(y.shape), 2, p=p, **window))


def test_the_infinite_norm_is_the_largest_magnitude(rng, assert_close):
    """Its derivative is the sign of the first largest cell, and zero in a window of zeros."""
    x = np.round(rng.normal(size=(2, 6, 6, 2))).astype(np.float32)
    x[0, :3, :3] = 0
    y, dx = value_and_slope(lambda a: jc.lp_pool(a, 3, p=float("inf")), x)
    assert_close(y, oracle.max_pool(np.abs(x), 3), tolerance=0)
    assert_close(dx, np.sign(x) * oracle.max_pool_grad(np.abs(x), np.ones(y.shape), 3), tolerance=0)


def test_l2_is_lp_with_two(rng, assert_close):
    x = rng.normal(size=(2, 5, 6, 3)).astype(np.float32)
    x[0, :3, :3] = 0
    window = {"stride": 2, "padding": 1}
    y, dx = value_and_slope(lambda a: jc.l2_pool(a, 3, **window), x)
    assert_close(y, oracle.lp_pool(x, 3, p=2, **window))
    assert_close(dx, oracle.lp_pool_grad(x, np.ones(y.shape), 3, p=2, **window))


def test_bfloat16_averages_are_summed_in_f32(assert_close):
    ones = np.ones((1, 64, 64, 2), jnp.bfloat16)
    assert_close(jc.global_avg_pool(ones), np.ones((1, 2)), tolerance=0)
    for pool, want in ((jc.avg_pool, 1), (jc.l2_pool, 32)):
        y = jax.jit(lambda a, pool=pool: pool(a, 32), compiler_options=QUICK)(ones)
        assert_close(y, np.full((1, 2, 2, 2), want), tolerance=0)
    window = {"stride": 1, "padding": "same"}
    y, dx = value_and_slope(lambda a: jc.avg_pool(a, 9, **window), ones[:, :12, :12])
    want = oracle.avg_pool_grad(ones[:, :12, :12], np.ones(y.shape), 9, **window)
    assert_close(dx, want, "dx of overlapping windows")


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_global_pools(rank, dtype, rng, assert_close):
    with jax.enable_x64(X64[dtype]):
        shape = (2, *(5, 4, 3)[:rank], 3)
        x = rng.normal(size=shape).astype(jnp.dtype(dtype))
        ties, g = np.round(x), rng.normal(size=(2, 3)).astype(jnp.dtype(dtype))
        back = lambda f, a: jax.jit(lambda a, g: (f(a), jax.vjp(f, a)[1](g)[0]), compiler_options=QUICK)(a, g)  # noqa: E731
        mean, dx = back(jc.global_avg_pool, x)
        assert_close(mean, np.asarray(x, np.float64).reshape(2, -1, 3).mean(1))
        spread = np.asarray(g, np.float64).reshape(2, *(1,) * rank, 3) / np.prod(shape[1:-1])
        assert_close(dx, np.broadcast_to(spread, shape))
        largest, dx = back(jc.global_max_pool, ties)
        assert_close(largest, np.asarray(ties, np.float64).reshape(2, -1, 3).max(1), tolerance=0)
        at = g.reshape(2, *(1,) * rank, 3)
        assert_close(dx, oracle.max_pool_grad(ties, at, shape[1:-1]), tolerance=0)
        assert (mean.dtype, largest.dtype) == (dtype, dtype)
