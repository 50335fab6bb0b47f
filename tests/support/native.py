"""Helpers of the native kernels' tests: random arrays, the definition in f64, and programs compiled once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import oracle

import jaxconv as jc
from jaxconv.engine import bind, native

here = pytest.mark.skipif(not native.available(), reason=f"no native kernels: {native.reason()}")


def given(form, rng):
    """Random x, k and y of a form, f32."""
    return {slot: rng.normal(size=getattr(form, slot)).astype(np.float32) for slot in "xky"}


@functools.cache
def program(form):
    """All three slots by the direct kernels, compiled once: the instruction set is looked up as it runs."""

    def all_of(x, k, y):
        of, opened = {"x": x, "k": k, "y": y}, {slot: form.open(slot, impl="native") for slot in "xky"}
        return {slot: bind(*(of[name] for name in one.operands), one) for slot, one in opened.items()}

    return jax.jit(all_of)


def slots(form, arrays, dtype=jnp.float32):
    """Each slot from the other two by the direct kernels."""
    return jax.block_until_ready(program(form)(*(jnp.asarray(arrays[slot], dtype) for slot in "xky")))


def expected(form, arrays):
    """Each slot from the other two by the definition, in f64."""
    words = {"stride": form.stride, "padding": form.padding, "dilation": form.dilation, "groups": form.groups}
    x, k, y = (arrays[slot].astype(np.float64) for slot in "xky")
    dx, dk = oracle.conv_grads(x, k, y, **words)
    return {"y": oracle.conv(x, k, **words), "x": dx, "k": dk}


def check(form, arrays, assert_close):
    """All slots by the direct kernels equal the definition."""
    got = slots(form, arrays)
    for slot, want in expected(form, arrays).items():
        assert_close(got[slot], want, f"{slot} of {form}")


def transformed(impl, reduce, x, k):
    """A second gradient, a jvp, gradients in vmap, scan and remat, of the loss `reduce(conv(x, k))`."""
    conv = functools.partial(jc.conv, padding=1, impl=impl)

    def loss(x, k):
        return reduce(conv(x, k))

    second = jax.grad(lambda k: jnp.sum(jax.grad(loss)(x, k) ** 2))(k)
    moved = jax.jvp(conv, (x, k), (jnp.cos(x), jnp.cos(k)))
    members = jax.vmap(jax.grad(loss, 1))(jnp.stack([x, 2 * x]), jnp.stack([k, -k]))
    scanned = jax.lax.scan(lambda c, s: (c + jax.grad(loss, 1)(x, k * s), None), k, jnp.arange(3.0))[0]
    return second, moved, members, scanned, jax.grad(jax.checkpoint(loss))(x, k)
