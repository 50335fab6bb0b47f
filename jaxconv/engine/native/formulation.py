"""Convolution by the native kernels: any window and number of groups, all three slots, in f32."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.engine.form import EXACT_IN_F32, Form


def fits(form: Form) -> bool:
    """Whether the kernels compute a form: in f32 or what f32 can hold, on one to three axes."""
    return form.dtype in EXACT_IN_F32 and 1 <= form.rank <= 3


def conv_native(a: jax.Array, b: jax.Array, form: Form) -> jax.Array:
    """A direct kernel for each slot, dense or depthwise. Halves are computed in f32."""
    if 0 in (*a.shape, *b.shape, *form.shape(form.slot)):
        return jnp.zeros(form.shape(form.slot), form.dtype)
    given = dict(zip(form.operands, (a.astype(jnp.float32), b.astype(jnp.float32)), strict=True))
    return _call(given, form, "depthwise" if form.depthwise else "dense").astype(form.dtype)


def _call(given: dict[str, jax.Array], form: Form, kind: str) -> jax.Array:
    like = jax.ShapeDtypeStruct(getattr(form, form.slot), jnp.float32)
    call = jax.ffi.ffi_call(f"jaxconv_{kind}_{form.slot}", like)
    window = {"stride": form.stride, "low": [lo for lo, _ in form.padding], "dilation": form.dilation}
    words = {name: np.array(values, np.int64) for name, values in window.items()}
    return call(*(given[slot] for slot in form.operands), **words, groups=np.int64(form.groups))
