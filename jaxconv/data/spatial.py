"""Labels that lie in the image, which geometric augmentations move with it: masks and boxes."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

__all__ = ["Boxes", "Mask"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Mask:
    """A label for each pixel, such as its class.

    Args:
      values: [N, H, W], or [N, H, W, C] for several of them; any dtype.
      outside: label of pixels that come from outside the image; 255 is the one that VOC and Cityscapes ignore.

    >>> import numpy as np
    >>> Mask(np.zeros([2, 4, 4], np.uint8)).outside
    255
    """

    values: Any
    outside: int | float = dataclasses.field(default=255, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Boxes:
    """Bounding boxes around the objects of each image.

    A box of no area is padding: images with fewer than M objects have some. What an augmentation moves out of the image
    becomes such a box, too.

    Args:
      values: floating [N, M, 4]: left, top, right and bottom in pixels; the pixel in row r and column c covers
        [c, c + 1] × [r, r + 1].

    >>> import numpy as np
    >>> Boxes(np.array([[[0, 0, 3, 2], [0, 0, 0, 0]]], np.float32)).areas()
    array([[6., 0.]], dtype=float32)
    """

    values: Any

    def areas(self) -> Any:
        """Area of each box in pixels, [N, M]; 0 for padding."""
        left, top, right, bottom = (self.values[..., side] for side in range(4))
        return (right - left) * (bottom - top)
