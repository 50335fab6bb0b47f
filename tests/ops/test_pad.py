"""pad against the oracle: every named padding and every mode, with gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import oracle

import jaxconv as jc

pytestmark = pytest.mark.sampled

MODES = ["zeros", "reflect", "edge", "wrap"]
X64 = {"float64": True, "float32": False, "bfloat16": False}
QUICK = {"xla_backend_optimization_level": 0}  # 60 % of the compile time; the HLO passes stay as they are
CASES = {
    "int": ((6, 5), 2, {"kernel_size": (3, 3)}),
    "one pair": ((6, 5), (4, 0), {"kernel_size": (3, 3)}),
    "pairs": ((6, 5), ((1, 4), (0, 3)), {"kernel_size": (3, 3)}),
    "nothing": ((6, 5), "valid", {"kernel_size": (3, 2)}),
    "same": ((6, 5), "same", {"kernel_size": (4, 2)}),
    "same, strided": ((7, 8), "same", {"kernel_size": (4, 3), "stride": (3, 2)}),
    "same_lower": ((6, 5), "same_lower", {"kernel_size": (4, 2), "stride": 2, "dilation": (1, 2)}),
    "full": ((6, 5), "full", {"kernel_size": (3, 2), "dilation": (2, 3)}),
    "causal": ((6, 5), "causal", {"kernel_size": (3, 2), "dilation": (2, 3)}),
    "1d": ((7,), (0, 5), {"kernel_size": (3,)}),
    "1d causal": ((7,), "causal", {"kernel_size": (3,), "dilation": 3}),
    "3d": ((3, 4, 5), ((2, 0), (1, 3), (0, 4)), {"kernel_size": (1, 1, 1)}),
    "3d same": ((3, 4, 5), "same", {"kernel_size": (3, 2, 4), "stride": (1, 2, 1)}),
    "the most that reflect allows": ((4, 3), ((3, 3), (2, 2)), {"kernel_size": (1, 1)}),
}
OTHERS = [("pairs", "bfloat16"), ("1d", "bfloat16"), ("full", "float64"), ("3d same", "float64")]


@pytest.mark.parametrize(("case", "dtype"), [(case, "float32") for case in CASES] + OTHERS)
def test_values_and_gradients(case, dtype, rng, assert_close):
    size, padding, words = CASES[case]
    pads = oracle.pads(padding, size, words["kernel_size"], words.get("stride", 1), words.get("dilation", 1))
    with jax.enable_x64(X64[dtype]):
        x = rng.normal(size=(2, *size, 2)).astype(jnp.dtype(dtype))
        shape = oracle.pad(x, pads).shape
        g = rng.normal(size=shape).astype(jnp.dtype(dtype))

        def run(x, g, mode):
            y, pull = jax.vjp(lambda a: jc.pad(a, padding, padding_mode=mode, **words), x)
            return y, pull(g)[0]

        program = jax.jit(lambda *a: {m: run(*a, m) for m in MODES}, compiler_options=QUICK)
        predicted = jax.eval_shape(program, x, g)
        for mode, (y, dx) in program(x, g).items():
            assert_close(y, oracle.pad(x, pads, mode), f"y of {mode}", tolerance=0)
            assert_close(dx, oracle.pad_adjoint(g, size, pads, mode), f"dx of {mode}")
            assert (y.dtype, dx.dtype, predicted[mode][0].shape) == (dtype, dtype, shape)


@pytest.mark.parametrize("mode", MODES)
def test_eager_vmap_unbatched_integers_and_empty(mode, rng, assert_close):
    x = rng.integers(-9, 9, (3, 5, 4, 2)).astype(np.int32)
    want = oracle.pad(x, ((2, 1), (0, 3)), mode)
    f = lambda a: jc.pad(a, ((2, 1), (0, 3)), (1, 1), padding_mode=mode)  # noqa: E731
    assert_close(f(x), want, tolerance=0)
    assert f(x).dtype == x.dtype
    assert_close(f(x[0]), want[0], tolerance=0)
    assert_close(jax.vmap(f)(x), want, tolerance=0)
    assert f(x[:0]).shape == (0, 8, 7, 2)


def test_forward_mode_is_the_padding_of_the_tangent(rng, assert_close):
    x, u = rng.normal(size=(2, 1, 5, 4, 2)).astype(np.float32)
    for mode in MODES:
        _, tangent = jax.jvp(lambda a, m=mode: jc.pad(a, 2, 3, padding_mode=m), (x,), (u,))
        assert_close(tangent, oracle.pad(u, ((2, 2), (2, 2)), mode), mode)


@pytest.mark.parametrize(("mode", "padding"), [("reflect", (4, 0)), ("reflect", (0, 4)), ("wrap", (5, 0))])
def test_padding_beyond_the_input_is_an_error(mode, padding):
    with pytest.raises(jc.ShapeError):
        jc.pad(np.zeros((1, 4, 4, 1), np.float32), padding, 1, padding_mode=mode)


def test_an_int_kernel_size_needs_an_unambiguous_rank():
    with pytest.raises(jc.ShapeError):
        jc.pad(np.zeros((4, 4, 1), np.float32), 1)
