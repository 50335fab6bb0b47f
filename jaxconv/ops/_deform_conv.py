"""Deformable convolution."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv import geometry
from jaxconv._base.dtypes import promoted, upcast
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import ArrayLike, Ints, Padding
from jaxconv.engine.window import assert_shape, window
from jaxconv.ops._conv import add_bias, check_bias, check_channels, check_kernel
from jaxconv.ops._pool import as_feature_maps
from jaxconv.ops._sample import linear_taps, sample


def deform_conv(
    x: ArrayLike,
    kernel: ArrayLike,
    offset: ArrayLike,
    mask: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    stride: Ints = 1,
    padding: Padding = "valid",
    dilation: Ints = 1,
    groups: int = 1,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """Deformable convolution: each tap of each window is moved by an offset, and weighted by a mask (version 2).

    Args:
      x: [N, H, W, C_in].
      kernel: [*k, C_in/groups, C_out].
      offset: [N, *out, G*Πk*2], for each of G groups of channels and each tap its (down, right) in cells, between cells
        by bilinear interpolation; the order of channels is torchvision's. G divides C_in.
      mask: [N, *out, G*Πk] factors; None for 1 (version 1).
      bias: [C_out] or None.
      stride, padding, dilation, groups, precision: as in `conv`; cells outside of x are 0.

    Returns:
      [N, *out, C_out] of the dtype that x and kernel promote to; equal to `torchvision.ops.deform_conv2d`.

    Raises:
      ShapeError: if shapes do not match.

    Source: Zhu et al., Deformable ConvNets v2: More Deformable, Better Results, 2019.

    >>> x, kernel = jnp.arange(4.0).reshape(1, 1, 4, 1), jnp.ones((1, 1, 1, 1))
    >>> deform_conv(x, kernel, jnp.full((1, 1, 4, 2), jnp.array([0.0, 0.5]))).ravel()
    Array([0.5, 1.5, 2.5, 1.5], dtype=float32)
    """
    x, kernel, offset = as_feature_maps(x, "deform_conv"), check_kernel(kernel, "deform_conv"), jnp.asarray(offset)
    if x.ndim != 4 or kernel.ndim != 4:
        raise ShapeError(
            "deform_conv needs x [N, H, W, C] and a kernel [*k, C_in/groups, C_out] of two axes",
            got=f"x {x.shape}, kernel {kernel.shape}",
            kind="rank",
        )
    groups = geometry.integer(groups, "groups")
    check_channels(x.shape, kernel.shape, groups)
    win = window(x.shape[1:3], kernel.shape[:2], stride=stride, padding=padding, dilation=dilation, op="deform_conv")
    taps, lead, channels = math.prod(win.kernel_size), (x.shape[0], *win.out), x.shape[-1]
    parts = offset.shape[-1] // (2 * taps) if offset.ndim == 4 else 0
    if offset.shape != (*lead, 2 * taps * parts) or not parts or channels % parts:
        raise ShapeError(
            f"offset must be [N, *out, G*{taps}*2] = ({', '.join(map(str, lead))}, {2 * taps}*G), where G divides "
            "the channels",
            got=f"offset {offset.shape}, x {x.shape}",
            kind="shape",
        )
    if mask is not None and jnp.shape(mask) != (*lead, taps * parts):
        raise ShapeError(f"mask must be {(*lead, taps * parts)}", got=f"mask {jnp.shape(mask)}", kind="shape")
    if bias is not None:
        bias = check_bias(bias, kernel.shape[-1])
    dtype = promoted(x.dtype, kernel.dtype)
    y = upcast(x)
    moved = upcast(offset).astype(y.dtype).reshape(*lead, parts, taps, 2)
    positions = []
    for axis, (k, s, (lo, _), d, n) in enumerate(
        zip(win.kernel_size, win.stride, win.padding, win.dilation, win.out, strict=True)
    ):
        start = (jnp.arange(n) * s - lo).reshape(1, *(-1 if a == axis else 1 for a in range(2)), 1, 1)
        tap = (jnp.arange(k) * d).reshape(*(-1 if a == axis else 1 for a in range(2)))
        tap = jnp.broadcast_to(tap, win.kernel_size).reshape(1, 1, 1, 1, taps)
        positions.append((start + tap).astype(y.dtype) + moved[..., axis])

    def sampled(part: jax.Array, *at: jax.Array) -> jax.Array:
        return sample(part, linear_taps(at))

    split = y.reshape(*x.shape[:3], parts, channels // parts)
    columns = jax.vmap(sampled, (3, 3, 3), 4)(split, *positions)  # [N, *out, taps, G, C/G]
    if mask is not None:
        factor = upcast(jnp.asarray(mask)).astype(y.dtype).reshape(*lead, parts, taps)
        columns = columns * factor.swapaxes(-1, -2)[..., None]
    c_out = kernel.shape[-1]
    rows = columns.astype(dtype).reshape(*lead, taps, groups, channels // groups)
    weights = kernel.astype(dtype).reshape(taps, channels // groups, c_out)
    weights = weights.reshape(taps, channels // groups, groups, c_out // groups)  # in two steps for explicit meshes
    z = jnp.einsum("nhwtgc,tcgo->nhwgo", rows, weights, precision=precision).reshape(*lead, c_out)
    z = assert_shape(z, (*lead, c_out))
    return z if bias is None else add_bias(z, bias)
