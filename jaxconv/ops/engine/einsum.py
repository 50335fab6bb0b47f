"""Convolution written out as its definition: the oracle that every other formulation is held to.

The notes' formula, for stride s and dilation d:

    a[i, j, t] = Σ_{m, n, l}  x[i*s + m*d, j*s + n*d, l] * K[m, n, l, t]
"""

import itertools

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.geometry import Pair, span
from jaxconv.ops.pad import pad_pairs


def conv_einsum(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: tuple[int, ...],
    padding: tuple[Pair, ...],
    dilation: tuple[int, ...],
    groups: int,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """Pads, gathers what each tap (m, n) of the kernel sees, and contracts taps and channels in one einsum."""
    x = pad_pairs(x, padding)
    taps, (c_in, c_out) = kernel.shape[:-2], kernel.shape[-2:]
    last = [n - span(k, d) for n, k, d in zip(x.shape[1:-1], taps, dilation, strict=True)]

    def seen_by(tap: tuple[int, ...]) -> jax.Array:  # x[:, i*s + m*d, j*s + n*d, :] for all i, j
        axes = zip(tap, last, stride, dilation, strict=True)
        return x[:, *(slice(m * d, m * d + room + 1, s) for m, room, s, d in axes)]

    windows = jnp.stack([seen_by(tap) for tap in itertools.product(*map(range, taps))], axis=-2)
    windows = windows.reshape(*windows.shape[:-1], groups, c_in)  # [N, *out, taps, group, l]
    weights = kernel.reshape(-1, c_in, groups, c_out // groups)  # [taps, l, group, t]
    a = jnp.einsum(
        "...mgl,mlgt->...gt", windows, weights, precision=precision, preferred_element_type=_sum_type(x.dtype)
    )
    return a.reshape(*a.shape[:-2], c_out).astype(x.dtype)


def _sum_type(dtype: jnp.dtype) -> jnp.dtype:
    """Halves are summed in f32; everything else in its own type."""
    return jnp.promote_types(dtype, jnp.float32) if jnp.issubdtype(dtype, jnp.floating) else dtype
