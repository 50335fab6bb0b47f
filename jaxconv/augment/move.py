"""Flips and shifts by whole pixels, without interpolation; images keep their dtype, masks and boxes follow."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.errors import ShapeError
from jaxconv.augment.contract import (
    Augment,
    bool_problem,
    check_arguments,
    choice_problem,
    draws,
    images_of,
    per_image,
    pixels_problem,
    probability_problem,
)
from jaxconv.augment.joint import Move, Outside, moved
from jaxconv.data.dataset import Batch
from jaxconv.geometry import PADDING_MODES
from jaxconv.ops._pad import pad_pairs


def flip(probability: float = 0.5, *, vertical: bool = False, alternate: bool = False) -> Augment:
    """Flip images left to right.

    Args:
      probability: probability of flipping an image.
      vertical: flip top to bottom instead.
      alternate: flip each image in every other epoch, half of the images in the first, so that two epochs show both
        sides of each; `probability` is not used.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their dtype.

    Raises:
      ConfigError: if `probability` is outside 0..1.
      ShapeError: when called, if not with a Batch of images [N, H, W, C], or to alternate without index and epoch.

    Source: alternating flips: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024, section 3.6.

    >>> batch = Batch(jnp.array([[[[1], [2]]]]), jnp.array([0]), jnp.ones(1))
    >>> flip(1.0)(jax.random.key(0), batch).image.ravel()
    Array([2, 1], dtype=int32)
    """
    check_arguments(
        "flip",
        probability_problem(probability),
        bool_problem("vertical", vertical),
        bool_problem("alternate", alternate),
    )

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("flip", batch)
        chosen = _turn(batch) if alternate else draws(key, 1, len(images))[0] < probability
        return moved(batch, flipped(chosen, images.shape[1] if vertical else images.shape[2], vertical))

    return run


def _turn(batch: Batch) -> jax.Array:
    """Whether each image is flipped in its epoch, bool [N]: in the even or in the odd ones, by a hash of its index."""
    if batch.index is None or batch.epoch is None:
        got, fix = "a batch without them", "Batch(image, label, weight, index, epoch), or alternate=False"
        raise ShapeError("flip(alternate=True) needs the index and epoch of each image", got=got, fix=fix)
    hashed = jnp.asarray(batch.index).astype(jnp.uint32) * jnp.uint32(2654435769)  # 2**32 / golden ratio, Knuth
    hashed = (hashed ^ (hashed >> 15)) * jnp.uint32(2246822519)
    return (((hashed >> 31) + jnp.asarray(batch.epoch).astype(jnp.uint32)) & 1) == 1


def flipped(chosen: jax.Array, size: int, vertical: bool) -> Move:
    """The move that mirrors the images which are `chosen`, bool [N]; `size` is that of the mirrored axis."""

    def pixels(values: jax.Array) -> jax.Array:
        return jnp.where(per_image(chosen), jnp.flip(values, 1 if vertical else 2), values)

    def boxes(given: jax.Array) -> jax.Array:
        left, top, right, bottom = (given[..., side] for side in range(4))
        sides = (left, size - bottom, right, size - top) if vertical else (size - right, top, size - left, bottom)
        return jnp.where(chosen[:, None, None], jnp.stack(sides, -1), given)

    return Move(pixels, lambda values, outside: pixels(values), boxes)


@renamed_arguments(pad_mode="padding_mode")
def shift(pixels: int, padding_mode: str = "zeros") -> Augment:
    """Shift each image by a random number of whole pixels along each axis.

    `shift(4, "reflect")` is the pad-and-crop of CIFAR training (He et al. 2016, "Deep residual learning", there with
    zeros); `"wrap"` rolls the image.

    Args:
      pixels: maximum shift along each axis, in both directions; all `(2 * pixels + 1)**2` shifts are equally likely.
      padding_mode: values outside the image: "zeros", "reflect", "edge" or "wrap".

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their dtype.

    Raises:
      ConfigError: if `pixels` is not an int ≥ 0, or `padding_mode` is unknown.
      ShapeError: when called, if not with a Batch of images [N, H, W, C], or if they are too small to be reflected or
        wrapped.

    >>> batch = Batch(jnp.ones([1, 4, 4, 1]), jnp.array([0]), jnp.ones(1))
    >>> shift(1)(jax.random.key(0), batch).image.shape
    (1, 4, 4, 1)
    """
    check_arguments("shift", pixels_problem(pixels, 0), choice_problem("padding_mode", padding_mode, PADDING_MODES))

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("shift", batch)
        if pixels == 0:
            return batch
        corners = jax.random.randint(key, (len(images), 2), 0, 2 * pixels + 1)
        return moved(batch, _shifted("shift", images, corners, pixels, padding_mode))

    return run


def expand(pixels: int = 1) -> Augment:
    """Leave an image in place or shift it up, down, left or right: the "expanded MNIST", redrawn in each epoch.

    Args:
      pixels: size of the shift. The five outcomes are equally likely; the border is filled with zeros.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their dtype.

    Raises:
      ConfigError: if `pixels` is not an int ≥ 1.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    Source: Nielsen, Neural Networks and Deep Learning, 2015, chapter 3 (`expand_mnist.py`).

    >>> batch = Batch(jnp.ones([1, 4, 4, 1]), jnp.array([0]), jnp.ones(1))
    >>> jax.jit(expand())(jax.random.key(0), batch).image.sum() in (12, 16)
    True
    """
    check_arguments("expand", pixels_problem(pixels, 1))
    moves = jnp.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("expand", batch)
        corners = pixels * (1 + moves[jax.random.randint(key, (len(images),), 0, len(moves))])
        return moved(batch, _shifted("expand", images, corners, pixels, "zeros"))

    return run


def _shifted(name: str, images: jax.Array, corners: jax.Array, border: int, padding_mode: str) -> Move:
    """The move to crops of the padded images, of the original size, at corners [N, 2]."""
    rows, columns = images.shape[1:3]
    if border > (side := max(rows, columns)):
        got, fix = f"pixels={border}", f"pixels={side} shifts an image completely out of view"
        raise ShapeError(f"{name} of {rows}×{columns} images must be at most {side} pixels", got=got, fix=fix)

    def window(values: jax.Array, outside: Outside) -> jax.Array:
        pairs = ((border, border), (border, border))
        if padding_mode == "zeros" and outside != 0:
            padded = jnp.pad(values, ((0, 0), *pairs, (0, 0)), constant_values=outside)
        else:
            padded = pad_pairs(values, pairs, padding_mode)

        def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (rows, columns, image.shape[-1]))

        return jax.vmap(crop)(padded, corners)

    def boxes(given: jax.Array) -> jax.Array:
        down, right = (border - corners[:, axis, None].astype(given.dtype) for axis in (0, 1))
        return given + jnp.stack([right, down, right, down], -1)

    return Move(lambda values: window(values, 0), window, boxes)
