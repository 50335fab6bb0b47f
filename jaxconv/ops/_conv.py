"""Convolution."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv import engine, geometry
from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.dtypes import channelwise, upcast
from jaxconv._base.errors import ShapeError, count
from jaxconv._base.types import ArrayLike, Ints, Padding, PaddingMode
from jaxconv.engine.window import as_batch, assert_shape, window
from jaxconv.ops._pad import check_mode, pad_pairs


@renamed_arguments(pad_mode="padding_mode")
def conv(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Ints = 1,
    padding: Padding = "valid",
    padding_mode: PaddingMode = "zeros",
    dilation: Ints = 1,
    groups: int = 1,
    impl: str | None = None,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """Convolution (cross-correlation, as usual in deep learning).

    a[i, j, t] = Σ_{m, n, l} x[i*s + m*d, j*s + n*d, l] * K[m, n, l, t] + b[t]

    Args:
      x: [N, *spatial, C_in], 1 to 3 spatial axes; may be unbatched.
      kernel: [*k, C_in/groups, C_out].
      bias: [C_out] or None.
      stride: cells from one window to the next; one int, or one per axis.
      padding: "valid", "same", "same_lower", "full", "causal", an int, a pair (lo, hi), or a pair per axis; see
        `jaxconv.geometry.pads`.
      padding_mode: "zeros", "reflect", "edge" or "wrap"; see `pad`.
      dilation: cells from one tap of the kernel to the next.
      groups: number of groups that input and output channels are split into; each group is convolved separately.
      impl: "auto", "tune" (measured on this device and cached) or a formulation of `jaxconv.engine`; None for that of
        `jaxconv.using`. If a formulation cannot run these arguments, "auto" applies.
      precision: of the products, as in `jax.lax.dot`.

    Returns:
      [N, *out, C_out], out = floor((n + lo + hi - d*(k - 1) - 1) / s) + 1, of the dtype that x and kernel promote to.

    Raises:
      ShapeError: if ranks, channels, groups or sizes are incompatible.

    >>> conv(jnp.ones((1, 28, 28, 1)), jnp.ones((5, 5, 1, 3))).shape
    (1, 24, 24, 3)
    """
    kernel = check_kernel(kernel, "conv")
    kernel_size = kernel.shape[:-2]
    x_shape, groups = jnp.shape(x), geometry.integer(groups, "groups")
    x, unbatched = as_batch(x, kernel_size, "conv")
    check_channels(x_shape, kernel.shape, groups)
    if bias is not None:
        bias = check_bias(bias, kernel.shape[-1])
    check_mode(padding_mode)
    win = window(x.shape[1:-1], kernel_size, stride=stride, padding=padding, dilation=dilation, op="conv")
    dtype = jnp.promote_types(x.dtype, kernel.dtype)
    x, kernel, pairs = x.astype(dtype), kernel.astype(dtype), win.padding
    if padding_mode != "zeros" or win.symbolic_padding:
        x, pairs = pad_pairs(x, pairs, padding_mode), ((0, 0),) * len(kernel_size)
    form = engine.Form(
        "y", x.shape, kernel.shape, win.stride, pairs, win.dilation, groups,
        dtype=str(dtype), precision=engine.precision_of(precision), impl=engine.resolved(impl),
    )  # fmt: skip
    y = engine.bind(x, kernel, form)
    y = assert_shape(y, (x.shape[0], *win.out, kernel.shape[-1]))
    if bias is not None:
        y = add_bias(y, bias)
    return y[0] if unbatched else y


def check_kernel(kernel: Any, op: str) -> jax.Array:
    """`kernel` as an array [*k, C_in/groups, C_out].

    Raises:
      ShapeError: if it does not have 1 to 3 spatial axes.
    """
    kernel = jnp.asarray(kernel)
    if not 3 <= kernel.ndim <= 5:
        raise ShapeError(
            f"{op} needs a kernel [*k, C_in/groups, C_out] of 1 to 3 spatial axes", got=f"{kernel.shape}", kind="rank"
        )
    return kernel


def channels_first_fix(x: tuple[int, ...], rank: int, channels: int) -> str:
    """The fix for an input of shape x that has the expected channels on its first axis behind N; else ""."""
    first = x[-1 - rank : -1]
    if first[0] != channels or (rank > 1 and first[0] == first[1]):
        return ""
    layout = " (NCHW)" if rank == 2 else ""
    return f"x looks channels-first{layout}: jnp.moveaxis(x, {-1 - rank}, -1) puts the channels last"


def check_channels(x: tuple[int, ...], kernel: tuple[int, ...], groups: int, fix: str = "") -> None:
    """Check that the input has the channels that kernel and groups require, and that groups divide the output channels.

    Args:
      x, kernel: shapes.
      groups: of the convolution.
      fix: the fix for wrong channels if there is no likelier one, such as a channels-first input.

    Raises:
      ShapeError: if they do not match.
    """
    c_in, c_out = kernel[-2], kernel[-1]
    if 0 in kernel:
        raise ShapeError(
            "conv needs a kernel [*k, C_in/groups, C_out] without empty axes", got=f"kernel {kernel}", kind="empty"
        )
    if c_out % groups:
        raise ShapeError(
            "groups must divide the number of output channels (the kernel's last axis)",
            got=f"groups={groups}, {count(c_out, 'output channel')}: kernel {kernel}",
        )
    if x[-1] == c_in * groups:
        return
    layout_fix = channels_first_fix(x, len(kernel) - 2, c_in * groups)
    if layout_fix:
        fix = layout_fix
    elif x[-1] == kernel[1] * groups and len(set(kernel[2:])) == 1:
        fix = "the kernel looks like torch's [C_out, C_in, *k]: jnp.moveaxis(kernel, (0, 1), (-1, -2))"
    elif not fix and x[-1] % groups:
        fix = f"groups must divide the {count(x[-1], 'channel')} of x"
    elif not fix and x[-1]:
        fix = f"a kernel of shape {(*kernel[:-2], x[-1] // groups, c_out)}"
    each = f" ({c_in} for each of {groups} groups)" if groups > 1 else ""
    raise ShapeError(
        f"x must have {count(c_in * groups, 'channel')}{each} on its last axis, to match the kernel "
        "[*k, C_in/groups, C_out]",
        got=f"x {x}, kernel {kernel}",
        fix=fix,
        kind="layout" if layout_fix else "channels",
        expected=c_in * groups,
        found=x[-1],
    )


def add_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    """y + bias in y's dtype; half precision via f32, so that the gradient of the bias is summed in f32."""
    if y.dtype in (jnp.bfloat16, jnp.float16):
        return (upcast(y) + upcast(channelwise(bias, y))).astype(y.dtype)
    return y + channelwise(bias, y).astype(y.dtype)


def check_bias(bias: Any, features: int) -> jax.Array:
    """`bias` as an array [features]; raises ShapeError if it has another shape."""
    if isinstance(bias, str | int):  # another library's third argument
        word = "padding" if isinstance(bias, str) else "stride"
        raise ShapeError(
            f"bias must have one value for each of the {count(features, 'output channel')}",
            got=f"bias={bias!r}",
            fix=f"{word}={bias!r}, by keyword",
            kind="shape",
        )
    bias = jnp.asarray(bias)
    if bias.shape != (features,):
        raise ShapeError(
            f"bias must have one value for each of the {count(features, 'output channel')}",
            got=f"bias {bias.shape}",
            kind="shape",
        )
    return bias
