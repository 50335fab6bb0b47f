"""The rule of each primitive: small functions against JAX, through ONNX Runtime."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export.run_onnx import check, operators
from jax import lax

import jaxconv as jc
from jaxconv.export._convert import RULES

UNARY = {
    "abs": lax.abs, "acos": lambda x: lax.acos(x / 9), "acosh": lambda x: lax.acosh(2 + abs(x)),
    "asin": lambda x: lax.asin(x / 9), "asinh": lax.asinh, "atan": lax.atan, "atanh": lambda x: lax.atanh(x / 9),
    "cbrt": lax.cbrt, "ceil": lax.ceil, "cos": lax.cos, "cosh": lax.cosh, "erf": lax.erf, "erfc": lax.erfc,
    "exp": lax.exp, "exp2": lax.exp2, "expm1": lax.expm1, "floor": lax.floor, "log": lambda x: lax.log(abs(x)),
    "log1p": lambda x: lax.log1p(abs(x)), "logistic": lax.logistic, "neg": lax.neg, "rsqrt": lambda x: lax.rsqrt(x * x),
    "sign": lax.sign, "sin": lax.sin, "sinh": lax.sinh, "sqrt": lambda x: lax.sqrt(abs(x)), "square": lax.square,
    "tan": lax.tan, "tanh": lax.tanh, "round to even": lambda x: lax.round(2 * x, lax.RoundingMethod.TO_NEAREST_EVEN),
    "round away from zero": lambda x: lax.round(x * 4) / 4, "integer_pow": lambda x: x**3, "x**-2": lambda x: x**-2,
    "is_finite": lambda x: lax.is_finite(x / jnp.where(x > 0, x, 0)), "clamp": lambda x: jnp.clip(x, -0.5, 0.25),
    "relu": jax.nn.relu, "relu6": jax.nn.relu6, "gelu": jax.nn.gelu, "exact gelu": lambda x: jax.nn.gelu(x, False),
    "leaky relu": jax.nn.leaky_relu, "silu": jax.nn.silu, "softplus": jax.nn.softplus, "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax, "to int": lambda x: (3 * x).astype(jnp.int32),
    "to bool and back": lambda x: x.astype(bool).astype(jnp.float32), "maximum of constants": lambda x: x.clip(0.5),
    "stop_gradient": lax.stop_gradient, "barrier": lambda x: lax.optimization_barrier((x, x + 1)),
    "not": lambda x: ~(x > 0), "xor": lambda x: (x > 0) ^ (x > 0.5), "and, or": lambda x: (x > 0) & (x < 1) | (x < -1),
    "ne": lambda x: jnp.floor(x) != 0,
    "bits": lambda x: ((9 * x).astype(jnp.int32) & 6 | 1) ^ ~(3 * x).astype(jnp.int32),
    "select of three": lambda x: lax.select_n((x > 0).astype(jnp.int32) + (x > 1), x, -x, 2 * x),
}  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize("name", UNARY)
def test_elementwise_of_one_array(name, rng):
    check(UNARY[name], rng.normal(size=(3, 4, 5)).astype(np.float32))


BINARY = {
    "add": lax.add, "sub": lax.sub, "mul": lax.mul, "div": lax.div, "max": lax.max, "min": lax.min,
    "pow": lambda x, y: abs(x) ** y, "rem": lax.rem, "eq": lambda x, y: jnp.floor(x) == jnp.floor(y), "lt": lax.lt,
    "le": lax.le, "gt": lax.gt, "ge": lax.ge, "where": lambda x, y: jnp.where(x > y, x, 0),
    "broadcast": lambda x, y: x[:, :1] + y[:, :, :1] * jnp.arange(5.0),
    "reduced": lambda x, y: x - y.mean((1, 2), keepdims=True),
    "channels": lambda x, y: x * y.mean(1)[:, None], "transposed": lambda x, y: x.mT @ y,
    "constants": lambda x, y: x + jnp.ones((4, 1)) * y,
}  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize("name", BINARY)
def test_elementwise_of_two_arrays(name, rng):
    check(BINARY[name], *rng.normal(size=(2, 3, 4, 5)).astype(np.float32))


def test_int_arithmetic(rng):
    x, y = rng.integers(-9, 9, size=(2, 3, 4)).astype(np.int32)
    check(lambda x, y: (x + y, x * y - 1, lax.div(x, abs(y) + 1), lax.rem(x, abs(y) + 1), jnp.sign(x), x.max(-1)), x, y)


@jax.custom_vjp
def _halved(x):
    return x / 2


_halved.defvjp(lambda x: (x / 2, None), lambda _, g: (g,))

KERNELS = jnp.linspace(-1, 1, 108).reshape(3, 3, 3, 2, 2)
LAYOUT = {
    "transpose": lambda x: x.transpose(2, 0, 3, 1),
    "transpose of a transpose": lambda x: x.transpose(2, 0, 3, 1).transpose(1, 3, 0, 2) + x.mT.mT,
    "reshape": lambda x: x.reshape(x.shape[0], -1),
    "reshape, the batch in the middle": lambda x: x.transpose(1, 2, 0, 3).reshape(30, x.shape[0], 2),
    "reshape in another order": lambda x: lax.reshape(x, (x.shape[0], 60), (0, 3, 1, 2)),
    "an ensemble": lambda x: jax.vmap(lambda k: jc.conv(jc.conv(x, k), k, padding=1))(KERNELS),
    "merge the batch": lambda x: x.reshape(-1, 2),
    "broadcast the result": lambda x: jnp.broadcast_to(x.mean(1, keepdims=True), x.shape),
    "broadcast a constant": lambda x: jnp.broadcast_to(jnp.arange(2.0), x.shape),
    "ones_like": jnp.ones_like,
    "squeeze": lambda x: x[:, :1, :, :1].squeeze((1, 3)),
    "squeeze in another layout": lambda x: x.transpose(3, 1, 0, 2)[:1].squeeze(0) + 1,
    "expand_dims": lambda x: jnp.expand_dims(x.mT, (1, 4)),
    "pad": lambda x: jnp.pad(x, [(0, 0), (2, 1), (0, 3), (1, 0)], constant_values=2),
    "negative padding": lambda x: lax.pad(x, 0.0, [(0, 0, 0), (-1, 2, 0), (3, -2, 0), (0, 0, 0)]),
    "edge padding": lambda x: jnp.pad(x, [(0, 0), (2, 1), (0, 3), (0, 0)], mode="edge"),
    "reflected padding": lambda x: jc.pad(x, 2, padding_mode="reflect"),
    "slice": lambda x: x[:, 1:4, 2:6, 1:],
    "strided slice": lambda x: x[:, ::2, 1::3],
    "slice in another layout": lambda x: x.mT[:, 2:, ::3],
    "slices of a symbolic axis": lambda x: (x[1:], x[:-1], x[::-1], x[0], x[-1:], x[-1]),
    "int index": lambda x: x[:, 2] + x[:, -1],
    "int array": lambda x: x[:, jnp.asarray([3, 0, 0])],
    "grid of ints": lambda x: x[:, jnp.asarray([3, 0])[:, None], jnp.asarray([1, 5, 2])],
    "pairs of ints": lambda x: x[:, jnp.asarray([3, 0]), jnp.asarray([1, 5])],
    "ints that depend on the input": lambda x: jnp.take(jnp.arange(3.0) + 1, x.argmax(2), mode="clip"),
    "take": lambda x: jnp.take(x, jnp.asarray([1, 1, 0]), axis=3),
    "dynamic_slice": lambda x: lax.dynamic_slice(x, (0, x[0, 0].argmax(), 3, 0), (x.shape[0], 2, 5, 2)),
    "dynamic_update_slice": lambda x: lax.dynamic_update_slice(x, 2 * x[:, 1:3, :2], (0, jnp.asarray(9), 1, 0)),
    "dynamic_update_slice of nan": lambda x: lax.dynamic_update_slice_in_dim(x + jnp.nan, x[:, :, 1:], 1, 2),
    "dynamic_slice at constants": lambda x: lax.dynamic_slice_in_dim(x, jnp.asarray(9), 2, 1),
    "rev": lambda x: x[:, ::-1, :, ::-1],
    "concatenate": lambda x: jnp.concatenate([x, jnp.ones_like(x), 2 * x[:, :1]], 1),
    "concatenate channels, another layout": lambda x: jnp.concatenate([x.mT, (x + 1).mT, 2 * x.mT], 2),
    "concatenate a broadcast": lambda x: jnp.concatenate([x, jnp.broadcast_to(x[:, :1], x.shape)], 3),
    "stack": lambda x: jnp.stack([x, -x, x * x], 2),
    "split": lambda x: lax.split(x, (1, 4), 1),
    "split of the last axis": lambda x: jnp.split(x.mT, 3, -1),
    "reduce_sum": lambda x: x.sum((1, 3)),
    "reduce_max": lambda x: x.max((0, 2)),
    "reduce_min, transposed": lambda x: x.transpose(3, 2, 1, 0).min((1,)),
    "reduce_prod": lambda x: x.prod(3),
    "reduce_and": lambda x: (x > -1).all((1, 2)),
    "reduce_or": lambda x: (x > 1).any(1),
    "reduce all": lambda x: x.sum(),
    "var": lambda x: x.var((1, 2)),
    "mean over the batch": lambda x: x - x.mean(0),
    "argmax": lambda x: x.transpose(0, 3, 1, 2).argmax(1),
    "argmin": lambda x: x.argmin(2),
    "cumsum": lambda x: x.mT.cumsum(1) + lax.cumsum(x.mT, 2, reverse=True),
    "iota": lambda x: x + jnp.arange(2.0),
    "iota of a symbolic size": lambda x: x * lax.broadcasted_iota(jnp.float32, x.shape, 0),
    "symbolic size as a number": lambda x: x / x.shape[0],
    "one_hot": lambda x: jax.nn.one_hot(x.argmax(2), 5),
    "resize": lambda x: jax.image.resize(x, (x.shape[0], 7, 9, 2), "bilinear"),
    "upsample": lambda x: jnp.repeat(jnp.repeat(x, 2, 1), 2, 2),
    "pixel shuffle": lambda x: x[:, :4].reshape(-1, 2, 2, 6, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 2, 12, 2),
    "einsum": lambda x: jnp.einsum("nhwc,nhwd->nhcd", x, x + 1),
    "attention": lambda x: jax.nn.softmax(x @ x.mT, -1) @ x,
    "matrix product with a constant": lambda x: x.reshape(-1, 60) @ jnp.linspace(-1, 1, 180).reshape(60, 3),
    "dense over the last axis": lambda x: x @ jnp.asarray([[1.0, 2, 3], [4, 5, 6]]),
    "contract two axes": lambda x: jnp.tensordot(x, jnp.linspace(0, 1, 48).reshape(6, 2, 4), 2),
    "scan": lambda x: lax.scan(lambda c, k: (c * k + x, c.sum((1, 2, 3))), x, jnp.asarray([0.5, 2.0, -1.0])),
    "scan backwards": lambda x: lax.scan(lambda c, r: (c + r, c * r), x[:, 0], x.transpose(1, 0, 2, 3), reverse=True),
    "jit, vmap, remat": lambda x: jax.jit(jax.vmap(jax.checkpoint(lambda x: jnp.sin(x) @ x.mT)))(x),
    "custom_vjp": _halved,
    "empty": lambda x: x[:, :0],
}  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize("name", LAYOUT)
def test_layout_and_reductions(name, rng):
    check(LAYOUT[name], rng.normal(size=(3, 5, 6, 2)).astype(np.float32))


def test_two_symbols(rng):
    from export.run_onnx import run

    from jaxconv.export import to_onnx

    fn = lambda x: jnp.broadcast_to(x.reshape(*x.shape[:2], 2, 3).sum(-1, keepdims=True), (*x.shape[:2], 2, 4))  # noqa: E731
    model = to_onnx(fn, ("n", "length", 6))
    for shape in ((2, 3, 6), (1, 7, 6)):
        x = rng.normal(size=shape).astype(np.float32)
        np.testing.assert_allclose(run(model, x)[0], fn(x), atol=1e-6)


def test_results_in_dicts(rng):
    x, y = rng.normal(size=(2, 3, 4)).astype(np.float32)
    check(lambda x, y: {"b": x + y, "a": [x, y, x, jnp.ones(3)]}, x, y)


def test_every_rule_is_tested_here():
    """Each primitive that has a rule occurs in one of these functions."""
    text = "".join(path.read_text("utf-8") for path in pathlib.Path(__file__).parent.glob("test_*.py"))
    indirect = {"add_any", "broadcast_in_dim", "convert_element_type", "copy", "copy_p", "dim_as_value", "dot_general",
                "gather", "log", "name", "or", "and", "select_n", "round", "conv_general_dilated"}  # fmt: skip
    missing = {name for name in RULES if name not in text} - indirect
    assert not missing


def test_what_does_not_depend_on_the_input_is_computed(rng):
    key = jax.random.key(0)
    model = check(
        lambda x: x * jax.random.normal(key, (4,)).sum() + jnp.fft.fft(jnp.arange(4.0)).real,
        rng.normal(size=(3, 4)).astype(np.float32),
    )
    assert operators(model) == ["Mul", "Add"]
