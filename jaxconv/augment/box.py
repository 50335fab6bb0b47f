"""Rectangles of pixels, one for each image."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxconv.augment.contract import draws

_ATTEMPTS = 10  # as torchvision's RandomResizedCrop and RandomErasing


class Box(NamedTuple):
    """Rectangles in pixels, int32 [N] each; they may reach over the image's border."""

    top: jax.Array
    left: jax.Array
    height: jax.Array
    width: jax.Array

    def covers(self, rows: int, columns: int) -> jax.Array:
        """Whether each pixel of an image lies inside: bool [N, rows, columns, 1].

        >>> one = Box(*(jnp.array([n]) for n in (-1, 1, 2, 1)))
        >>> one.covers(2, 3)[0, :, :, 0].astype(int).tolist()
        [[0, 1, 0], [0, 0, 0]]
        """
        down = _between(self.top, self.height, rows)
        right = _between(self.left, self.width, columns)
        return (down[:, :, None] & right[:, None, :])[..., None]


def _between(low: jax.Array, length: jax.Array, n: int) -> jax.Array:
    place = jnp.arange(n)[None]
    return (place >= low[:, None]) & (place < (low + length)[:, None])


def around(row: jax.Array, column: jax.Array, height: jax.Array, width: jax.Array) -> Box:
    """Boxes of a size around pixels, int32 [N] each; where the size is even, the pixel lies past the middle."""
    return Box(row - height // 2, column - width // 2, height, width)


def any_of(uniform: jax.Array, n: int | jax.Array) -> jax.Array:
    """Uniform numbers in [0, 1) as whole numbers in [0, n), all equally likely."""
    return jnp.floor(uniform * jnp.asarray(n, uniform.dtype)).astype(jnp.int32)


def random_box(
    key: jax.Array,
    images: jax.Array,
    area: tuple[float, float],
    ratio: tuple[float, float],
    otherwise: tuple[int, int],
) -> Box:
    """Boxes inside images, of random area and shape at random places.

    Up to ten draws are made for each image until one fits into it.

    Args:
      key: of the draw.
      images: [N, H, W, C]; only the shape counts.
      area: range of the box's share of the image, uniform.
      ratio: range of its width over its height, uniform in the logarithm.
      otherwise: (height, width) where none fits; such a box lies in the middle.
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
    top = jnp.where(found, any_of(drawn[-2], rows - height + 1), (rows - height) // 2)
    left = jnp.where(found, any_of(drawn[-1], columns - width + 1), (columns - width) // 2)
    return Box(top, left, height, width)
