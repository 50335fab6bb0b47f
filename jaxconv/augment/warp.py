"""Rotation, affine maps and perspective with bilinear resampling in float32; images keep their dtype."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.dtypes import upcast
from jaxconv.augment.contract import (
    Augment,
    as_type,
    check_arguments,
    choice_problem,
    draws,
    fill_number_problem,
    images_of,
    number_problem,
    range_problem,
)
from jaxconv.augment.joint import Move, corners, hull, moved
from jaxconv.augment.sampling import bilinear, nearest
from jaxconv.data.dataset import Batch
from jaxconv.geometry import PADDING_MODES

_LARGEST_DISTORTION = 2 / 3


@renamed_arguments(pad_mode="padding_mode")
def rotate(degrees: float, padding_mode: str = "zeros", *, fill: float = 0.0) -> Augment:
    """Rotate each image around its center.

    Args:
      degrees: maximum angle in both directions; angles are uniform.
      padding_mode: values outside the image: "zeros", "reflect", "edge" or "wrap".
      fill: another value for "zeros".

    Returns:
      `(key, batch) -> batch`, see `affine`.

    Raises:
      ConfigError, ShapeError: as `affine`.

    >>> batch = Batch(jnp.full([2, 5, 5, 1], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> bool((jax.jit(rotate(30, "edge"))(jax.random.key(0), batch).image == 7).all())
    True
    """
    return _affine("rotate", degrees, (1.0, 1.0), 0.0, padding_mode, 0.0, fill)


@renamed_arguments(pad_mode="padding_mode")
def affine(
    degrees: float,
    scale: Sequence[float] = (1.0, 1.0),
    shear: float | Sequence[float] = 0.0,
    padding_mode: str = "zeros",
    *,
    translate: float | Sequence[float] = 0.0,
    fill: float = 0.0,
) -> Augment:
    """Rotate, scale, shear and translate each image around its center.

    Args:
      degrees: maximum angle in both directions; angles are uniform.
      scale: range of the scale factor, uniform; (0.9, 1.1) for up to ±10 %.
      shear: maximum shear angle in degrees, in both directions, uniform: of horizontal shear, or of both axes (x, y).
      padding_mode: values outside the image: "zeros", "reflect", "edge" or "wrap".
      translate: maximum translation as a fraction of the image's size, in both directions, uniform; one number, or one
        for each axis (x, y).
      fill: another value for "zeros".

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep shape and dtype (integers are rounded). Masks take the nearest
      pixel; boxes become the boxes around their corners, clipped to the image.

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    >>> batch = Batch(jnp.full([2, 5, 5, 1], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> jax.jit(affine(10, scale=(0.9, 1.1), shear=5))(jax.random.key(0), batch).image.dtype
    dtype('uint8')
    """
    return _affine("affine", degrees, scale, shear, padding_mode, translate, fill)


def _affine(
    name: str,
    degrees: float,
    scale: Sequence[float],
    shear: float | Sequence[float],
    padding_mode: str,
    translate: float | Sequence[float],
    fill: float,
) -> Augment:
    slants = shear if isinstance(shear, Sequence) else (shear, 0.0)
    shares = translate if isinstance(translate, Sequence) else (translate, translate)
    check_arguments(
        name,
        number_problem("degrees", degrees, "a number from 0 to 180", lambda angle: 0 <= angle <= 180),
        range_problem(
            "scale", scale, "two numbers above 0, the smaller first", lambda low, high: 0 < low <= high < math.inf
        ),
        _pair_problem("shear", shear, slants, "a number of degrees from 0, below 90", lambda angle: 0 <= angle < 90),
        choice_problem("padding_mode", padding_mode, PADDING_MODES),
        _pair_problem("translate", translate, shares, "a number from 0 to 1", lambda share: 0 <= share <= 1),
        fill_number_problem(fill),
    )

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of(name, batch)
        n, rows, columns, _ = images.shape
        angle, slant = math.radians(degrees), [math.radians(limit) for limit in slants]
        turn, magnify, lean = draws(key, 3, n)
        turn, lean = angle * (2 * turn - 1), slant[0] * (2 * lean - 1)
        magnify = scale[0] + (scale[1] - scale[0]) * magnify
        more = jnp.zeros([3, n], jnp.float32)
        if slant[1] or any(shares):
            limits = jnp.array([slant[1], shares[0] * columns, shares[1] * rows], jnp.float32)[:, None]
            more = limits * (2 * draws(jax.random.fold_in(key, 1), 3, n) - 1)
        matrix = affine_matrix(turn, magnify, (lean, more[0]), (more[1], more[2]), (columns / 2, rows / 2))
        return moved(batch, projected(matrix, rows, columns, padding_mode, fill))

    return run


def _pair_problem(word: str, given: Any, pair: Sequence[Any], be: str, holds: Callable[[Any], bool]) -> str:
    """The problem of a number, or of a pair of them; empty if there is none."""
    fits = len(pair) == 2 and not any(number_problem("", end, "", holds) for end in pair)
    return "" if fits else f"{word} must be {be}, or two of them, got {given!r}"


def perspective(distortion: float = 0.5, padding_mode: str = "zeros", *, fill: float = 0.0) -> Augment:
    """View each image from a random direction: its four corners move towards the center.

    Each corner moves by up to `distortion` of half the image's size along both axes, uniformly and independently.

    Args:
      distortion: from 0 to 2/3; with more, an image could fold.
      padding_mode: values outside the image: "zeros", "reflect", "edge" or "wrap".
      fill: another value for "zeros".

    Returns:
      `(key, batch) -> batch`, see `affine`.

    Raises:
      ConfigError, ShapeError: as `affine`.

    >>> batch = Batch(jnp.full([2, 5, 5, 1], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> bool((jax.jit(perspective(0.3, "edge"))(jax.random.key(0), batch).image == 7).all())
    True
    """
    be = "a number from 0 to 2/3"
    check_arguments(
        "perspective",
        number_problem("distortion", distortion, be, lambda share: 0 <= share <= _LARGEST_DISTORTION),
        choice_problem("padding_mode", padding_mode, PADDING_MODES),
        fill_number_problem(fill),
    )

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("perspective", batch)
        n, rows, columns, _ = images.shape
        inwards = distortion / 2 * draws(key, 8, n).reshape(4, 2, n)
        ends = jnp.array([(0, 0), (1, 0), (1, 1), (0, 1)], jnp.float32)[..., None]
        size = jnp.array([columns, rows], jnp.float32)[None, :, None]
        quad = size * (ends + (1 - 2 * ends) * inwards)
        matrix = inverse(quad_matrix(jnp.moveaxis(quad, -1, 0), rows, columns))
        return moved(batch, projected(matrix, rows, columns, padding_mode, fill))

    return run


def affine_matrix(
    angle: jax.Array,
    scale: jax.Array,
    shear: tuple[jax.Array, jax.Array],
    translate: tuple[jax.Array, jax.Array],
    center: tuple[float, float],
) -> jax.Array:
    """Matrices from a point (x, y, 1) of the result to its source, [N, 3, 3].

    Relative to the center, points of the image move to `x + tan(shear_x) y`, then to `y + tan(shear_y) x`, are scaled
    and rotated counter-clockwise (as seen), and translated.

    Args:
      angle: [N], radians.
      scale: [N], above 0.
      shear: of x and of y, [N] each, radians.
      translate: of x and of y, [N] each, pixels.
      center: x and y, pixels; the center of the first pixel is (0.5, 0.5).
    """
    cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
    lean, tilt = (jnp.tan(slant) for slant in shear)
    # Rotated back: (u, v) = (cos x - sin y, sin x + cos y); then sheared back along y, and along x.
    below = sin - tilt * cos, cos + tilt * sin
    ahead = cos - lean * below[0], -sin - lean * below[1]
    x, y = (middle + move for middle, move in zip(center, translate, strict=True))
    zero = jnp.zeros_like(angle)
    lines = [
        jnp.stack([line[0], line[1], middle - line[0] * x - line[1] * y], -1)
        for line, middle in zip((ahead, below), center, strict=True)
    ]
    return jnp.stack([*lines, jnp.stack([zero, zero, zero + 1], -1)], -2)


def quad_matrix(quad: jax.Array, rows: int, columns: int) -> jax.Array:
    """Matrices [N, 3, 3] of the perspective that moves the corners of an image to four points.

    Args:
      quad: [N, 4, 2], where the corners (0, 0), (columns, 0), (columns, rows) and (0, rows) go, as (x, y).
      rows: height of the image.
      columns: its width.

    Source: Heckbert, Fundamentals of Texture Mapping and Image Warping, 1989, section 2.2.3.
    """
    first, second, third, fourth = (quad[:, number] for number in range(4))  # [N, 2]
    right, down, rest = second - third, fourth - third, first - second + third - fourth
    area = _cross(right, down)
    g, h = _cross(rest, down) / area, _cross(right, rest) / area
    along = second - first + g[:, None] * second, fourth - first + h[:, None] * fourth, first
    lines = [jnp.stack([part[:, axis] for part in along], -1) for axis in (0, 1)]
    unit = jnp.stack([*lines, jnp.stack([g, h, jnp.ones_like(g)], -1)], -2)
    return unit / jnp.array([columns, rows, 1], unit.dtype)[None, None]


def _cross(a: jax.Array, b: jax.Array) -> jax.Array:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def inverse(matrix: jax.Array) -> jax.Array:
    """Inverses of matrices [N, 3, 3], up to a positive factor each if the determinants are positive.

    >>> print(inverse(jnp.diag(jnp.array([1.0, 2.0, 4.0]))[None]))
    [[[8. 0. 0.]
      [0. 4. 0.]
      [0. 0. 2.]]]
    """
    first, second, third = (matrix[:, :, number] for number in range(3))
    return jnp.stack([jnp.cross(second, third), jnp.cross(third, first), jnp.cross(first, second)], 1)


def projected(matrix: jax.Array, rows: int, columns: int, padding_mode: str, fill: float) -> Move:
    """The move of images by projective maps.

    Args:
      matrix: [N, 3, 3], from a point (x, y, 1) of the result to its source (x, y, w) / w, in pixels.
      rows: height of the images.
      columns: their width.
      padding_mode: values outside the image.
      fill: value outside the image for "zeros".
    """
    x, y = jnp.arange(columns, dtype=jnp.float32) + 0.5, jnp.arange(rows, dtype=jnp.float32)[:, None] + 0.5
    x, y = x[None, None], y[None]
    across, down, depth = (
        matrix[:, line, 0, None, None] * x + matrix[:, line, 1, None, None] * y + matrix[:, line, 2, None, None]
        for line in range(3)
    )
    column, row = across / depth - 0.5, down / depth - 0.5

    def boxes(given: jax.Array) -> jax.Array:
        points = corners(given)
        homogeneous = jnp.concatenate([points, jnp.ones_like(points[..., :1])], -1)
        moved_points = jnp.einsum("nij,nmpj->nmpi", inverse(matrix), homogeneous, precision="highest")
        return hull(moved_points[..., :2] / moved_points[..., 2:])

    return Move(
        lambda images: as_type(bilinear(upcast(images), row, column, padding_mode, fill), images.dtype),
        lambda values, outside: nearest(values, row, column, padding_mode, outside),
        boxes,
    )
