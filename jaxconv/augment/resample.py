"""Geometric augmentation with bilinear resampling, computed in float32; images keep their dtype."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.dtypes import upcast
from jaxconv.augment.box import Box, random_box
from jaxconv.augment.contract import (
    Augment,
    as_type,
    check_arguments,
    choice_problem,
    draws,
    images_of,
    number_problem,
    range_problem,
)
from jaxconv.data.dataset import Batch
from jaxconv.geometry import PADDING_MODES

_LARGEST_SIGMA = 10_000  # the filter has 16 sigma taps
_SCIPY_WORD = {"zeros": "constant", "reflect": "mirror", "edge": "nearest", "wrap": "wrap"}


def random_resized_crop(smallest: float = 0.08, ratio: Sequence[float] = (3 / 4, 4 / 3)) -> Augment:
    """Crop a box of random area and aspect ratio, and resize it to the image's size.

    As in torchvision: the first of ten draws that fits, or else the largest centered box of an allowed aspect ratio.
    Resizing is bilinear with antialiasing.

    Args:
      smallest: minimum fraction of the image area; the fraction is uniform up to 1.
      ratio: range of the aspect ratio (width / height), log-uniform.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep shape and dtype (integers are rounded).

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
        return batch._replace(image=as_type(crop_and_resize(upcast(images), box), images.dtype))

    return run


def ratio_problem(ratio: Sequence[float]) -> str:
    """The problem of a range of aspect ratios; empty if there is none."""
    be = "two numbers above 0, the smaller first"
    return range_problem("ratio", ratio, be, lambda low, high: 0 < low <= high < math.inf)


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


@renamed_arguments(pad_mode="padding_mode")
def rotate(degrees: float, padding_mode: str = "zeros") -> Augment:
    """Rotate each image around its center.

    Args:
      degrees: maximum angle in both directions; angles are uniform.
      padding_mode: values outside the image: "zeros", "reflect", "edge" or "wrap".

    Returns:
      `(key, batch) -> batch`, see `affine`.

    Raises:
      ConfigError, ShapeError: as `affine`.

    >>> batch = Batch(jnp.full([2, 5, 5, 1], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> bool((jax.jit(rotate(30, "edge"))(jax.random.key(0), batch).image == 7).all())
    True
    """
    return _affine("rotate", degrees, (1.0, 1.0), 0.0, padding_mode)


@renamed_arguments(pad_mode="padding_mode")
def affine(
    degrees: float, scale: Sequence[float] = (1.0, 1.0), shear: float = 0.0, padding_mode: str = "zeros"
) -> Augment:
    """Rotate, scale and shear each image around its center.

    Args:
      degrees: maximum angle in both directions; angles are uniform.
      scale: range of the scale factor, uniform; (0.9, 1.1) for up to ±10 %.
      shear: maximum shear angle of the columns in degrees, in both directions; uniform.
      padding_mode: values outside the image: "zeros", "reflect", "edge" or "wrap".

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep shape and dtype (integers are rounded).

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    >>> batch = Batch(jnp.full([2, 5, 5, 1], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> jax.jit(affine(10, scale=(0.9, 1.1), shear=5))(jax.random.key(0), batch).image.dtype
    dtype('uint8')
    """
    return _affine("affine", degrees, scale, shear, padding_mode)


def _affine(name: str, degrees: float, scale: Sequence[float], shear: float, padding_mode: str) -> Augment:
    check_arguments(
        name,
        number_problem("degrees", degrees, "a number from 0 to 180", lambda angle: 0 <= angle <= 180),
        range_problem(
            "scale", scale, "two numbers above 0, the smaller first", lambda low, high: 0 < low <= high < math.inf
        ),
        number_problem("shear", shear, "a number of degrees from 0, below 90", lambda angle: 0 <= angle < 90),
        choice_problem("padding_mode", padding_mode, PADDING_MODES),
    )

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of(name, batch)
        angle, slant = math.radians(degrees), math.radians(shear)
        turn, magnify, lean = draws(key, 3, len(images))
        turn, lean = angle * (2 * turn - 1), slant * (2 * lean - 1)
        magnify = scale[0] + (scale[1] - scale[0]) * magnify
        moved = transform(upcast(images), turn, magnify, lean, padding_mode)
        return batch._replace(image=as_type(moved, images.dtype))

    return run


def transform(
    images: jax.Array, angle: jax.Array, scale: jax.Array, shear: jax.Array, padding_mode: str = "zeros"
) -> jax.Array:
    """Rotate, scale and shear each image around its center, bilinear.

    A point (row, column) relative to the center moves to
    `scale * R(angle) @ [[1, 0], [tan(shear), 1]] @ (row, column)`, with R a counter-clockwise rotation.

    Args:
      images: floating [N, H, W, C].
      angle: [N], radians.
      scale: [N], above 0.
      shear: [N], radians.
      padding_mode: values outside the image.

    Returns:
      [N, H, W, C].
    """
    rows, columns = images.shape[1:3]
    center = (rows - 1) / 2, (columns - 1) / 2
    y, x = _pixels(rows, columns)
    y, x = y - center[0], x - center[1]

    def one(image: jax.Array, angle: jax.Array, scale: jax.Array, shear: jax.Array) -> jax.Array:
        cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
        row = cos * y + sin * x  # the inverse map: the source of each output pixel
        column = cos * x - sin * y - jnp.tan(shear) * row
        return _sample(image, row + center[0], column + center[1], padding_mode)

    return jax.vmap(one)(images, angle, scale, shear)


@renamed_arguments(pad_mode="padding_mode")
def elastic(alpha: float = 34.0, sigma: float = 4.0, padding_mode: str = "zeros") -> Augment:
    """Elastic deformation: displace pixels by smooth random noise, which imitates variation in handwriting.

    The displacement of each pixel along both axes is uniform noise in ±1, smoothed by a Gaussian (0 outside the image)
    and multiplied by `alpha`; sampling is bilinear.

    Args:
      alpha: strength. Far from the border, the standard deviation of a displacement is about `0.16 * alpha / sigma`
        pixels: 1.4 for 34 and 4, the paper's best on MNIST.
      sigma: standard deviation of the Gaussian in pixels; larger is smoother.
      padding_mode: values outside the image: "zeros", "reflect", "edge" or "wrap".

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep shape and dtype (integers are rounded).

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    Source: Simard, Steinkraus and Platt, Best Practices for Convolutional Neural Networks, 2003.

    >>> batch = Batch(jnp.full([2, 5, 5, 1], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> bool((jax.jit(elastic(padding_mode="edge"))(jax.random.key(0), batch).image == 7).all())
    True
    """
    check_arguments(
        "elastic",
        number_problem("alpha", alpha, "a number of pixels from 0", lambda far: 0 <= far < math.inf),
        number_problem(
            "sigma",
            sigma,
            f"a number of pixels above 0, up to {_LARGEST_SIGMA:,}",
            lambda wide: 0 < wide <= _LARGEST_SIGMA,
        ),
        choice_problem("padding_mode", padding_mode, PADDING_MODES),
    )

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("elastic", batch)
        n, rows, columns, _ = images.shape
        noise = jax.random.uniform(key, (2, n, rows, columns), jnp.float32, -1.0, 1.0)
        displacement = alpha * smoothed(noise, sigma)
        y, x = _pixels(rows, columns)
        sample = jax.vmap(functools.partial(_sample, padding_mode=padding_mode))
        moved = sample(upcast(images), displacement[0] + y[None], displacement[1] + x[None])
        return batch._replace(image=as_type(moved, images.dtype))

    return run


def smoothed(noise: jax.Array, sigma: float) -> jax.Array:
    """Noise [..., H, W] smoothed by a Gaussian of standard deviation `sigma` pixels, with zeros outside.

    >>> print(smoothed(jnp.eye(3)[1:2], 0.5).round(2))
    [[0.08 0.62 0.08]]
    """
    down, right = (_gaussian(side, sigma) for side in noise.shape[-2:])
    return jnp.einsum("ir,...rc,jc->...ij", down, noise, right, precision="highest")


def _gaussian(n: int, sigma: float) -> jax.Array:
    """Gaussian smoothing of n pixels as a matrix; rows sum to 1 including the pixels outside."""
    distance = np.arange(1 - n - math.ceil(8 * sigma), n + math.ceil(8 * sigma))
    with np.errstate(over="ignore"):  # a tiny sigma is the identity
        weights = np.exp(-0.5 * (distance / sigma) ** 2)
    weights /= weights.sum()
    cells = np.arange(n)
    return jnp.asarray(weights[cells[:, None] - cells - distance[0]], jnp.float32)


def _pixels(rows: int, columns: int) -> list[jax.Array]:
    """Row and column index of each pixel: two arrays [rows, columns]."""
    return jnp.meshgrid(*(jnp.arange(n, dtype=jnp.float32) for n in (rows, columns)), indexing="ij")


def _sample(image: jax.Array, rows: jax.Array, columns: jax.Array, padding_mode: str) -> jax.Array:
    """Bilinear samples [H, W, C] of an image at fractional positions."""
    sample = jax.vmap(lambda channel: map_coordinates(channel, [rows, columns], 1, _SCIPY_WORD[padding_mode]), -1, -1)
    sampled: jax.Array = sample(image)
    return sampled
