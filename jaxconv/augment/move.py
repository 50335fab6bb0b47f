"""Moves by whole pixels: nothing is interpolated, and images keep their type."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.errors import ShapeError
from jaxconv.augment.contract import Augment, chance, draws, images_of, one_each, one_of, pixels_problem, refuse
from jaxconv.data.dataset import Batch
from jaxconv.geometry import PADDING_MODES
from jaxconv.ops._pad import pad_pairs


def flip(probability: float = 0.5, *, vertical: bool = False) -> Augment:
    """Mirror images left to right.

    Args:
      probability: that an image is mirrored.
      vertical: mirror top to bottom instead.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their type.

    Raises:
      ConfigError: `probability` lies outside 0..1.
      ShapeError: when called with anything but a Batch of images [N, H, W, C].

    >>> batch = Batch(jnp.array([[[[1], [2]]]]), jnp.array([0]), jnp.ones(1))
    >>> flip(1.0)(jax.random.key(0), batch).image.ravel()
    Array([2, 1], dtype=int32)
    """
    refuse(
        "flip",
        chance(probability),
        "" if isinstance(vertical, bool) else f"vertical must be true or false, got {vertical!r}",
    )

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("flip", batch)
        chosen = draws(key, 1, len(images))[0] < probability
        return batch._replace(image=jnp.where(one_each(chosen), jnp.flip(images, 1 if vertical else 2), images))

    return run


@renamed_arguments(pad_mode="padding_mode")
def shift(pixels: int, padding_mode: str = "zeros") -> Augment:
    """Move each image by its own whole number of pixels along each axis.

    `shift(4, "reflect")` is the random crop out of a padded image that CIFAR nets are trained with
    (He et al. 2016, "Deep residual learning", there with zeros); `"wrap"` rolls the image.

    Args:
      pixels: the furthest that an image moves along each axis, either way; each of the
        `(2 * pixels + 1)**2` moves is equally likely.
      padding_mode: what comes into view: "zeros", "reflect", "edge" or "wrap".

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their type.

    Raises:
      ConfigError: `pixels` is negative or not whole, or there is no such `padding_mode`.
      ShapeError: when called with anything but a Batch of images [N, H, W, C], or with images too
        small to be reflected or wrapped.

    >>> batch = Batch(jnp.ones([1, 4, 4, 1]), jnp.array([0]), jnp.ones(1))
    >>> shift(1)(jax.random.key(0), batch).image.shape
    (1, 4, 4, 1)
    """
    refuse("shift", pixels_problem(pixels, 0), one_of("padding_mode", padding_mode, PADDING_MODES))

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("shift", batch)
        if pixels == 0:
            return batch
        corners = jax.random.randint(key, (len(images), 2), 0, 2 * pixels + 1)
        return batch._replace(image=_window("shift", images, corners, pixels, padding_mode))

    return run


def expand(pixels: int = 1) -> Augment:
    """Leave an image where it is, or move it up, down, left or right: the expanded MNIST, drawn anew each time.

    Args:
      pixels: how far. Each of the five is equally likely, and what comes into view is zero.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their type.

    Raises:
      ConfigError: `pixels` is less than 1 or not whole.
      ShapeError: when called with anything but a Batch of images [N, H, W, C].

    Source: Nielsen, Neural Networks and Deep Learning, 2015, chapter 3 (`expand_mnist.py`).

    >>> batch = Batch(jnp.ones([1, 4, 4, 1]), jnp.array([0]), jnp.ones(1))
    >>> jax.jit(expand())(jax.random.key(0), batch).image.sum() in (12, 16)
    True
    """
    refuse("expand", pixels_problem(pixels, 1))
    moves = jnp.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("expand", batch)
        corners = pixels * (1 + moves[jax.random.randint(key, (len(images),), 0, len(moves))])
        return batch._replace(image=_window("expand", images, corners, pixels, "zeros"))

    return run


def _window(name: str, images: jax.Array, corners: jax.Array, border: int, padding_mode: str) -> jax.Array:
    """Images as seen through a window of their own size, at a corner [N, 2] of themselves with a border."""
    side = max(images.shape[1:3])
    if border > side:
        got, fix = f"pixels={border}", f"pixels={side} moves an image out of sight already"
        must = f"{name} moves images of {images.shape[1]}×{images.shape[2]} by at most {side} pixels"
        raise ShapeError(must, got=got, fix=fix)
    padded = pad_pairs(images, ((border, border), (border, border)), padding_mode)

    def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])

    return jax.vmap(crop)(padded, corners)
