"""Geometric changes of images together with the masks and boxes of their labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ShapeError
from jaxconv.data.dataset import Batch
from jaxconv.data.spatial import Boxes, Mask

Outside = int | float


class Move(NamedTuple):
    """A geometric change of a batch of one size, drawn for each image.

    Args:
      image: images [N, H, W, C] -> images, of the same dtype.
      mask: (values [N, H, W, C] of any dtype, value outside) -> values, none of them new.
      boxes: floating [N, M, 4] -> [N, M, 4], see `Boxes`; they need not be clipped to the image.
    """

    image: Callable[[jax.Array], jax.Array]
    mask: Callable[[jax.Array, Outside], jax.Array]
    boxes: Callable[[jax.Array], jax.Array]


def moved(batch: Batch, move: Move) -> Batch:
    """The batch after a geometric change of its images and of every `Mask` and `Boxes` in its label.

    Raises:
      ShapeError: if a mask or boxes do not fit the images.
    """
    images = jnp.asarray(batch.image)

    def change(label: Any) -> Any:
        if isinstance(label, Mask):
            values = _checked_mask(label, images.shape)
            stacked = values.reshape(*values.shape[:3], -1)
            return Mask(move.mask(stacked, label.outside).reshape(values.shape), label.outside)
        if isinstance(label, Boxes):
            boxes = _checked_boxes(label, len(images))
            return Boxes(clipped(boxes, move.boxes(upcast(boxes)), *images.shape[1:3]))
        return label

    label = jax.tree.map(change, batch.label, is_leaf=is_spatial)
    return batch._replace(image=move.image(images), label=label)


def is_spatial(label: Any) -> bool:
    """Whether a label has positions in the image."""
    return isinstance(label, Mask | Boxes)


def clipped(boxes: jax.Array, moved_boxes: jax.Array, rows: int, columns: int) -> jax.Array:
    """Boxes after a move, clipped to the image; zeros for those without an area, before or after.

    >>> given = jnp.array([[0.0, 0.0, 2.0, 2.0], [4.0, 0.0, 6.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    >>> print(clipped(given, given + jnp.array([-1.0, 3.0, 3.0, 3.0]), 4, 6))
    [[0. 3. 5. 4.]
     [3. 3. 6. 4.]
     [0. 0. 0. 0.]]
    """
    inside = jnp.clip(moved_boxes, 0, jnp.array([columns, rows, columns, rows], moved_boxes.dtype))
    kept = (Boxes(boxes).areas() > 0) & (Boxes(inside).areas() > 0)
    return jnp.where(kept[..., None], inside, 0).astype(boxes.dtype)


def hull(points: jax.Array) -> jax.Array:
    """The boxes [N, M, 4] around points (x, y), [N, M, points, 2]."""
    return jnp.concatenate([points.min(-2), points.max(-2)], -1)


def corners(boxes: jax.Array) -> jax.Array:
    """Corners (x, y) of boxes [N, M, 4]: [N, M, 4, 2]."""
    return jnp.stack([jnp.stack([boxes[..., x], boxes[..., y]], -1) for x in (0, 2) for y in (1, 3)], -2)


def _checked_mask(mask: Mask, shape: tuple[int, ...]) -> jax.Array:
    values = jnp.asarray(mask.values)
    if values.ndim not in (3, 4) or values.shape[:3] != shape[:3]:
        raise ShapeError(
            f"the masks of images {list(shape)} must be {list(shape[:3])}, or {[*shape[:3], 'C']}".replace("'", ""),
            got=str(list(values.shape)),
            kind="shape",
        )
    if not _fits(mask.outside, values.dtype):
        raise ShapeError(
            "the label outside the image must fit the mask's dtype",
            got=f"outside={mask.outside!r} for {values.dtype}",
            fix=f"Mask(values, outside={values.dtype.type(0)})",
            kind="dtype",
        )
    return values


def _fits(value: Outside, dtype: Any) -> bool:
    try:
        return bool(np.asarray(value, dtype) == value)
    except OverflowError:
        return False


def _checked_boxes(boxes: Boxes, n: int) -> jax.Array:
    values = jnp.asarray(boxes.values)
    if values.ndim != 3 or values.shape[::2] != (n, 4) or not jnp.issubdtype(values.dtype, jnp.floating):
        raise ShapeError(
            f"boxes must be floating [{n}, M, 4]", got=f"{values.dtype} {list(values.shape)}", kind="shape"
        )
    return values
