"""Elastic deformation, computed in float32; images keep their dtype."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.dtypes import upcast
from jaxconv.augment.contract import (
    Augment,
    as_type,
    check_arguments,
    choice_problem,
    images_of,
    number_problem,
)
from jaxconv.augment.joint import Move, moved
from jaxconv.augment.sampling import bilinear, nearest
from jaxconv.data.dataset import Batch
from jaxconv.geometry import PADDING_MODES

_LARGEST_SIGMA = 10_000  # the filter has 16 sigma taps


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
      `(key, batch) -> batch`; images [N, H, W, C] keep shape and dtype (integers are rounded); masks and boxes follow.

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
        down, right = jnp.arange(rows, dtype=jnp.float32)[:, None], jnp.arange(columns, dtype=jnp.float32)
        return moved(batch, displaced(displacement[0] + down[None], displacement[1] + right[None, None], padding_mode))

    return run


def displaced(rows: jax.Array, columns: jax.Array, padding_mode: str) -> Move:
    """The move to each pixel from a source at fractional rows and columns, [N, H, W].

    A box becomes the box of the pixels whose sources are in it.
    """

    def boxes(given: jax.Array) -> jax.Array:
        left, top, right, bottom = (given[..., side, None, None] for side in range(4))
        x, y = columns[:, None] + 0.5, rows[:, None] + 0.5
        inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)  # [N, M, H, W]
        spans = [_span(inside.any(axis)) for axis in (2, 3)]
        return jnp.stack([spans[0][0], spans[1][0], spans[0][1], spans[1][1]], -1).astype(given.dtype)

    return Move(
        lambda images: as_type(bilinear(upcast(images), rows, columns, padding_mode), images.dtype),
        lambda values, outside: nearest(values, rows, columns, padding_mode, outside),
        boxes,
    )


def _span(inside: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Ends of what is true along the last axis; 0 and 0 if nothing is."""
    n = inside.shape[-1]
    found = inside.any(-1)
    low, high = jnp.argmax(inside, -1), n - jnp.argmax(inside[..., ::-1], -1)
    return jnp.where(found, low, 0), jnp.where(found, high, 0)


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
