"""Dense layers as forms: right against f64 and under every transformation, and where they are used."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv.engine import Form, native
from jaxconv.engine.dispatch import choose
from jaxconv.engine.matmul import dot_general, product_form
from jaxconv.engine.rules import Place
from jaxconv.layers import Dense

SHAPES = {
    "wide": (16, 9, 16, 40, 80),
    "narrow": (2, 8, 8, 8, 130, 24),
    "rows alone": (700, 96, 33),
    "a line": (4, 300, 65, 66),
}


def numbers(shape, rng):
    *x, features = shape
    return (rng.standard_normal(n).astype("f") for n in (x, (x[-1], features), (*x[:-1], features)))


def primitives(function, *args):
    return re.findall(r"jaxconv_conv|dot_general", str(jax.make_jaxpr(function)(*args)))


def layer(kernel, x):
    return Dense(kernel.shape[-1], bias=False).apply({"kernel": kernel}, {}, x)[0]


@pytest.mark.sampled
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_layer_and_gradients(shape, isa, rng, assert_close):
    x, k, y = numbers(shape, rng)
    assert primitives(layer, k, x) == ["jaxconv_conv"]
    got, back = jax.vjp(layer, k, x)
    dk, dx = back(y)
    flat_x, flat_y, wide = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1]), np.float64
    assert_close(got, (flat_x.astype(wide) @ k.astype(wide)).reshape(y.shape), "y")
    assert_close(dx, (flat_y.astype(wide) @ k.T.astype(wide)).reshape(x.shape), "dx")
    assert_close(dk, flat_x.T.astype(wide) @ flat_y.astype(wide), "dk")


@pytest.mark.parametrize("impl", ["native", "dots", "canonical", "einsum"])
@pytest.mark.parametrize("channels", [(70, 20), (20, 70), (1, 9), (30, 3), (17, 250), (250, 17)])
def test_every_formulation(impl, channels, rng, assert_close):
    """Products of a form, by each formulation; positions beyond one step of the native kernels' sums."""
    form = Form("y", (3, 80, 2, channels[0]), (1, 1, *channels), (1, 1), ((0, 0),) * 2, (1, 1), impl=impl)
    x, k, y = (rng.standard_normal(getattr(form, slot)).astype("f") for slot in "xky")
    got, back = jax.vjp(functools.partial(jc.conv, impl=impl), x, k)
    dx, dk = back(y)
    assert_close(got, np.einsum("nijc,co->nijo", x, k[0, 0], dtype=np.float64), "y")
    assert_close(dx, np.einsum("nijo,co->nijc", y, k[0, 0], dtype=np.float64), "x")
    assert_close(dk[0, 0], np.einsum("nijc,nijo->co", x, y, dtype=np.float64), "k")


@pytest.mark.slow
def test_transformations(rng, assert_close):
    x, k, _ = numbers((16, 9, 16, 40, 24), rng)
    both = jnp.stack([k, 2 * k]), jnp.stack([x, x])

    def plain(k, x):
        return x @ k

    def gradient(f):
        return jax.grad(lambda k, x: jnp.sum(jnp.sin(f(k, x))))

    ways = {
        "grad of grad": lambda f: jax.grad(lambda k: jnp.sum(gradient(f)(k, x) ** 2))(k),
        "jvp": lambda f: jax.jvp(f, (k, x), (k + 1, x - 1))[1],
        "vmap of both": lambda f: jax.vmap(gradient(f))(*both),
        "vmap of the kernel": lambda f: jax.vmap(f, (0, None))(both[0], x),
        "scan": lambda f: jax.lax.scan(lambda c, _: (c - 1e-4 * gradient(f)(c, x), 0), k, length=2)[0],
        "remat": lambda f: gradient(jax.checkpoint(f))(k, x),
    }
    for name, way in ways.items():
        assert_close(way(layer), way(plain), name)


def test_left_to_xla(rng):
    """Small products, other dtypes than f32 holds, scalars of no rows, and symbolic sizes."""
    k = jnp.ones((40, 24))
    assert primitives(layer, k, jnp.ones((4, 3, 40))) == ["dot_general"]
    assert primitives(layer, k.astype(int), jnp.ones((64, 64, 40), int)) == ["dot_general"]
    assert primitives(layer, k, jnp.ones((64, 64, 40), "bfloat16")) == ["dot_general"]
    assert primitives(layer, k, jnp.ones(40)) == ["dot_general"]
    (n,) = jax.export.symbolic_shape("n")
    assert primitives(layer, k, jax.ShapeDtypeStruct((n, 64, 40), "float32")) == ["dot_general"]
    with jax.enable_x64(True):
        assert product_form((64, 64, 40), (40, 24), jnp.dtype("float64"), None) is None


def test_exported(rng, assert_close):
    x, k, _ = numbers((16, 9, 16, 40, 24), rng)
    step = jax.grad(lambda k, x: jnp.sum(jnp.sin(layer(k, x))))
    exported = jax.export.export(jax.jit(step))(k, x)
    assert "custom_call" not in exported.mlir_module()
    assert_close(exported.call(k, x), step(k, x), "gradient")


def test_accelerated(rng, assert_close):
    """A dense layer of any library: one product and two gradients of two or more axes."""
    for shape in [(8, 12, 12, 40, 24), (700, 96, 33), (700, 33, 96)]:
        x, k, y = numbers(shape, rng)
        step = lambda x, k, y: (*jax.vjp(jnp.matmul, x, k)[1](y), x @ k)  # noqa: E731
        fast = jc.accelerate(step)
        assert primitives(step, x, k, y) == ["dot_general"] * 4  # one of them is not used
        assert primitives(fast, x, k, y) == ["jaxconv_conv"] * 4
        for what, got, want in zip(("dx", "dk", "y"), jax.jit(fast)(x, k, y), step(x, k, y), strict=True):
            assert_close(got, want, what)


def test_what_is_no_dense_layer():
    numbers = [
        ((8, 64, 90), (8, 90, 64), (((2,), (1,)), ((0,), (0,)))),  # of a batch
        ((64, 64, 90), (64, 90), (((1, 2), (0, 1)), ((), ()))),  # over several axes
        ((90, 4096), (90, 64), (((0,), (0,)), ((), ()))),  # as the gradient of a kernel: rows first
    ]
    found = [dot_general(jnp.ones(a), jnp.ones(b), dims, None, jnp.dtype("float32")) for a, b, dims in numbers]
    assert [v is None for v in found] == [True, True, False]


@pytest.mark.skipif(not native.available(), reason=f"no native kernels: {native.reason()}")
def test_where_kernels_are_chosen():
    def chosen(slot, c, o):
        form = product_form((8, 56, 56, c), (c, o), jnp.dtype("float32"), None)
        return choose(form.open(slot), Place())

    assert [chosen("k", *pair) for pair in ((384, 96), (96, 96), (96, 384))] == ["native", "native", "dots"]
    assert [chosen(slot, 384, 96) for slot in "xy"] == ["dots"] * 2
