"""Sharpness, Gaussian blur and noise; images keep their dtype, and integers are rounded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import upcast
from jaxconv.augment.contract import (
    Augment,
    as_type,
    check_arguments,
    draws,
    images_of,
    number_problem,
    peak_problem,
    per_image,
    range_problem,
)
from jaxconv.data.dataset import Batch

_TRUNCATE = 3  # standard deviations that the default kernel covers
_LARGEST_SIGMA = 21
_LARGEST_KERNEL = 2 * _TRUNCATE * _LARGEST_SIGMA + 1  # each pixel is a slice of the program


def sharpness(strength: float = 0.5, *, peak: float = 255) -> Augment:
    """Sharpen or soften each image: a blend with its smoothed self.

    `smooth + factor * (x - smooth)`, with a factor uniform in [max(0, 1 - strength), 1 + strength], clipped to 0..peak.
    Smoothing is the mean of 3×3 pixels in which the central one counts 5 times. The pixels of the border stay, as in
    Pillow and torchvision; so do images with fewer than 3 rows or columns.

    Args:
      strength: maximum change of the factor.
      peak: maximum pixel value.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their dtype.

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    Source: Cubuk et al., AutoAugment: Learning Augmentation Strategies from Data, 2019.

    >>> batch = Batch(jnp.full([2, 5, 5, 1], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> bool((jax.jit(sharpness())(jax.random.key(0), batch).image == 7).all())
    True
    """
    check_arguments(
        "sharpness",
        number_problem("strength", strength, "a number, 0 or more", lambda x: 0 <= x < math.inf),
        peak_problem(peak),
    )
    low = max(0.0, 1 - strength)

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("sharpness", batch)
        factor = low + (1 + strength - low) * per_image(draws(key, 1, len(images))[0])
        return batch._replace(image=sharpened(images, factor, peak))

    return run


def sharpened(images: jax.Array, factor: jax.Array, peak: float) -> jax.Array:
    """Images blended with their smoothed selves; see `sharpness`.

    Args:
      images: [N, H, W, C].
      factor: [N, 1, 1, 1]; 0 smooths, 1 is the identity.
      peak: maximum pixel value.
    """
    values = upcast(images)
    rows, columns = images.shape[1:3]
    if rows < 3 or columns < 3:
        return images
    inner = values[:, 1:-1, 1:-1]
    down = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    smooth = (down[:, :, :-2] + down[:, :, 1:-1] + down[:, :, 2:] + 4 * inner) / 13
    if jnp.issubdtype(images.dtype, jnp.integer):
        smooth = jnp.round(smooth)
    blend = jnp.clip(smooth + factor.astype(values.dtype) * (inner - smooth), 0, peak)
    return images.at[:, 1:-1, 1:-1].set(as_type(blend, images.dtype))


def gaussian_blur(sigma: float | Sequence[float] = (0.1, 2.0), kernel_size: int | None = None) -> Augment:
    """Blur each image by a Gaussian whose width is drawn uniformly.

    The Gaussian is cut to `kernel_size` pixels and normalized; outside, images are reflected.

    Args:
      sigma: range of the standard deviation in pixels, or a single value.
      kernel_size: number of pixels along each axis, odd; by default it covers 3 standard deviations in both directions.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their dtype.

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    Source: Chen et al., A Simple Framework for Contrastive Learning, 2020, where 0.1 to 2.0 comes from.

    >>> batch = Batch(jnp.full([2, 5, 5, 1], 7, jnp.uint8), jnp.zeros(2, int), jnp.ones(2))
    >>> bool((jax.jit(gaussian_blur())(jax.random.key(0), batch).image == 7).all())
    True
    """
    ends = sigma if isinstance(sigma, Sequence) else (sigma, sigma)
    be = f"a number of pixels above 0, up to {_LARGEST_SIGMA}, or two of them, the smaller first"
    fits = not range_problem("", ends, "", lambda low, high: 0 < low <= high <= _LARGEST_SIGMA)
    check_arguments(
        "gaussian_blur",
        "" if fits else f"sigma must be {be}, got {sigma!r}",
        number_problem(
            "kernel_size",
            kernel_size,
            f"an odd number of pixels up to {_LARGEST_KERNEL}",
            lambda n: 1 <= n <= _LARGEST_KERNEL and n % 2 == 1,
            whole=True,
            optional=True,
        ),
    )
    low, high = ends
    taps = 2 * math.ceil(_TRUNCATE * high) + 1 if kernel_size is None else kernel_size

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("gaussian_blur", batch)
        width = low + (high - low) * draws(key, 1, len(images))[0]
        return batch._replace(image=blurred(images, width, taps))

    return run


def blurred(images: jax.Array, sigma: jax.Array, kernel_size: int) -> jax.Array:
    """Images convolved with a Gaussian each, reflected outside.

    Args:
      images: [N, H, W, C].
      sigma: [N], standard deviations in pixels.
      kernel_size: number of pixels along each axis, odd.
    """
    if images.size == 0:
        return images
    half = kernel_size // 2
    offsets = jnp.arange(-half, half + 1, dtype=jnp.float32)[:, None]
    weights = jax.nn.softmax(-0.5 * (offsets / sigma[None]) ** 2, axis=0)  # [kernel_size, N]
    values = upcast(images)
    for axis in (1, 2):
        padding = [(half, half) if a == axis else (0, 0) for a in range(4)]
        padded = jnp.pad(values, padding, "reflect")
        slices = (jax.lax.slice_in_dim(padded, tap, tap + values.shape[axis], axis=axis) for tap in range(kernel_size))
        terms = [per_image(weight.astype(values.dtype)) * part for weight, part in zip(weights, slices, strict=True)]
        values = sum(terms[1:], terms[0])
    return as_type(values, images.dtype)


def gaussian_noise(sigma: float = 0.1, *, peak: float = 255) -> Augment:
    """Add independent Gaussian noise to every value, clipped to 0..peak.

    Args:
      sigma: standard deviation as a fraction of `peak`.
      peak: maximum pixel value.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their dtype.

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    >>> batch = Batch(jnp.zeros([1, 20, 20, 1]), jnp.array([0]), jnp.ones(1))
    >>> noisy = jax.jit(gaussian_noise(0.1))(jax.random.key(0), batch).image
    >>> bool((noisy == 0).mean() > 0.4), bool(noisy.max() > 25)
    (True, True)
    """
    check_arguments(
        "gaussian_noise",
        number_problem("sigma", sigma, "a number, 0 or more", lambda x: 0 <= x < math.inf),
        peak_problem(peak),
    )

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = images_of("gaussian_noise", batch)
        values = upcast(images)
        noise = jax.random.normal(key, images.shape, jnp.float32).astype(values.dtype)
        return batch._replace(image=as_type(jnp.clip(values + sigma * peak * noise, 0, peak), images.dtype))

    return run
