"""Random boxes of pixels, one for each image."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxconv.augment.contract import draws

_ATTEMPTS = 10  # as torchvision's RandomResizedCrop and RandomErasing


class Box(NamedTuple):
    """Boxes in pixels, int32 [N] each; they may extend beyond the image."""

    top: jax.Array
    left: jax.Array
    height: jax.Array
    width: jax.Array

    def covers(self, rows: int, columns: int) -> jax.Array:
        """Mask of the pixels inside: bool [N, rows, columns, 1].

        >>> one = Box(*(jnp.array([n]) for n in (-1, 1, 2, 1)))
        >>> one.covers(2, 3)[0, :, :, 0].astype(int).tolist()
        [[0, 1, 0], [0, 0, 0]]
        """
        down = _between(self.top, self.height, rows)
        right = _between(self.left, self.width, columns)
        return (down[:, :, None] & right[:, None, :])[..., None]


def _between(low: jax.Array, length: jax.Array, n: int) -> jax.Array:
    index = jnp.arange(n)[None]
    return (index >= low[:, None]) & (index < (low + length)[:, None])


def centered_box(row: jax.Array, column: jax.Array, height: jax.Array, width: jax.Array) -> Box:
    """Boxes of a size centered on pixels, int32 [N] each; for even sizes the pixel is just past the center."""
    return Box(row - height // 2, column - width // 2, height, width)


def scaled_int(uniform: jax.Array, n: int | jax.Array) -> jax.Array:
    """Map uniform numbers in [0, 1) to equally likely integers in [0, n)."""
    return jnp.floor(uniform * jnp.asarray(n, uniform.dtype)).astype(jnp.int32)


def random_box(
    key: jax.Array,
    images: jax.Array,
    area: tuple[float, float],
    ratio: tuple[float, float],
    otherwise: tuple[int, int],
) -> Box:
    """Boxes of random area, aspect ratio and position inside the images.

    The first of ten draws that fits into the image is taken.

    Args:
      key: random key.
      images: [N, H, W, C]; only the shape is used.
      area: range of the box's fraction of the image area, uniform.
      ratio: range of its aspect ratio (width / height), log-uniform.
      otherwise: (height, width) of a centered box, used if no draw fits.
    """
    n, rows, columns, _ = images.shape
    drawn = draws(key, 2 * _ATTEMPTS + 2, n)
    share, shape = drawn[:_ATTEMPTS], drawn[_ATTEMPTS:-2]
    pixels = (area[0] + (area[1] - area[0]) * share) * (rows * columns)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    shape = jnp.exp(low + (high - low) * shape)
    heights, widths = (jnp.round(jnp.sqrt(side)).astype(jnp.int32) for side in (pixels / shape, pixels * shape))
    fits = (heights >= 1) & (heights <= rows) & (widths >= 1) & (widths <= columns)
    first, found = jnp.argmax(fits, axis=0)[None], fits.any(axis=0)
    height, width = (
        jnp.where(found, jnp.take_along_axis(sides, first, axis=0)[0], side)
        for sides, side in zip((heights, widths), otherwise, strict=True)
    )
    top = jnp.where(found, scaled_int(drawn[-2], rows - height + 1), (rows - height) // 2)
    left = jnp.where(found, scaled_int(drawn[-1], columns - width + 1), (columns - width) // 2)
    return Box(top, left, height, width)
