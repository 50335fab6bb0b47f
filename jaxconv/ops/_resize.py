"""Resizing by interpolation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import cast_back, upcast
from jaxconv._base.errors import ShapeError, count, did_you_mean
from jaxconv._base.numeric import check_number
from jaxconv._base.types import ArrayLike
from jaxconv.engine.resample import Resampling, resample
from jaxconv.engine.window import all_static, assert_shape
from jaxconv.ops._adaptive import AdaptiveSize, adaptive_avg_pool, sizes_of
from jaxconv.ops._pool import as_feature_maps

ResizeMode: TypeAlias = Literal["nearest", "nearest-exact", "linear", "cubic", "area"]
Scale: TypeAlias = float | Sequence[float]

RESIZE_MODES: tuple[ResizeMode, ...] = ("nearest", "nearest-exact", "linear", "cubic", "area")
_SMOOTH = ("linear", "cubic")
_WIDEST = 8
"""Cells of the widest window that is a sum of gathered cells; the mean of a wider one is over a slice."""
_FROM_TORCH = {"bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}


def resize(
    x: ArrayLike,
    size: AdaptiveSize | None = None,
    *,
    scale: Scale | None = None,
    mode: ResizeMode = "nearest",
    align_corners: bool = False,
    antialias: bool = False,
) -> jax.Array:
    """Resize the spatial axes by interpolation, each axis by itself; equal to `torch.nn.functional.interpolate`.

    Args:
      x: [N, *spatial, C], 1 to 3 spatial axes.
      size: output size; one int, or one per spatial axis, where None is the input's.
      scale: output size relative to the input's, instead of `size`: out = floor(n * scale). Positions are then
        computed from `scale` itself, as torch's are; for those of the rounded sizes (`recompute_scale_factor=True`),
        give `size`.
      mode: "nearest" (the cell at floor(i * n / out), as in OpenCV), "nearest-exact" (the cell whose center is nearest,
        as in Pillow), "linear" (bilinear on two axes, trilinear on three), "cubic" (Keys' kernel with slope -0.75) or
        "area" (means of adaptive windows).
      align_corners: whether the centers of the first and last cells coincide, for "linear" and "cubic"; the borders do
        otherwise.
      antialias: whether the kernel is widened when the size shrinks, for "linear" and "cubic" (slope -0.5), as in
        Pillow.

    Returns:
      [N, *out, C] of x's dtype; float32 for integers, which "nearest" and "nearest-exact" keep.

    Raises:
      ShapeError: unless exactly one of size and scale is given; if an output is empty, or the mode has no such option.

    >>> resize(jnp.arange(3.0).reshape(1, 3, 1), 6, mode="linear").ravel()
    Array([0.  , 0.25, 0.75, 1.25, 1.75, 2.  ], dtype=float32)
    """
    x = as_feature_maps(x, "resize")
    check_resize(mode, align_corners, antialias)
    shape = x.shape[1:-1]
    if not all_static(shape):
        raise ShapeError("resize needs static sizes", got=f"spatial shape {shape}", fix="export with static sizes")
    sizes, steps = _sizes(shape, size, scale)
    if mode == "area" and any(n > _WIDEST * m for n, m in zip(shape, sizes, strict=True)):
        return adaptive_avg_pool(x, sizes)
    y = x if mode.startswith("nearest") else upcast(x)
    wide = x.dtype in (jnp.float64, jnp.complex128)
    maps = list[tuple[int, Resampling]]()
    for axis in sorted(range(len(shape)), key=lambda axis: sizes[axis] / shape[axis]):  # the smallest results first
        n, out = shape[axis], sizes[axis]
        step = (n - 1) / max(out - 1, 1) if align_corners else steps[axis]
        copied = n == out and (step == 1 or mode in ("linear", "area") or antialias)  # whatever the scale, as in torch
        if not copied:
            maps.append((axis + 1, Resampling(n, out, mode, step, align_corners, antialias, wide)))
    return assert_shape(cast_back(resample(y, tuple(maps)), x), (x.shape[0], *sizes, x.shape[-1]))


def check_resize(mode: str, align_corners: bool, antialias: bool) -> None:
    """Raise ShapeError if `mode` is unknown, or has no such option."""
    if mode not in RESIZE_MODES:
        meant = _FROM_TORCH.get(mode, mode) if isinstance(mode, str) else mode
        raise ShapeError(
            f"mode must be one of {', '.join(RESIZE_MODES)}", got=f"mode={mode!r}{did_you_mean(meant, RESIZE_MODES)}"
        )
    for name, given in (("align_corners", align_corners), ("antialias", antialias)):
        if given and mode not in _SMOOTH:
            raise ShapeError(f"{name} is for mode='linear' and 'cubic'", got=f"mode={mode!r}, {name}={given!r}")
    if align_corners and antialias:
        raise ShapeError("antialias needs align_corners=False", got="align_corners=True, antialias=True")


def _sizes(shape: Sequence[int], size: AdaptiveSize | None, scale: Scale | None) -> tuple[tuple[int, ...], list[float]]:
    """Output sizes, and input cells from one output cell to the next."""
    rank = len(shape)
    if (size is None) == (scale is None):
        raise ShapeError("exactly one of size and scale must be given", got=f"size={size}, scale={scale}")
    if scale is None:
        assert size is not None
        sizes = sizes_of(shape, size, "size")
        return sizes, [n / m for n, m in zip(shape, sizes, strict=True)]
    if isinstance(scale, Sequence) and len(scale) != rank:
        raise ShapeError(
            f"scale must be one number, or one for each of the {count(rank, 'spatial axis')}", got=f"scale={scale!r}"
        )
    scales = scale if isinstance(scale, Sequence) else [scale] * rank
    for value in scales:
        check_number(value, "scale", "scale must be a number above 0", lambda value: 0 < value < math.inf)
    sizes = tuple(math.floor(n * value) for n, value in zip(shape, scales, strict=True))
    if 0 in sizes:
        raise ShapeError(
            "resize must have a non-empty output: out = floor(n * scale)",
            got=f"out = {sizes} from {tuple(shape)}, scale={scale}",
            fix=f"scale={1 / min(shape):.3g} or more",
            kind="empty",
        )
    return sizes, [1 / value for value in scales]
