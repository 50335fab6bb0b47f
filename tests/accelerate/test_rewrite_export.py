"""accelerate under jax.export: a batch, a height and a width that are symbols."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

import jaxconv as jc

pytestmark = pytest.mark.sampled

NHWC = ("NHWC", "HWIO", "NHWC")
KERNEL = np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype(np.float32)
WIDE = np.random.default_rng(1).normal(size=(8, 8, 2, 4)).astype(np.float32)


def conv(x, k=KERNEL, stride=1, padding="SAME", **arguments):
    return lax.conv_general_dilated(x, k, (stride, stride), padding, dimension_numbers=NHWC, **arguments)


def pool(x, init=-jnp.inf, op=lax.max, padding="VALID", window=(1, 2, 2, 1)):
    return lax.reduce_window(x, init, op, window, window, padding)


def weighed(f):
    return lambda *a: (f(*a) ** 2).sum()


FUNCTIONS = {
    "conv": conv,
    "strided conv": lambda x: conv(x, stride=2),
    "conv of a dilated input": lambda x: lax.conv_transpose(x, KERNEL, (2, 2), "SAME"),
    "kernel larger than the result": lambda x: conv(x[:, :8, :8], WIDE, padding="VALID"),
    "groups": lambda x: conv(x, KERNEL[:, :, :1], feature_group_count=2),
    "max": pool,
    "max, same": lambda x: pool(x, padding="SAME"),
    "max, channels first": lambda x: pool(x, window=(1, 1, 2, 2)),
    "sum": lambda x: pool(x, 0.0, lax.add),
    "input's gradient": jax.grad(weighed(conv)),
    "kernel's gradient": lambda x: jax.grad(weighed(conv), 1)(x, jnp.asarray(KERNEL)),
    "kernel's gradient in groups": lambda x: jax.grad(weighed(lambda k: conv(x, k, feature_group_count=2)))(
        jnp.asarray(KERNEL[:, :, :1])
    ),
    "max's gradient": jax.grad(weighed(pool)),
    "max's gradient, same": jax.grad(weighed(lambda x: pool(x, padding="SAME"))),
    "max's gradient, channels first": jax.grad(weighed(lambda x: pool(x, window=(1, 1, 2, 2)))),
}


@pytest.mark.parametrize("dims", ["b,10,12,2", "b,h,w,2", "4,h,12,2"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_exported_with_symbols(name, dims, rng):
    f = FUNCTIONS[name]
    x = rng.normal(size=(4, 10, 12, 2)).astype(np.float32)
    given = [f"{n} >= 8" for n in "hw" if n in dims]
    shape = jax.ShapeDtypeStruct(export.symbolic_shape(dims, constraints=given), x.dtype)
    got = export.export(jax.jit(jc.accelerate(f)))(shape).call(x)
    want = np.asarray(jax.jit(f)(x))
    np.testing.assert_allclose(np.asarray(got), want, rtol=0, atol=2e-5 * np.abs(want).max())


def test_a_symbolic_batch_is_the_engines():
    """The convolution and the pool are replaced where only the batch is a symbol, and left to lax where the size is."""
    f = lambda x: pool(conv(x, KERNEL[:, :, :1], feature_group_count=2))  # noqa: E731
    text = {}
    for dims in ("b,10,12,2", "b,h,12,2"):
        shape = jax.ShapeDtypeStruct(export.symbolic_shape(dims, constraints=["h >= 8"] * ("h" in dims)), jnp.float32)
        text[dims] = export.export(jax.jit(jc.accelerate(f)))(shape).mlir_module()
    for word in ("stablehlo.convolution", "stablehlo.reduce_window"):
        assert word not in text["b,10,12,2"]
        assert word in text["b,h,12,2"]


def test_report_of_symbols():
    shape = jax.ShapeDtypeStruct(export.symbolic_shape("b,h,12,2", constraints=["h >= 8"]), jnp.float32)
    (row,) = jc.accelerate.report(conv, shape)
    assert (row.lhs, row.engine, row.lax) == (shape.shape, "lax", "its fast loop")
