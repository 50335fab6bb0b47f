"""Locally connected operation: convolution with a separate kernel at each output position."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import ArrayLike, Ints, Padding, PaddingMode
from jaxconv.engine.einsum import dot_dtype, patches
from jaxconv.engine.window import as_batch, assert_shape, window
from jaxconv.ops._conv import add_bias
from jaxconv.ops._pad import pad_pairs


@renamed_arguments(pad_mode="padding_mode")
def local_conv(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Ints = 1,
    padding: Padding = "valid",
    padding_mode: PaddingMode = "zeros",
    dilation: Ints = 1,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """Convolution with unshared weights (locally connected).

    a[i, j, t] = Σ_{m, n, l} x[i*s + m*d, j*s + n*d, l] * K[i, j, m, n, l, t] + b[i, j, t]

    Args:
      x: [N, *spatial, C_in]; may be unbatched.
      kernel: [*out, *k, C_in, C_out], one kernel per output position.
      bias: [*out, C_out] or None.
      stride, padding, padding_mode, dilation, precision: as in `conv`.

    Returns:
      [N, *out, C_out].

    Raises:
      ShapeError: if the leading axes of the kernel are not the output size, or channels do not match.

    On a 6×6 input, three 3×3 kernels with bias have 30 parameters if shared, and 4*4 times as many if not:

    >>> local_conv(jnp.ones((1, 6, 6, 1)), jnp.ones((4, 4, 3, 3, 1, 3)), jnp.ones((4, 4, 3))).shape
    (1, 4, 4, 3)
    >>> 4 * 4 * (3 * 3 * 1 * 3 + 3)
    480
    """
    kernel = jnp.asarray(kernel)
    rank = (kernel.ndim - 2) // 2
    if kernel.ndim not in (4, 6, 8) or jnp.ndim(x) == kernel.ndim:
        raise ShapeError(
            "local_conv needs one kernel per output position, [*out, *k, C_in, C_out]",
            got=f"kernel {kernel.shape}, x {jnp.shape(x)}",
            fix="jaxconv.conv for a shared kernel",
        )
    kernel_size, (c_in, c_out) = kernel.shape[rank : 2 * rank], kernel.shape[-2:]
    x, unbatched = as_batch(x, kernel_size, "local_conv")
    win = window(x.shape[1:-1], kernel_size, stride=stride, padding=padding, dilation=dilation, op="local_conv")
    if kernel.shape[:rank] != win.out or x.shape[-1] != c_in:
        raise ShapeError(
            f"local_conv's kernel must be [*out, *k, C_in, C_out] = {(*win.out, *kernel_size, x.shape[-1], c_out)}",
            got=f"kernel {kernel.shape}, x {x.shape}",
            kind="shape",
        )
    if bias is not None and jnp.shape(bias) != (*win.out, c_out):
        raise ShapeError(f"local_conv's bias must be [*out, C_out] = {(*win.out, c_out)}", got=f"{jnp.shape(bias)}")
    dtype = jnp.promote_types(x.dtype, kernel.dtype)
    cells = patches(pad_pairs(x.astype(dtype), win.padding, padding_mode), kernel_size, win.stride, win.dilation)
    weights = kernel.astype(dtype).reshape(*win.out, math.prod(kernel_size), c_in, c_out)
    y = jnp.einsum(
        "...mc,...mcf->...f", cells, weights, precision=precision, preferred_element_type=dot_dtype(dtype)
    ).astype(dtype)
    y = assert_shape(y, (x.shape[0], *win.out, c_out))
    if bias is not None:
        y = add_bias(y, jnp.asarray(bias))
    return y[0] if unbatched else y
