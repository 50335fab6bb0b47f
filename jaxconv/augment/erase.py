"""Cutout and random erasing; images keep their dtype."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import upcast
from jaxconv.augment.box import Box, centered_box, random_box, scaled_int
from jaxconv.augment.contract import (
    Augment,
    as_type,
    check_arguments,
    draws,
    images_of,
    number_problem,
    peak_problem,
    per_image,
    pixels_problem,
    probability_problem,
    range_problem,
)
from jaxconv.augment.crop import ratio_problem
from jaxconv.data.dataset import Batch

Fill = str | float


def cutout(size: int, fill: Fill = "mean", probability: float = 1.0, *, peak: float = 255) -> Augment:
    """Fill a square of each image; its center is any pixel, so it may extend beyond the border.

    Args:
      size: side of the square in pixels (16 for CIFAR-10, 8 for CIFAR-100 in the paper).
      fill: "mean" (the image's mean of each channel), "noise" (uniform for each value), or a number from 0 to `peak`.
      probability: probability of changing an image.
      peak: maximum pixel value.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their dtype.

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    Source: DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017.

    >>> batch = Batch(jnp.ones([1, 1, 9, 1]), jnp.array([0]), jnp.ones(1))
    >>> jax.jit(cutout(3, fill=0))(jax.random.key(0), batch).image.sum() in (6, 7)
    True
    """
    check_arguments(
        "cutout", pixels_problem(size, 1, "size"), fill_problem(fill, peak), probability_problem(probability)
    )

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("cutout", batch)
        n, rows, columns, _ = images.shape
        place, noise = jax.random.split(key)
        coin, row, column = draws(place, 3, n)
        side = jnp.where(coin < probability, size, 0)
        box = centered_box(scaled_int(row, rows), scaled_int(column, columns), side, side)
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
    """Fill a box of random area and aspect ratio inside some images.

    The first of ten draws that fits into the image is taken; if none fits, the image stays unchanged.

    Args:
      probability: probability of changing an image.
      area: range of the box's fraction of the image area, uniform.
      ratio: range of its aspect ratio (width / height), log-uniform.
      fill: "noise" (uniform for each value, the paper's best), "mean" (the image's mean of each channel), or a number
        from 0 to `peak`.
      peak: maximum pixel value.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their dtype.

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    Source: Zhong et al., Random Erasing Data Augmentation, 2020.

    >>> batch = Batch(jnp.ones([1, 8, 8, 1]), jnp.array([0]), jnp.ones(1))
    >>> augment = jax.jit(random_erasing(1.0, area=(0.25, 0.25), ratio=(1, 1), fill=0))
    >>> float(augment(jax.random.key(0), batch).image.sum())
    48.0
    """
    check_arguments(
        "random_erasing",
        probability_problem(probability),
        range_problem(
            "area", area, "two shares from 0 to 1, the smaller first", lambda low, high: 0 <= low <= high <= 1
        ),
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
    """The problem of a fill value or of `peak`; empty if there is none."""
    if problem := peak_problem(peak):
        return problem
    most = f" to {peak:g}" if math.isfinite(peak) else ""
    be = f"mean, noise or a number from 0{most}"
    return "" if fill in ("mean", "noise") else number_problem("fill", fill, be, lambda value: 0 <= value <= peak)


def _paint(key: jax.Array, images: jax.Array, box: Box, fill: Fill, peak: float) -> jax.Array:
    """Images with filled boxes."""
    if fill == "noise":
        integers = jnp.issubdtype(images.dtype, jnp.integer)
        levels = jax.random.uniform(key, images.shape, jnp.float32)
        paint = jnp.floor(levels * (peak + 1)) if integers else levels * peak  # integer levels equally likely
    elif fill == "mean":
        paint = upcast(images).mean((1, 2), keepdims=True)
    else:
        paint = per_image(jnp.full(len(images), float(fill), jnp.float32))
    return jnp.where(box.covers(*images.shape[1:3]), as_type(paint, images.dtype), images)
