"""Pillow's resizing of 8-bit images as exact arithmetic on arrays, for exported programs."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv._base.types import Array

__all__ = ["resample_weights", "resampled"]

_BITS = 22
"""Of the fraction of a weight; Pillow's sums are int32."""
_EXACT = 2**24  # float32 has all integers up to this one
_HAMMING = float(np.float32(0.54)), float(np.float32(0.46))  # constants of type float in Pillow


def _bicubic(x: float) -> float:
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * -0.5 if x < 2 else 0.0


def _sinc(x: float) -> float:
    return 1.0 if x == 0 else math.sin(x * math.pi) / (x * math.pi)


def _hamming(x: float) -> float:
    return _sinc(x) * (_HAMMING[0] + _HAMMING[1] * math.cos(x * math.pi))


FILTERS: dict[str, tuple[float, Callable[[float], float]]] = {
    "box": (0.5, lambda x: 1.0 if -0.5 < x <= 0.5 else 0.0),
    "bilinear": (1.0, lambda x: max(1 - abs(x), 0.0)),
    "hamming": (1.0, lambda x: _hamming(abs(x)) if abs(x) < 1 else 0.0),
    "bicubic": (2.0, lambda x: _bicubic(abs(x))),
    "lanczos": (3.0, lambda x: _sinc(x) * _sinc(x / 3) if -3 <= x < 3 else 0.0),
}
"""Half the width of each filter, and the filter; of Pillow's src/libImaging/Resample.c."""


def resample_weights(length: int, size: int, low: float, high: float, interpolation: str) -> np.ndarray:
    """Pillow's weights for resizing one axis.

    Args:
      length: cells of the input.
      size: cells of the result.
      low, high: the interval of the input that becomes the result.
      interpolation: one of `jaxconv.data.decode.INTERPOLATIONS`.

    Returns:
      int32 [size, length], in units of 2**-22.

    >>> (resample_weights(4, 2, 0, 4, "box") / 2**22).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    start, stop = np.float32(low), np.float32(high)  # as Pillow takes a box
    step, found = float(stop - start) / size, np.zeros((size, length), np.int32)
    if interpolation == "nearest":
        at = np.add.accumulate([float(start) + step * 0.5, *[step] * (size - 1)]).astype(int)
        found[np.arange(size), np.minimum(at, length - 1)] = 1 << _BITS
        return found
    reach, kernel = FILTERS[interpolation]
    wide = max(step, 1.0)
    for row in range(size):
        center = float(start) + (row + 0.5) * step
        cells = range(max(int(center - reach * wide + 0.5), 0), min(int(center + reach * wide + 0.5), length))
        values = [kernel((cell - center + 0.5) * (1 / wide)) for cell in cells]
        total = 0.0
        for value in values:  # rounded as Pillow's is, which `sum` is not
            total += value
        scaled = [value / total * (1 << _BITS) for value in values]
        found[row, cells] = [int(value - 0.5 if value < 0 else value + 0.5) for value in scaled]
    return found


def resampled(images: Array, rows: np.ndarray, columns: np.ndarray, rows_first: bool = False) -> jax.Array:
    """Resize images as Pillow does: their columns and their rows, each rounded to 8 bits.

    Args:
      images: [N, H, W, C], floating with the values of uint8.
      rows: weights [h, H], from `resample_weights`.
      columns: weights [w, W].
      rows_first: whether rows are resized before columns; Pillow's order depends on its version and on the sizes.

    Returns:
      [N, h, w, C] of the same dtype, equal to Pillow's to the bit: all numbers are integers that float32 has, in
      products also bfloat16.

    Raises:
      ConfigError: if the images are too large for that.
    """
    if rows_first:
        return _along(_along(images, rows, 1), columns, 2)
    return _along(_along(images, columns, 2), rows, 1)


def _along(x: Array, weights: np.ndarray, axis: int) -> jax.Array:
    """⌊Σ weight * x / 2**22 + 1/2⌋ along an axis, within 0 to 255; the weights are taken apart into three bytes."""
    used = np.flatnonzero(weights.any(0))
    first, last = used[0], used[-1] + 1
    x, weights = jax.lax.slice_in_dim(x, first, last, axis=axis), weights[:, first:last]
    total: jax.Array | float = 2.0 ** (_BITS - 1)
    for part, shift in ((weights & 255, 8), (weights >> 8 & 255, 8), (weights >> 16, _BITS - 16)):
        if 255 * np.abs(part).sum(1).max() >= _EXACT // 2:
            raise ConfigError(
                "images must be resized by a factor that exact arithmetic allows\n"
                f"  got: {weights.shape[1]} to {weights.shape[0]} pixels\n  fix: smaller images"
            )
        product = jnp.moveaxis(jnp.tensordot(x, jnp.asarray(part.T, x.dtype), (axis, 0)), -1, axis)
        total = jnp.floor((product + total) * 2.0**-shift)
    return jnp.clip(total, 0, 255)
