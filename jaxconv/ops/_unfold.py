"""Windows as rows of a matrix (im2col), and the sum of such rows at their cells."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import ArrayLike, Ints, Padding
from jaxconv.engine.select import tap_cells
from jaxconv.engine.window import Window, as_batch, assert_shape, window


def unfold(
    x: ArrayLike, kernel_size: Ints, *, stride: Ints = 1, padding: Padding = "valid", dilation: Ints = 1
) -> jax.Array:
    """The cells of each window as one row of channels (im2col).

    Args:
      x: [N, *spatial, C]; may be unbatched if `kernel_size` is a tuple.
      kernel_size, stride, padding, dilation: as in `conv`; padded cells are zero.

    Returns:
      [N, *out, Πk*C] of x's dtype, the channels of a tap adjacent: `unfold(x, k) @ kernel.reshape(-1, C_out)` is
      `conv(x, kernel)`. (torch's order is [C, *k].)

    Raises:
      ShapeError: if a window does not fit.

    >>> unfold(jnp.arange(4).reshape(1, 4, 1), (2,))[0]
    Array([[0, 1],
           [1, 2],
           [2, 3]], dtype=int32)
    """
    x, unbatched = as_batch(x, kernel_size, "unfold")
    win = window(x.shape[1:-1], kernel_size, stride=stride, padding=padding, dilation=dilation, op="unfold")
    y = _rows(x, win)
    return y[0] if unbatched else y


def fold(
    y: ArrayLike,
    size: Ints,
    kernel_size: Ints,
    *,
    stride: Ints = 1,
    padding: Padding = "valid",
    dilation: Ints = 1,
) -> jax.Array:
    """Sum rows of windows at their cells (col2im): the adjoint of `unfold`.

    Args:
      y: [N, *out, Πk*C], as `unfold` returns it; may be unbatched if `size` is a tuple.
      size: spatial size of the result; one int, or one per axis.
      kernel_size, stride, padding, dilation: those of `unfold`.

    Returns:
      [N, *size, C] of y's dtype. A cell is the sum over all windows that it is in; divide by
      `fold(unfold(jnp.ones_like(x), …), …)` for their mean.

    Raises:
      ShapeError: if `unfold` of an input of this size does not have y's shape.

    >>> fold(jnp.array([[[0, 1], [1, 2], [2, 3]]]), (4,), (2,)).ravel()
    Array([0, 2, 4, 3], dtype=int32)
    """
    y, unbatched = as_batch(y, size, "fold")
    sizes = geometry.per_axis(size, y.ndim - 2, "size")
    win = window(sizes, kernel_size, stride=stride, padding=padding, dilation=dilation, op="fold")
    taps = math.prod(win.kernel_size)
    if y.shape[1:-1] != win.out or y.shape[-1] % taps:
        raise ShapeError(
            f"fold to {sizes} needs rows [N, {', '.join(map(str, win.out))}, {taps}*C]",
            got=f"{y.shape}",
            kind="shape",
        )
    pairs = [win.full_padding(n, axis) for axis, n in zip(win.axes, sizes, strict=True)]
    cells = [lo + n + hi for n, (lo, hi) in zip(sizes, pairs, strict=True)]
    channels = y.shape[-1] // taps

    def placed(number: int, tap: tuple[int, ...]) -> jax.Array:
        """The channels of one tap at its cells, with zeros between and around them."""
        piece, widths = y[..., number * channels : (number + 1) * channels], [(0, 0, 0)]
        for at, n, out, s, d in zip(tap, cells, win.out, win.stride, win.dilation, strict=True):
            widths.append((at * d, n - at * d - (out - 1) * s - 1, s - 1))
        return jax.lax.pad(piece, jnp.zeros((), y.dtype), [*widths, (0, 0, 0)])

    every = itertools.product(*map(range, win.kernel_size))
    x = functools.reduce(jnp.add, (placed(number, tap) for number, tap in enumerate(every)))
    x = x[:, *(slice(lo, lo + n) for n, (lo, _) in zip(sizes, pairs, strict=True))]
    x = assert_shape(x, (y.shape[0], *sizes, channels))
    return x[0] if unbatched else x


def _rows(x: jax.Array, win: Window) -> jax.Array:
    padded = win.padded(x, 0)
    taps = itertools.product(*map(range, win.kernel_size))
    rows = jnp.concatenate([tap_cells(padded, win, tap) for tap in taps], axis=-1)
    return assert_shape(rows, (x.shape[0], *win.out, math.prod(win.kernel_size) * x.shape[-1]))
