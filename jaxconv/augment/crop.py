"""Random crops resized to the image's size; images keep their dtype."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import upcast
from jaxconv.augment.box import Box, random_box
from jaxconv.augment.contract import Augment, as_type, check_arguments, images_of, number_problem, range_problem
from jaxconv.augment.joint import Move, Outside, moved
from jaxconv.augment.sampling import nearest
from jaxconv.data.dataset import Batch


def random_resized_crop(smallest: float = 0.08, ratio: Sequence[float] = (3 / 4, 4 / 3)) -> Augment:
    """Crop a box of random area and aspect ratio, and resize it to the image's size.

    As in torchvision: the first of ten draws that fits, or else the largest centered box of an allowed aspect ratio.
    Resizing is bilinear with antialiasing.

    Args:
      smallest: minimum fraction of the image area; the fraction is uniform up to 1.
      ratio: range of the aspect ratio (width / height), log-uniform.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep shape and dtype (integers are rounded); masks and boxes follow.

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    Source: Szegedy et al., Going Deeper with Convolutions, 2015.

    >>> batch = Batch(jnp.full([2, 5, 5, 1], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> bool((jax.jit(random_resized_crop())(jax.random.key(0), batch).image == 7).all())
    True
    """
    check_arguments(
        "random_resized_crop",
        number_problem("smallest", smallest, "a number above 0, at most 1", lambda share: 0 < share <= 1),
        ratio_problem(ratio),
    )
    low, high = ratio

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("random_resized_crop", batch)
        rows, columns = images.shape[1:3]
        height, width = min(rows, round(columns / low)), min(columns, round(rows * high))
        box = random_box(key, images, (smallest, 1.0), (low, high), (max(height, 1), max(width, 1)))
        return moved(batch, resized(box, rows, columns))

    return run


def ratio_problem(ratio: Sequence[float]) -> str:
    """The problem of a range of aspect ratios; empty if there is none."""
    be = "two numbers above 0, the smaller first"
    return range_problem("ratio", ratio, be, lambda low, high: 0 < low <= high < math.inf)


def resized(box: Box, rows: int, columns: int) -> Move:
    """The move that enlarges a box of each image to its size."""
    edges = jnp.stack([box.left, box.top], -1), jnp.stack([box.width, box.height], -1)
    low, size = (jnp.tile(v.astype(jnp.float32), 2)[:, None] for v in edges)
    scale = jnp.array([columns, rows, columns, rows], jnp.float32)[None, None] / size

    def mask(values: jax.Array, outside: Outside) -> jax.Array:
        down, right = (
            start[:, None] + jnp.floor((jnp.arange(n) + 0.5) * (length[:, None] / n))
            for start, length, n in ((box.top, box.height, rows), (box.left, box.width, columns))
        )
        return nearest(values, down[:, :, None], right[:, None, :], "edge")

    return Move(
        lambda images: as_type(crop_and_resize(upcast(images), box), images.dtype),
        mask,
        lambda boxes: (boxes - low) * scale,
    )


def crop_and_resize(images: jax.Array, box: Box) -> jax.Array:
    """Crop a box from each image and resize it to the image's size, bilinear with antialiasing.

    Args:
      images: floating [N, H, W, C].
      box: boxes inside the images; pixels outside have no influence.

    Returns:
      [N, H, W, C].
    """
    down = _weights(box.top, box.height, images.shape[1]).astype(images.dtype)
    right = _weights(box.left, box.width, images.shape[2]).astype(images.dtype)
    # Full precision: tensor cores would round pixel values to 8 bits.
    tall = jnp.einsum("nih,nhwc->niwc", down, images, precision="highest")
    return jnp.einsum("njw,niwc->nijc", right, tall, precision="highest")


def _weights(low: jax.Array, length: jax.Array, n: int) -> jax.Array:
    """Weights of n input pixels (last axis) for n output pixels across [low, low + length): [N, n, n]."""
    cells = jnp.arange(n, dtype=jnp.float32)
    low, length = (v.astype(jnp.float32)[:, None] for v in (low, length))
    step = length[..., None] / n
    centers = low[..., None] + (cells[None, :, None] + 0.5) * step - 0.5
    triangle = jnp.maximum(0, 1 - jnp.abs(cells[None, None] - centers) / jnp.maximum(step, 1))
    inside = (cells[None] >= low) & (cells[None] < low + length)
    weights = jnp.where(inside[:, None, :], triangle, 0)
    return weights / weights.sum(-1, keepdims=True)
