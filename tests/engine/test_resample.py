"""The native kernel of interpolation: right for every mode, rank and instruction set, and left out where it must be."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.engine import native

MODES = [("nearest", {}), ("nearest-exact", {}), ("area", {})]
MODES += [(mode, words) for mode in ("linear", "cubic") for words in ({}, {"align_corners": True}, {"antialias": True})]
SIZES = [((7,), 16), ((16,), (5,)), ((9, 6), (13, 6)), ((5, 8), 11), ((6, 1), (9, 1)), ((12, 9), (5, 4)),
         ((3, 5, 4), (6, 3, 7)), ((3, 5, 4), (3, 7, 4)), ((4, 3, 5), (9, 3, 8))]  # fmt: skip


def calls(function, *args):
    return jax.jit(function).lower(*args).as_text().count("@jaxconv_resample")


def resized(x, size, mode, align_corners=False, antialias=False):
    """NumPy, float64: the matrix of each axis, found by resizing the unit vectors of a line of one channel."""
    for axis, (n, out) in enumerate(zip(x.shape[1:-1], size, strict=True), 1):
        line = jc.resize(
            np.eye(n, dtype="f")[..., None], out, mode=mode, align_corners=align_corners, antialias=antialias
        )
        x = np.moveaxis(np.tensordot(x, np.asarray(line[..., 0], "d"), (axis, 0)), -1, axis)
    return x


@pytest.mark.sampled
@pytest.mark.parametrize(("mode", "words", "shape", "size"), [(*m, *s) for m, s in itertools.product(MODES, SIZES)])
def test_values_and_gradients(mode, words, shape, size, isa, rng, assert_close):
    size = size if isinstance(size, tuple) else (size,) * len(shape)
    x = rng.standard_normal((2, *shape, 37)).astype("f")
    g = rng.standard_normal((2, *size, 37)).astype("f")
    run = jax.jit(
        lambda x, g: (lambda y, back: (y, back(g)[0]))(*jax.vjp(lambda x: jc.resize(x, size, mode=mode, **words), x))
    )
    assert calls(run, x, g) >= 2
    y, dx = run(x, g)
    assert_close(y, resized(x.astype("d"), size, mode, **words), "y")
    plain = jax.jit(jc.plain(run))
    assert calls(plain, x, g) == 0
    assert_close(dx, plain(x, g)[1], "dx")


def test_not_finite_cells_reach_their_results_alone(isa):
    x = np.zeros((1, 6, 6, 16), "f")
    x[0, 2, 3, 5], x[0, 0, 0, 0] = np.nan, -np.inf
    for mode in ("nearest", "linear"):
        found = np.asarray(jc.resize(x, 12, mode=mode))
        want = np.asarray(jax.jit(jc.plain(lambda x, mode=mode: jc.resize(x, 12, mode=mode)))(x))
        np.testing.assert_array_equal(found, want)
        assert np.isnan(found[..., 5]).any()
        assert not np.isnan(found[..., 6:]).any()


@pytest.mark.skipif(not native.available(), reason=f"no native kernels: {native.reason()}")
@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 8, 8, 3), "f4"), ((0, 8, 8, 32), "f4"), ((2, 8, 8, 32), "bf16"), ((2, 8, 8, 32), "u1")]
)
def test_what_the_kernel_is_not_for(shape, dtype):
    """Few channels, no image, and what `nearest` keeps as it is."""
    x = jnp.ones(shape, {"bf16": jnp.bfloat16}.get(dtype, dtype))
    run = lambda x: jc.resize(x, 16, mode="nearest")  # noqa: E731
    assert calls(run, x) == 0
    assert run(x).shape == (shape[0], 16, 16, shape[-1])
    assert run(x).dtype == x.dtype


@pytest.mark.skipif(not native.available(), reason=f"no native kernels: {native.reason()}")
def test_transformations(rng, assert_close):
    x = rng.standard_normal((3, 2, 5, 6, 24)).astype("f")

    def gradient(x):
        return jax.grad(lambda x: jnp.sum(jnp.sin(jc.resize(x, (9, 4), mode="linear"))))(x)

    each = np.stack([gradient(v) for v in x])
    assert_close(jax.vmap(gradient)(x), each, "vmap")
    assert_close(jax.vmap(gradient, 1, 1)(np.moveaxis(x, 0, 1)), np.moveaxis(each, 0, 1), "vmap of another axis")
    assert_close(jax.lax.map(gradient, x), each, "scan")
    assert_close(
        jax.jvp(gradient, (x[0],), (x[1],))[1], jax.jvp(jc.plain(gradient), (x[0],), (x[1],))[1], "jvp of grad"
    )
    assert calls(jax.vmap(gradient), x) == 2


def test_exported_programs_have_no_call(rng):
    exported = jax.export.export(jax.jit(lambda x: jc.resize(x, 16, mode="linear")))(jnp.ones((2, 8, 8, 32)))
    assert "custom_call" not in exported.mlir_module()
