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
    c_in, c_out = kernel.shape[-2:]
    seen = windows(pad_pairs(x, padding), kernel.shape[:-2], stride, dilation)
    seen = seen.reshape(*seen.shape[:-1], groups, c_in)  # [N, *out, taps, group, l]
    weights = kernel.reshape(-1, c_in, groups, c_out // groups)  # [taps, l, group, t]
    a = jnp.einsum("...mgl,mlgt->...gt", seen, weights, precision=precision, preferred_element_type=sum_type(x.dtype))
    return a.reshape(*a.shape[:-2], c_out).astype(x.dtype)


def windows(x: jax.Array, size: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> jax.Array:
    """What each tap of the kernel sees, in window order: [N, *spatial, C] -> [N, *out, taps, C]."""
    last = [n - span(k, d) for n, k, d in zip(x.shape[1:-1], size, dilation, strict=True)]

    def seen_by(tap: tuple[int, ...]) -> jax.Array:  # x[:, i*s + m*d, j*s + n*d, :] for all i, j
        axes = zip(tap, last, stride, dilation, strict=True)
        return x[:, *(slice(m * d, m * d + room + 1, s) for m, room, s, d in axes)]

    return jnp.stack([seen_by(tap) for tap in itertools.product(*map(range, size))], axis=-2)


def sum_type(dtype: jnp.dtype) -> jnp.dtype:
    """Halves are summed in f32; everything else in its own type."""
    return jnp.promote_types(dtype, jnp.float32) if jnp.issubdtype(dtype, jnp.floating) else dtype
