"""Flips and shifts by whole pixels, without interpolation; images keep their dtype."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.errors import ShapeError
from jaxconv.augment.contract import (
    Augment,
    check_arguments,
    choice_problem,
    draws,
    images_of,
    per_image,
    pixels_problem,
    probability_problem,
)
from jaxconv.data.dataset import Batch
from jaxconv.geometry import PADDING_MODES
from jaxconv.ops._pad import pad_pairs


def flip(probability: float = 0.5, *, vertical: bool = False) -> Augment:
    """Flip images left to right.

    Args:
      probability: probability of flipping an image.
      vertical: flip top to bottom instead.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their dtype.

    Raises:
      ConfigError: if `probability` is outside 0..1.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    >>> batch = Batch(jnp.array([[[[1], [2]]]]), jnp.array([0]), jnp.ones(1))
    >>> flip(1.0)(jax.random.key(0), batch).image.ravel()
    Array([2, 1], dtype=int32)
    """
    check_arguments(
        "flip",
        probability_problem(probability),
        "" if isinstance(vertical, bool) else f"vertical must be true or false, got {vertical!r}",
    )

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("flip", batch)
        chosen = draws(key, 1, len(images))[0] < probability
        return batch._replace(image=jnp.where(per_image(chosen), jnp.flip(images, 1 if vertical else 2), images))

    return run


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
        return batch._replace(image=_window("shift", images, corners, pixels, padding_mode))

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
        return batch._replace(image=_window("expand", images, corners, pixels, "zeros"))

    return run


def _window(name: str, images: jax.Array, corners: jax.Array, border: int, padding_mode: str) -> jax.Array:
    """Crops of the padded images, of the original size, at corners [N, 2]."""
    side = max(images.shape[1:3])
    if border > side:
        got, fix = f"pixels={border}", f"pixels={side} shifts an image completely out of view"
        must = f"{name} of {images.shape[1]}×{images.shape[2]} images must be at most {side} pixels"
        raise ShapeError(must, got=got, fix=fix)
    padded = pad_pairs(images, ((border, border), (border, border)), padding_mode)

    def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])

    return jax.vmap(crop)(padded, corners)
