"""Changes of tone: inversion, posterization, solarization, stretched contrast, equalized histograms.

Images keep their dtype: integers are computed in float32, rounded and clipped.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import upcast
from jaxconv.augment.contract import (
    Augment,
    as_type,
    changed,
    check_arguments,
    number_problem,
    peak_problem,
    probability_problem,
)
from jaxconv.augment.sampling import materialized

_LARGEST_BITS = 8
_LEVELS = 255  # of the histogram that `equalize` computes, above 0


def invert(probability: float = 0.5, *, peak: float = 255) -> Augment:
    """Invert images: `peak - x`.

    Args:
      probability: probability of changing an image.
      peak: maximum pixel value.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their dtype.

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    >>> from jaxconv.data import Batch
    >>> batch = Batch(jnp.full([1, 1, 1, 1], 5, jnp.uint8), jnp.array([0]), jnp.ones(1))
    >>> int(invert(1.0)(jax.random.key(0), batch).image.sum())
    250
    """
    check_arguments("invert", probability_problem(probability), peak_problem(peak))
    return changed("invert", probability, lambda images: inverted(images, peak))


def posterize(bits: int = 4, probability: float = 0.5, *, peak: float = 255) -> Augment:
    """Reduce images to `2**bits` levels, each at its lower end.

    For a `peak` of 255, the low bits of integers are cleared. Floating images become
    `floor(x / peak * 2**bits) / 2**bits * peak`, as in torchvision.

    Args:
      bits: number of bits, 1 to 8.
      probability: probability of changing an image.
      peak: maximum pixel value.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their dtype.

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    Source: Cubuk et al., AutoAugment: Learning Augmentation Strategies from Data, 2019.

    >>> from jaxconv.data import Batch
    >>> batch = Batch(jnp.full([1, 1, 1, 1], 201, jnp.uint8), jnp.array([0]), jnp.ones(1))
    >>> int(posterize(2, probability=1.0)(jax.random.key(0), batch).image.sum())
    192
    """
    be = f"a whole number from 1 to {_LARGEST_BITS}"
    check_arguments(
        "posterize",
        number_problem("bits", bits, be, lambda n: 1 <= n <= _LARGEST_BITS, whole=True),
        probability_problem(probability),
        peak_problem(peak),
    )
    return changed("posterize", probability, lambda images: posterized(images, bits, peak))


def solarize(threshold: float = 0.5, probability: float = 0.5, *, peak: float = 255) -> Augment:
    """Invert the pixel values from a threshold on: `peak - x` if `x >= threshold * peak`.

    Args:
      threshold: fraction of `peak`; 0 inverts everything.
      probability: probability of changing an image.
      peak: maximum pixel value.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their dtype.

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    Source: Cubuk et al., AutoAugment: Learning Augmentation Strategies from Data, 2019.

    >>> from jaxconv.data import Batch
    >>> batch = Batch(jnp.array([[[[100], [200]]]], jnp.uint8), jnp.array([0]), jnp.ones(1))
    >>> solarize(probability=1.0)(jax.random.key(0), batch).image.ravel()
    Array([100,  55], dtype=uint8)
    """
    check_arguments(
        "solarize",
        number_problem("threshold", threshold, "a number from 0 to 1", lambda share: 0 <= share <= 1),
        probability_problem(probability),
        peak_problem(peak),
    )
    return changed("solarize", probability, lambda images: solarized(images, threshold, peak))


def autocontrast(probability: float = 0.5, *, peak: float = 255) -> Augment:
    """Stretch each channel of an image linearly, to the full range 0..peak; constant channels stay.

    Args:
      probability: probability of changing an image.
      peak: maximum pixel value.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their dtype.

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    >>> from jaxconv.data import Batch
    >>> batch = Batch(jnp.array([[[[50], [100]]]], jnp.uint8), jnp.array([0]), jnp.ones(1))
    >>> autocontrast(1.0)(jax.random.key(0), batch).image.ravel()
    Array([  0, 255], dtype=uint8)
    """
    check_arguments("autocontrast", probability_problem(probability), peak_problem(peak))
    return changed("autocontrast", probability, lambda images: stretched(images, peak))


def equalize(probability: float = 0.5, *, peak: float = 255) -> Augment:
    """Equalize the histogram of each channel of an image: about as many pixels have each value.

    As Pillow's `ImageOps.equalize`, to the bit for uint8 images. A channel with fewer than 255 pixels beside those of
    its largest value stays unchanged. Floating images have 256 levels.

    Args:
      probability: probability of changing an image.
      peak: maximum pixel value.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] keep their dtype.

    Raises:
      ConfigError: if an argument is out of range.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    >>> from jaxconv.data import Batch
    >>> image = (jnp.arange(512) // 8).astype(jnp.uint8).reshape(1, 16, 32, 1)
    >>> batch = Batch(image, jnp.array([0]), jnp.ones(1))
    >>> result = jax.jit(equalize(1.0))(jax.random.key(0), batch).image
    >>> int(image.max()), int(result.max())
    (63, 255)
    """
    check_arguments("equalize", probability_problem(probability), peak_problem(peak))
    return changed("equalize", probability, lambda images: equalized(images, peak))


def inverted(images: jax.Array, peak: float) -> jax.Array:
    """`peak - images`, in the dtype of the images.

    >>> inverted(jnp.array([0, 5], jnp.uint8), 255)
    Array([255, 250], dtype=uint8)
    """
    return as_type(peak - upcast(images), images.dtype)


def posterized(images: jax.Array, bits: float | jax.Array, peak: float) -> jax.Array:
    """Images at `2**bits` levels; see `posterize`.

    Args:
      images: [N, H, W, C].
      bits: whole number, or one for each image, [N, 1, 1, 1].
      peak: maximum pixel value.
    """
    values = upcast(images)
    levels = 2.0 ** jnp.asarray(bits, values.dtype)
    width = (peak + 1 if jnp.issubdtype(images.dtype, jnp.integer) else peak) / levels
    return as_type(jnp.clip(jnp.floor(values / width), 0, levels - 1) * width, images.dtype)


def solarized(images: jax.Array, threshold: float | jax.Array, peak: float) -> jax.Array:
    """Images with inverted values from a threshold on.

    Args:
      images: [N, H, W, C].
      threshold: fraction of `peak`, or one for each image, [N, 1, 1, 1].
      peak: maximum pixel value.
    """
    return jnp.where(upcast(images) >= threshold * peak, inverted(images, peak), images)


def stretched(images: jax.Array, peak: float) -> jax.Array:
    """Images [N, H, W, C] whose channels range from 0 to `peak` each."""
    if images.size == 0:
        return images
    low, high = (upcast(end((1, 2), keepdims=True)) for end in (images.min, images.max))
    scale = peak / jnp.where(high > low, high - low, 1)
    stretched_values = as_type(jnp.clip((upcast(images) - low) * scale, 0, peak), images.dtype)
    return jnp.where(high > low, stretched_values, images)


def equalized(images: jax.Array, peak: float) -> jax.Array:
    """Images [N, H, W, C] with a flat histogram in each channel; see `equalize`."""
    n, rows, columns, channels = images.shape
    if images.size == 0:
        return images
    levels = int(min(max(peak, 1), _LEVELS)) if jnp.issubdtype(images.dtype, jnp.integer) else _LEVELS
    values = jnp.moveaxis(images, -1, 1).reshape(n * channels, rows * columns)
    (index,) = materialized(_level(values, levels, peak))
    # A scatter is several times faster than sums of comparisons or products of one-hot vectors.
    bins = n * channels * (levels + 1)
    place = (index + (levels + 1) * jnp.arange(n * channels)[:, None]).ravel()
    count = jnp.zeros(bins, jnp.int32).at[place].add(1, mode="promise_in_bounds").reshape(n * channels, levels + 1)
    below = jnp.cumsum(count, -1) - count
    most = jnp.take_along_axis(count, levels - jnp.argmax(count[:, ::-1] > 0, -1, keepdims=True), -1)
    step = (rows * columns - most) // levels  # `most` pixels have the largest value
    table = jnp.clip((below + step // 2) // jnp.maximum(step, 1), 0, levels)
    table, enough = materialized(as_type(upcast(table) * (peak / levels), images.dtype), step > 0)
    flat = jnp.take_along_axis(table, index, -1, mode="promise_in_bounds")
    (result,) = materialized(jnp.where(enough, flat, values))
    return jnp.moveaxis(result.reshape(n, channels, rows, columns), 1, -1)


def _level(values: jax.Array, levels: int, peak: float) -> jax.Array:
    """Level of each value, int32 from 0 to `levels`; values that are whole numbers up to `levels` are levels."""
    if jnp.issubdtype(values.dtype, jnp.integer):
        share = upcast(values) * ((levels + 1) / (peak + 1))
    else:
        share = upcast(values) * ((levels + 1 - 1e-3) / peak)  # as torchvision
    return jnp.clip(jnp.floor(share), 0, levels).astype(jnp.int32)
