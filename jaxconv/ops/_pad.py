"""Padding as a separate operation: `conv` with a padding equals `pad`, then `conv` with "valid"."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.errors import ShapeError, count, did_you_mean
from jaxconv._base.types import ArrayLike, Ints, Padding, PaddingMode
from jaxconv.engine.window import as_batch, assert_shape
from jaxconv.geometry import PADDING_MODES, Pair, padding_mode_of

_NUMPY_MODE = {"zeros": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@renamed_arguments(size="kernel_size", pad_mode="padding_mode")
def pad(
    x: ArrayLike,
    padding: Padding,
    kernel_size: Ints = 1,
    *,
    stride: Ints = 1,
    dilation: Ints = 1,
    padding_mode: PaddingMode = "zeros",
) -> jax.Array:
    """Pad the spatial axes as a windowed operation with these arguments does.

    Args:
      x: [N, *spatial, C]; may be unbatched if `kernel_size` is a tuple.
      padding: a name such as "same", an int, a pair, or a pair per axis; see `jaxconv.geometry.pads`.
      kernel_size, stride, dilation: of the windowed operation; only named paddings depend on them.
      padding_mode: values of the new cells: "zeros", "reflect" (mirrored, without repeating the border), "edge" (the
        border, repeated) or "wrap" (periodic).

    Returns:
      [N, *(lo + n + hi), C], of x's dtype.

    Raises:
      ShapeError: if a name is unknown, or a padding exceeds n - 1 with "reflect" or n with "wrap".

    >>> pad(jnp.arange(1, 4).reshape(1, 3, 1), (1, 2), (1,), padding_mode="wrap").ravel()
    Array([3, 1, 2, 3, 1, 2], dtype=int32)
    """
    x, unbatched = as_batch(x, kernel_size, "pad")
    shape = x.shape[1:-1]
    per_axis = [
        geometry.per_axis(v, len(shape), w)
        for v, w in ((kernel_size, "kernel_size"), (stride, "stride"), (dilation, "dilation"))
    ]
    y = pad_pairs(x, geometry.pads(padding, shape, *per_axis), padding_mode)
    return y[0] if unbatched else y


def check_mode(padding_mode: str) -> None:
    """Raise ShapeError if `padding_mode` is not one of PADDING_MODES."""
    if padding_mode not in PADDING_MODES:
        meant = padding_mode_of(padding_mode) if isinstance(padding_mode, str) else None
        raise ShapeError(
            f"padding_mode must be one of {', '.join(PADDING_MODES)}",
            got=f"padding_mode={padding_mode!r}{did_you_mean(meant or padding_mode, PADDING_MODES)}",
        )


def pad_pairs(x: jax.Array, pairs: tuple[Pair, ...], padding_mode: str = "zeros") -> jax.Array:
    """`pad` of [N, *spatial, C] by given (lo, hi) per spatial axis."""
    check_mode(padding_mode)
    if 0 in x.shape[1:-1]:
        raise ShapeError(
            "padding needs at least one cell on every spatial axis", got=f"spatial shape {x.shape[1:-1]}", kind="empty"
        )
    for axis, (n, pair) in enumerate(zip(x.shape[1:-1], pairs, strict=True)):
        most = {"reflect": n - 1, "wrap": n}.get(padding_mode)
        if most is not None and any(amount > most for amount in pair):
            raise ShapeError(
                f"padding_mode={padding_mode!r} can pad spatial axis {axis}, which has {count(n, 'cell')}, by at "
                f"most {most} on each side",
                got=f"padding {pair} on spatial shape {x.shape[1:-1]}",
                fix="padding_mode='zeros' or 'edge', less padding (a smaller kernel or dilation), or a larger input",
                kind="padding",
                axis=axis,
                n=n,
                padding=pair,
            )
    y = x
    if any(amount for pair in pairs for amount in pair):
        y = jnp.pad(x, ((0, 0), *pairs, (0, 0)), mode=_NUMPY_MODE[padding_mode])
    return assert_shape(y, (x.shape[0], *(n + sum(p) for n, p in zip(x.shape[1:-1], pairs, strict=True)), x.shape[-1]))


def padding_adjoint(y: jax.Array, pairs: tuple[Pair, ...], padding_mode: str) -> jax.Array:
    """Adjoint of `pad_pairs`: [N, *(lo + n + hi), C] -> [N, *n, C], each cell the sum of its copies."""
    cells = zip(y.shape[1:-1], pairs, strict=True)
    inner = y[:, *(slice(lo, n - hi) for n, (lo, hi) in cells)]  # with the type of the unpadded array, on every mesh
    return jax.linear_transpose(lambda x: pad_pairs(x, pairs, padding_mode), inner)(y)[0]
