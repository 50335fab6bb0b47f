"""Transposed convolution: the exact adjoint of `conv`."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv import engine, geometry
from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.errors import ShapeError, count
from jaxconv._base.types import ArrayLike, Ints, Padding, PaddingMode
from jaxconv.engine.window import as_batch, assert_shape, window
from jaxconv.ops._conv import add_bias, channels_first_fix, check_bias, check_channels, check_kernel
from jaxconv.ops._pad import check_mode, padding_adjoint


@renamed_arguments(pad_mode="padding_mode")
def conv_transpose(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Ints = 1,
    padding: Padding = "valid",
    padding_mode: PaddingMode = "zeros",
    dilation: Ints = 1,
    groups: int = 1,
    output_padding: Ints | None = None,
    output_size: Ints | None = None,
    impl: str | None = None,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """The adjoint of `conv` with the same kernel and arguments: ⟨conv(a), x⟩ = ⟨a, conv_transpose(x)⟩.

    Args:
      x: [N, *spatial, C_out], of the shape of the convolution's output; may be unbatched.
      kernel: [*k, C_in/groups, C_out], the kernel of the convolution; the result has its C_in channels.
      bias: [C_in] or None, added to the result.
      stride, padding, padding_mode, dilation, groups, impl, precision: arguments of the convolution, see `conv`.
      output_padding: the convolution maps `stride` input sizes to the size of x; this selects one, as the offset from
        the smallest, in [0, stride). None for the largest under "same" (n * s), else for the smallest.
      output_size: spatial size of the result, instead of output_padding.

    Returns:
      [N, *out, C_in], out = (n - 1)*s + d*(k - 1) + 1 - lo - hi + output_padding.

    Raises:
      ShapeError: if shapes are incompatible, or the convolution does not map the output size to the size of x.

    >>> conv_transpose(jnp.ones((1, 7, 7, 8)), jnp.ones((3, 3, 4, 8)), stride=2, padding="same").shape
    (1, 14, 14, 4)
    """
    kernel = check_kernel(kernel, "conv_transpose")
    kernel_size = kernel.shape[:-2]
    x, unbatched = as_batch(x, kernel_size, "conv_transpose")
    if 0 in x.shape[1:-1]:
        raise ShapeError(
            "conv_transpose needs at least one cell on every spatial axis", got=f"{x.shape[1:-1]}", kind="empty"
        )
    if x.shape[-1] != kernel.shape[-1]:
        swapped = "jnp.swapaxes(kernel, -1, -2)" if x.shape[-1] == kernel.shape[-2] else ""
        layout_fix = "" if swapped else channels_first_fix(x.shape, len(kernel_size), kernel.shape[-1])
        raise ShapeError(
            f"x must have {count(kernel.shape[-1], 'channel')}, to match the kernel's C_out (last axis)",
            got=f"x {x.shape}, kernel {kernel.shape}",
            fix=swapped or layout_fix,
            kind="layout" if layout_fix else "channels",
            expected=kernel.shape[-1],
            found=x.shape[-1],
        )
    dtype = jnp.promote_types(x.dtype, kernel.dtype)
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise ShapeError(
            "conv_transpose needs a floating type", got=str(dtype), fix="x.astype(jnp.float32)", kind="dtype"
        )
    sizes = restored_size(
        x.shape[1:-1], kernel_size, stride=stride, padding=padding, dilation=dilation,
        output_padding=output_padding, output_size=output_size,
    )  # fmt: skip
    channels = kernel.shape[-2] * geometry.integer(groups, "groups")
    if bias is not None:
        bias = check_bias(bias, channels)
    out_shape = (x.shape[0], *sizes, channels)
    check_channels(out_shape, kernel.shape, geometry.integer(groups, "groups"))
    check_mode(padding_mode)
    win = window(sizes, kernel_size, stride=stride, padding=padding, dilation=dilation, op="conv_transpose")
    padded, pairs = out_shape, win.padding
    padded_apart = padding_mode != "zeros" or win.symbolic_padding
    if padded_apart:
        padded = (out_shape[0], *(n + sum(pair) for n, pair in zip(sizes, pairs, strict=True)), channels)
        pairs = ((0, 0),) * len(kernel_size)
    form = engine.Form(
        "x", padded, kernel.shape, win.stride, pairs, win.dilation, groups,
        dtype=str(dtype), precision=engine.precision_of(precision), impl=engine.resolved(impl),
    )  # fmt: skip
    y = engine.bind(kernel, x, form)
    if padded_apart:
        y = padding_adjoint(y, win.padding, padding_mode)
    y = assert_shape(y, out_shape)
    if bias is not None:
        y = add_bias(y, bias)
    return y[0] if unbatched else y


def restored_size(
    shape: Sequence[int],
    kernel_size: Sequence[int],
    *,
    stride: Ints = 1,
    padding: Padding = "valid",
    dilation: Ints = 1,
    output_padding: Ints | None = None,
    output_size: Ints | None = None,
) -> tuple[int, ...]:
    """The spatial size that the convolution maps to `shape`; see `conv_transpose` for the arguments.

    >>> restored_size((7,), (3,), stride=2), restored_size((7,), (3,), stride=2, padding="same")
    ((15,), (14,))
    """
    rank = len(shape)
    strides = geometry.per_axis(stride, rank, "stride")
    dilations = geometry.per_axis(dilation, rank, "dilation")
    same = padding in ("same", "same_lower") if isinstance(padding, str) else False
    smallest = [(n - 1) * s + 1 for n, s in zip(shape, strides, strict=True)]
    if not same:  # other paddings do not depend on the size
        pairs = geometry.pads(padding, shape, kernel_size, strides, dilations)
        reach = [geometry.span(k, d) - 1 - sum(p) for k, d, p in zip(kernel_size, dilations, pairs, strict=True)]
        smallest = [n + r for n, r in zip(smallest, reach, strict=True)]
    if output_size is not None:
        if output_padding is not None:
            raise ShapeError(
                "only one of output_size and output_padding may be given",
                got=f"output_size={output_size}, output_padding={output_padding}",
            )
        sizes = geometry.per_axis(output_size, rank, "output_size")
        extra = tuple(n - least for n, least in zip(sizes, smallest, strict=True))
    elif output_padding is None:
        extra = tuple(s - 1 if same else 0 for s in strides)
    else:
        extra = geometry.per_axis(output_padding, rank, "output_padding", least=0)
    sizes = tuple(least + e for least, e in zip(smallest, extra, strict=True))
    for axis, (e, s, least) in enumerate(zip(extra, strides, smallest, strict=True)):
        if 0 <= e < s:
            continue
        if output_size is None:
            raise ShapeError(
                f"output_padding must be less than the stride: in [0, {s}) on spatial axis {axis}",
                got=f"output_padding={extra}, stride {s}",
                fix=f"output_padding={s - 1}",
            )
        valid = f"{least}" if s == 1 else f"{least} or {least + 1}" if s == 2 else f"{least} to {least + s - 1}"
        raise ShapeError(
            f"output_size must be {valid} on spatial axis {axis}: only these sizes convolve to {shape[axis]}",
            got=f"output_size={sizes}",
            fix=f"output_size={least}",
        )
    if any(n < 1 for n in sizes):
        raise ShapeError(
            "conv_transpose must have a non-empty output: out = (n - 1)*s + d*(k - 1) + 1 - lo - hi",
            got=f"out = {sizes} from {tuple(shape)}, padding={padding!r}",
            fix="less padding",
            kind="window",
        )
    return sizes
