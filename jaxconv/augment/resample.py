"""Changes between pixels: bilinear, computed in float32 and given back in the images' own type."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from jaxconv._base.deprecation import renamed_arguments
from jaxconv.augment.box import Box, random_box
from jaxconv.augment.contract import Augment, as_type, draws, floating, images_of, number, one_of, refuse, span
from jaxconv.data.dataset import Batch
from jaxconv.geometry import PADDING_MODES

_WIDEST = 10_000  # the filter's length is 16 times the deviation
_SCIPY_WORD = {"zeros": "constant", "reflect": "mirror", "edge": "nearest", "wrap": "wrap"}


def random_resized_crop(smallest: float = 0.08, ratio: Sequence[float] = (3 / 4, 4 / 3)) -> Augment:
    """Cut a box of random size and shape out of each image, and bring it to the image's size.

    As torchvision's: ten draws of an area and a shape, the first that fits; else the largest box of
    an allowed shape, in the middle. Resizing is bilinear with antialiasing.

    Args:
      smallest: the least share of the image's area that a box has; the share is uniform up to 1.
      ratio: range of the box's width over its height, uniform in the logarithm.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep shape and type (whole numbers are rounded).

    Raises:
      ConfigError: an argument outside its range.
      ShapeError: when called with anything but a Batch of images [N, H, W, C].

    Source: Szegedy et al., Going Deeper with Convolutions, 2015.

    >>> batch = Batch(jnp.full([2, 5, 5, 1], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> bool((jax.jit(random_resized_crop())(jax.random.key(0), batch).image == 7).all())
    True
    """
    refuse(
        "random_resized_crop",
        number("smallest", smallest, "a number above 0, at most 1", lambda share: 0 < share <= 1),
        ratio_problem(ratio),
    )
    low, high = ratio

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("random_resized_crop", batch)
        rows, columns = images.shape[1:3]
        height, width = min(rows, round(columns / low)), min(columns, round(rows * high))
        box = random_box(key, images, (smallest, 1.0), (low, high), (max(height, 1), max(width, 1)))
        return batch._replace(image=as_type(crop_and_resize(floating(images), box), images.dtype))

    return run


def ratio_problem(ratio: Sequence[float]) -> str:
    """What is wrong with a range of shapes of boxes."""
    be = "two numbers above 0, the smaller first"
    return span("ratio", ratio, be, lambda low, high: 0 < low <= high < math.inf)


def crop_and_resize(images: jax.Array, box: Box) -> jax.Array:
    """Cut a box out of each image and resize it to the image's size, bilinear with antialiasing.

    Args:
      images: floating [N, H, W, C].
      box: inside the images; pixels outside have no influence.

    Returns:
      [N, H, W, C].
    """
    down = _weights(box.top, box.height, images.shape[1]).astype(images.dtype)
    right = _weights(box.left, box.width, images.shape[2]).astype(images.dtype)
    # Full precision: tensor cores would round 255 levels of gray to 2**-8 of a pixel.
    tall = jnp.einsum("nih,nhwc->niwc", down, images, precision="highest")
    return jnp.einsum("njw,niwc->nijc", right, tall, precision="highest")


def _weights(low: jax.Array, length: jax.Array, n: int) -> jax.Array:
    """How much each of n cells (last axis) counts for each of n places in [low, low + length): [N, n, n]."""
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
    """Turn each image around its middle.

    Args:
      degrees: the furthest turn, either way; angles are uniform.
      padding_mode: what comes into view: "zeros", "reflect", "edge" or "wrap".

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
    """Turn, magnify and shear each image around its middle.

    Args:
      degrees: the furthest turn, either way; angles are uniform.
      scale: range of the magnification, uniform; (0.9, 1.1) for a tenth smaller to a tenth larger.
      shear: the furthest slant of the columns in degrees, either way, uniform.
      padding_mode: what comes into view: "zeros", "reflect", "edge" or "wrap".

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep shape and type (whole numbers are rounded).

    Raises:
      ConfigError: an argument outside its range.
      ShapeError: when called with anything but a Batch of images [N, H, W, C].

    >>> batch = Batch(jnp.full([2, 5, 5, 1], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> jax.jit(affine(10, scale=(0.9, 1.1), shear=5))(jax.random.key(0), batch).image.dtype
    dtype('uint8')
    """
    return _affine("affine", degrees, scale, shear, padding_mode)


def _affine(name: str, degrees: float, scale: Sequence[float], shear: float, padding_mode: str) -> Augment:
    refuse(
        name,
        number("degrees", degrees, "a number from 0 to 180", lambda angle: 0 <= angle <= 180),
        span("scale", scale, "two numbers above 0, the smaller first", lambda low, high: 0 < low <= high < math.inf),
        number("shear", shear, "a number of degrees from 0, below 90", lambda angle: 0 <= angle < 90),
        one_of("padding_mode", padding_mode, PADDING_MODES),
    )

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of(name, batch)
        angle, slant = math.radians(degrees), math.radians(shear)
        turn, magnify, lean = draws(key, 3, len(images))
        turn, lean = angle * (2 * turn - 1), slant * (2 * lean - 1)
        magnify = scale[0] + (scale[1] - scale[0]) * magnify
        moved = transform(floating(images), turn, magnify, lean, padding_mode)
        return batch._replace(image=as_type(moved, images.dtype))

    return run


def transform(
    images: jax.Array, angle: jax.Array, scale: jax.Array, shear: jax.Array, padding_mode: str = "zeros"
) -> jax.Array:
    """Turn by an angle, magnify and shear each image around its middle, bilinear.

    A point (row, column) from the middle goes to
    `scale * R(angle) @ [[1, 0], [tan(shear), 1]] @ (row, column)`, R turning counter-clockwise as seen.

    Args:
      images: floating [N, H, W, C].
      angle: [N], radians.
      scale: [N], above 0.
      shear: [N], radians.
      padding_mode: what is seen outside the image.

    Returns:
      [N, H, W, C].
    """
    rows, columns = images.shape[1:3]
    middle = (rows - 1) / 2, (columns - 1) / 2
    y, x = _pixels(rows, columns)
    y, x = y - middle[0], x - middle[1]

    def one(image: jax.Array, angle: jax.Array, scale: jax.Array, shear: jax.Array) -> jax.Array:
        cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
        row = cos * y + sin * x  # the way back: where each pixel of the result comes from
        column = cos * x - sin * y - jnp.tan(shear) * row
        return _look(image, row + middle[0], column + middle[1], padding_mode)

    return jax.vmap(one)(images, angle, scale, shear)


@renamed_arguments(pad_mode="padding_mode")
def elastic(alpha: float = 34.0, sigma: float = 4.0, padding_mode: str = "zeros") -> Augment:
    """Push the pixels of each image about, near ones the same way: handwriting as another hand might have it.

    Each pixel comes from a place beside it. How far beside, down and right, is uniform noise from -1 to 1 a pixel,
    smoothed by a Gaussian (0 outside the image) and multiplied by `alpha`; looking there is bilinear.

    Args:
      alpha: how strongly. For pixels far from the border the deviation of a move is some
        `0.16 * alpha / sigma` pixels: 1.4 for 34 and 4, the paper's best on MNIST.
      sigma: deviation of the Gaussian, in pixels: large ones move the image as a whole, small ones make it ragged.
      padding_mode: what comes into view: "zeros", "reflect", "edge" or "wrap".

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep shape and type (whole numbers are rounded).

    Raises:
      ConfigError: an argument outside its range.
      ShapeError: when called with anything but a Batch of images [N, H, W, C].

    Source: Simard, Steinkraus and Platt, Best Practices for Convolutional Neural Networks, 2003.

    >>> batch = Batch(jnp.full([2, 5, 5, 1], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> bool((jax.jit(elastic(padding_mode="edge"))(jax.random.key(0), batch).image == 7).all())
    True
    """
    refuse(
        "elastic",
        number("alpha", alpha, "a number of pixels from 0", lambda far: 0 <= far < math.inf),
        number("sigma", sigma, f"a number of pixels above 0, up to {_WIDEST:,}", lambda wide: 0 < wide <= _WIDEST),
        one_of("padding_mode", padding_mode, PADDING_MODES),
    )

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("elastic", batch)
        n, rows, columns, _ = images.shape
        noise = jax.random.uniform(key, (2, n, rows, columns), jnp.float32, -1.0, 1.0)
        moves = alpha * smoothed(noise, sigma)
        y, x = _pixels(rows, columns)
        look = jax.vmap(functools.partial(_look, padding_mode=padding_mode))
        moved = look(floating(images), moves[0] + y[None], moves[1] + x[None])
        return batch._replace(image=as_type(moved, images.dtype))

    return run


def smoothed(noise: jax.Array, sigma: float) -> jax.Array:
    """Noise [..., H, W] under a Gaussian of this deviation in pixels; outside there is none.

    >>> print(smoothed(jnp.eye(3)[1:2], 0.5).round(2))
    [[0.08 0.62 0.08]]
    """
    down, right = (_gaussian(side, sigma) for side in noise.shape[-2:])
    return jnp.einsum("ir,...rc,jc->...ij", down, noise, right, precision="highest")


def _gaussian(n: int, sigma: float) -> jax.Array:
    """The smoothing of n cells as a matrix; a row's weights add up to 1 with those outside."""
    apart = np.arange(1 - n - math.ceil(8 * sigma), n + math.ceil(8 * sigma))
    with np.errstate(over="ignore"):  # the tiniest sigma leaves every cell as it is
        weights = np.exp(-0.5 * (apart / sigma) ** 2)
    weights /= weights.sum()
    cells = np.arange(n)
    return jnp.asarray(weights[cells[:, None] - cells - apart[0]], jnp.float32)


def _pixels(rows: int, columns: int) -> list[jax.Array]:
    """The row and the column of each pixel: two arrays [rows, columns]."""
    return jnp.meshgrid(*(jnp.arange(n, dtype=jnp.float32) for n in (rows, columns)), indexing="ij")


def _look(image: jax.Array, rows: jax.Array, columns: jax.Array, padding_mode: str) -> jax.Array:
    """The values [H, W, C] of an image at places between its pixels, bilinear."""
    look = jax.vmap(lambda channel: map_coordinates(channel, [rows, columns], 1, _SCIPY_WORD[padding_mode]), -1, -1)
    return look(image)
