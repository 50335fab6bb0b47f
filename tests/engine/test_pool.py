"""The native kernels of pools: right for every window and instruction set, and left out where they must be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import oracle

import jaxconv as jc
from jaxconv.engine import native, select
from jaxconv.engine.pool import first_maximum
from jaxconv.engine.window import window

WINDOWS = {  # shape, size, and the other arguments
    "3×3/2": ((2, 11, 8, 64), 3, {"stride": 2, "padding": 1}),
    "2×2": ((3, 6, 6, 20), 2, {}),
    "3×3/1": ((2, 7, 7, 83), 3, {"stride": 1, "padding": "same"}),
    "ceil": ((1, 8, 9, 33), 3, {"stride": 2, "ceil_mode": True}),
    "dilated": ((2, 9, 9, 17), (2, 3), {"stride": (1, 2), "dilation": (3, 2), "padding": ((2, 1), (0, 3))}),
    "one axis": ((3, 29, 48), (5,), {"stride": 3, "padding": 2}),
    "three axes": ((1, 5, 4, 6, 16), (2, 3, 2), {"stride": (1, 2, 2), "padding": 1}),
}


def primitives(function, *args):
    text = str(jax.make_jaxpr(function)(*args))
    return [name for name in ("jaxconv_first_maximum", "jaxconv_window_sum") if name in text]


@pytest.mark.sampled
@pytest.mark.parametrize("name", WINDOWS)
def test_values_and_gradients(name, isa, rng, assert_close):
    shape, size, words = WINDOWS[name]
    x = rng.integers(-3, 3, size=shape).astype("f")  # with ties
    for pool, value, gradient, primitive in (
        (jc.max_pool, oracle.max_pool, oracle.max_pool_grad, "jaxconv_first_maximum"),
        (jc.avg_pool, oracle.avg_pool, oracle.avg_pool_grad, "jaxconv_window_sum"),
    ):
        run = lambda x, g: (lambda y, back: (y, back(g)[0]))(*jax.vjp(lambda x: pool(x, size, **words), x))  # noqa: E731, B023
        want = value(x, size, **words)
        g = rng.standard_normal(want.shape).astype("f")
        overlap = name != "2×2" or pool is jc.max_pool
        assert primitives(run, x, g) == [primitive] * overlap
        y, dx = jax.jit(run)(x, g)
        assert_close(y, want, "y")
        assert_close(dx, gradient(x, g, size, **words), "dx")


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_sums_and_means(ceil_mode, isa, rng, assert_close):
    x = rng.standard_normal((2, 9, 8, 40)).astype("f")
    for include in (False, True):
        words = {"stride": 2, "padding": 1, "ceil_mode": ceil_mode, "count_include_pad": include}
        assert primitives(lambda x, words=words: jc.avg_pool(x, 3, **words), x) == ["jaxconv_window_sum"]
        assert_close(jc.avg_pool(x, 3, **words), oracle.avg_pool(x, 3, **words), f"{words}")


@pytest.mark.sampled
@pytest.mark.parametrize("name", WINDOWS)
def test_codes_are_those_of_the_formula(name, isa, rng):
    """With NaN, infinities and ties."""
    shape, size, words = WINDOWS[name]
    x = rng.choice(
        np.array([-np.inf, -1, 0, 0, 1, np.inf, np.nan], "f"), size=shape, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05]
    )
    arguments = {"stride": size, "padding": "valid", **words}
    win = window(shape[1:-1], size if isinstance(size, tuple) else (size,) * (len(shape) - 2), op="pool", **arguments)
    got, want = (f(jnp.asarray(x), win, -np.inf) for f in (first_maximum, select.first_maximum))
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(not native.available(), reason=f"no native kernels: {native.reason()}")
@pytest.mark.slow
def test_transformations(rng, assert_close):
    x = rng.standard_normal((3, 2, 8, 8, 24)).astype("f")
    for pool in (jc.max_pool, jc.avg_pool):

        def gradient(x, pool=pool):
            return jax.grad(lambda x: jnp.sum(jnp.sin(pool(x, 3, stride=2, padding=1))))(x)

        each = np.stack([gradient(v) for v in x])
        assert_close(jax.vmap(gradient)(x), each, "vmap")
        assert_close(jax.vmap(gradient, 1, 1)(np.moveaxis(x, 0, 1)), np.moveaxis(each, 0, 1), "vmap of another axis")
        assert_close(jax.lax.map(gradient, x), each, "scan")
        moved = jax.jvp(gradient, (x[0],), (x[1],))[1]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("jaxconv.engine.pool._native", lambda x, choice: False)
            assert_close(moved, jax.jvp(lambda x: gradient(x), (x[0],), (x[1],))[1], "jvp of grad")
        exported = jax.export.export(jax.jit(gradient))(x[0])
        assert "jaxconv_" not in exported.mlir_module().split("#loc")[0]
        assert_close(exported.call(x[0]), each[0], "exported")


@pytest.mark.skipif(not native.available(), reason=f"no native kernels: {native.reason()}")
def test_left_to_xla():
    """Few channels, other dtypes, codes beyond int8 and symbolic sizes."""

    def step(x, size=3):
        return jax.vjp(lambda x: jc.max_pool(x, size, stride=2), x)[0]

    assert primitives(step, jnp.ones((1, 9, 9, 15))) == []
    assert primitives(step, jnp.ones((1, 9, 9, 32), "bfloat16")) == []
    assert primitives(lambda x: step(x, 12), jnp.ones((1, 19, 19, 32))) == []
    (n,) = jax.export.symbolic_shape("n")
    assert primitives(step, jax.ShapeDtypeStruct((n, 9, 9, 32), "float32")) == []
