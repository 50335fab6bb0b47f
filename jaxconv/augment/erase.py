"""Boxes of an image painted over; images keep their type."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxconv.augment.box import Box, any_of, around, random_box
from jaxconv.augment.contract import (
    Augment,
    as_type,
    chance,
    draws,
    floating,
    images_of,
    number,
    one_each,
    pixels_problem,
    refuse,
    span,
)
from jaxconv.augment.resample import ratio_problem
from jaxconv.data.dataset import Batch

Fill = str | float


def cutout(size: int, fill: Fill = "mean", probability: float = 1.0, *, peak: float = 255) -> Augment:
    """Paint over a square of each image; its middle is any pixel, so it may reach over the border.

    Args:
      size: of the square's side, in pixels (16 for CIFAR-10, 8 for CIFAR-100 in the paper).
      fill: "mean", the image's own mean of each channel; "noise", uniform for each value; or a
        number from 0 to `peak`.
      probability: that an image is painted on.
      peak: the brightest value that a pixel can have.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their type.

    Raises:
      ConfigError: an argument outside its range.
      ShapeError: when called with anything but a Batch of images [N, H, W, C].

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017.

    >>> batch = Batch(jnp.ones([1, 1, 9, 1]), jnp.array([0]), jnp.ones(1))
    >>> jax.jit(cutout(3, fill=0))(jax.random.key(0), batch).image.sum() in (6, 7)
    True
    """
    refuse("cutout", pixels_problem(size, 1, "size"), fill_problem(fill, peak), chance(probability))

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("cutout", batch)
        n, rows, columns, _ = images.shape
        place, noise = jax.random.split(key)
        coin, row, column = draws(place, 3, n)
        side = jnp.where(coin < probability, size, 0)
        box = around(any_of(row, rows), any_of(column, columns), side, side)
        return batch._replace(image=_paint(noise, images, box, fill, peak))

    return run


def random_erasing(
    probability: float = 0.25,
    area: Sequence[float] = (0.02, 0.33),
    ratio: Sequence[float] = (0.3, 3.3),
    fill: Fill = "noise",
    *,
    peak: float = 255,
) -> Augment:
    """Paint over a box of random size and shape inside some images.

    Ten draws of an area and a shape are made, and the first that fits is painted; where none
    does, the image stays as it is.

    Args:
      probability: that an image is painted on.
      area: range of the box's share of the image, uniform.
      ratio: range of its width over its height, uniform in the logarithm.
      fill: "noise", uniform for each value (the paper's best); "mean", the image's own mean of each
        channel; or a number from 0 to `peak`.
      peak: the brightest value that a pixel can have.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their type.

    Raises:
      ConfigError: an argument outside its range.
      ShapeError: when called with anything but a Batch of images [N, H, W, C].

    Source: Zhong et al., Random Erasing Data Augmentation, 2020.

    >>> batch = Batch(jnp.ones([1, 8, 8, 1]), jnp.array([0]), jnp.ones(1))
    >>> augment = jax.jit(random_erasing(1.0, area=(0.25, 0.25), ratio=(1, 1), fill=0))
    >>> float(augment(jax.random.key(0), batch).image.sum())
    48.0
    """
    refuse(
        "random_erasing",
        chance(probability),
        span("area", area, "two shares from 0 to 1, the smaller first", lambda low, high: 0 <= low <= high <= 1),
        ratio_problem(ratio),
        fill_problem(fill, peak),
    )

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("random_erasing", batch)
        coin, place, noise = jax.random.split(key, 3)
        chosen = draws(coin, 1, len(images))[0] < probability
        box = random_box(place, images, (area[0], area[1]), (ratio[0], ratio[1]), (0, 0))
        box = box._replace(height=jnp.where(chosen, box.height, 0))
        return batch._replace(image=_paint(noise, images, box, fill, peak))

    return run


def fill_problem(fill: Fill, peak: float) -> str:
    """What is wrong with a fill, or with the peak that it must not pass."""
    if problem := number("peak", peak, "a number above 0", lambda value: value > 0):
        return problem
    most = f" to {peak:g}" if math.isfinite(peak) else ""
    be = f"mean, noise or a number from 0{most}"
    return "" if fill in ("mean", "noise") else number("fill", fill, be, lambda value: 0 <= value <= peak)


def _paint(key: jax.Array, images: jax.Array, box: Box, fill: Fill, peak: float) -> jax.Array:
    """Images with their boxes filled."""
    if fill == "noise":
        whole = jnp.issubdtype(images.dtype, jnp.integer)
        levels = jax.random.uniform(key, images.shape, jnp.float32)
        paint = jnp.floor(levels * (peak + 1)) if whole else levels * peak  # each whole level equally often
    elif fill == "mean":
        paint = floating(images).mean((1, 2), keepdims=True)
    else:
        paint = one_each(jnp.full(len(images), float(fill), jnp.float32))
    return jnp.where(box.covers(*images.shape[1:3]), as_type(paint, images.dtype), images)
