"""Convolution as its definition: the reference that the other formulations are tested against.

For stride s and dilation d, in the notation of the lecture notes that this project grew out of:

    a[i, j, t] = Σ_{m, n, l}  x[i*s + m*d, j*s + n*d, l] * K[m, n, l, t]
"""

import itertools

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import accum_dtype
from jaxconv.engine.form import Form
from jaxconv.engine.transposition import by_transposition
from jaxconv.engine.window import zeros_around
from jaxconv.geometry import span


@by_transposition
def conv_einsum(x: jax.Array, k: jax.Array, form: Form) -> jax.Array:
    """im2col: pad, stack one slice of x per tap (m, n) of the kernel, contract taps and channels in one einsum."""
    c_in, c_out = form.k[-2:]
    cells = patches(zeros_around(x, form.padding), form.kernel_size, form.stride, form.dilation)
    cells = cells.reshape(*cells.shape[:-1], form.groups, c_in)  # [N, *out, taps, group, l]
    weights = k.reshape(-1, c_in, form.groups, c_out // form.groups)  # [taps, l, group, t]
    a = jnp.einsum(
        "...mgl,mlgt->...gt", cells, weights, precision=form.precision, preferred_element_type=dot_dtype(x.dtype)
    )
    return a.reshape(*a.shape[:-2], c_out).astype(x.dtype)


def tap_slice(
    tap: tuple[int, ...], x: jax.Array, size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> jax.Array:
    """The cells x[:, i*s + m*d, j*s + n*d, :] that tap (m, n) multiplies, for all i, j: one strided slice."""
    axes = zip(tap, x.shape[1:-1], size, stride, dilation, strict=True)
    return x[:, *(slice(m * d, m * d + n - span(k, d) + 1, s) for m, n, k, s, d in axes)]


def patches(x: jax.Array, size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> jax.Array:
    """Patches of x, taps in window order: [N, *spatial, C] -> [N, *out, taps, C]."""
    taps = itertools.product(*map(range, size))
    return jnp.stack([tap_slice(tap, x, size, stride, dilation) for tap in taps], axis=-2)


def dot_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """Accumulation dtype of matrix products: f32 for half precision, else the operands' own, integers included."""
    return accum_dtype(dtype) if jnp.issubdtype(dtype, jnp.floating) else dtype
