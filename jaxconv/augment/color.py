"""Color augmentation and normalization."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import channelwise, upcast
from jaxconv._base.errors import ShapeError
from jaxconv.augment.contract import (
    Augment,
    as_type,
    changed,
    check_arguments,
    draws,
    images_of,
    number_problem,
    peak_problem,
    per_image,
    probability_problem,
)
from jaxconv.data.dataset import Batch

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma coefficients


def color_jitter(
    strength: float = 0.4,
    *,
    brightness: float | None = None,
    contrast: float | None = None,
    saturation: float | None = None,
    hue: float | None = None,
    peak: float = 255,
) -> Augment:
    """Change brightness, contrast, saturation and hue of each image, in this fixed order.

    The first three are blends by a factor uniform in [max(0, 1 - amount), 1 + amount]: with black, with the mean
    luminance of the image, and with the luminance of each pixel. Hue is rotated by an angle uniform in ±amount of the
    full circle. Values are clipped to 0..peak after each blend.

    Args:
      strength: amount of the first three; hue gets a quarter of it (as in SimCLR), at most 0.5.
      brightness: overrides the amount of brightness.
      contrast: overrides the amount of contrast.
      saturation: overrides the amount of saturation; like hue, it changes RGB images alone.
      hue: overrides the amount of hue, from 0 to 0.5.
      peak: maximum pixel value.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, C] become float32 in 0..peak.

    Raises:
      ConfigError: if an amount is negative, or hue is above 0.5.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    Source: Howard, Some Improvements on Deep Convolutional Neural Network Based Image Classification,
    2013; the strength of hue is from Chen et al., A Simple Framework for Contrastive Learning, 2020.

    >>> batch = Batch(jnp.full([1, 2, 2, 3], 100, jnp.uint8), jnp.array([0]), jnp.ones(1))
    >>> augment = jax.jit(color_jitter(brightness=0.5, contrast=0, saturation=0, hue=0))
    >>> image = augment(jax.random.key(0), batch).image
    >>> bool((image >= 50).all() and (image <= 150).all()), image.dtype
    (True, dtype('float32'))
    """
    own = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    amounts = {"strength": strength} | {word: amount for word, amount in own.items() if amount is not None}
    check_arguments(
        "color_jitter",
        *(number_problem(word, amount, "a number, 0 or more", lambda x: x >= 0) for word, amount in amounts.items()),
        number_problem("hue", hue, "a number from 0 to 0.5", lambda x: 0 <= x <= 0.5, optional=True),
        peak_problem(peak),
    )
    blends = [strength if amount is None else amount for amount in own.values()]
    turn = min(strength / 4, 0.5) if hue is None else hue
    lows = [max(0.0, 1 - amount) for amount in blends]

    def run(key: jax.Array, batch: Batch) -> Batch:
        images = upcast(images_of("color_jitter", batch))
        *drawn, hue_draw = map(per_image, draws(key, 4, len(images)))
        ranges = zip(drawn, lows, blends, strict=True)
        factors = [low + (1 + amount - low) * u for u, low, amount in ranges]

        images = blend(images, 0.0, factors[0], peak)
        images = blend(images, mean_luminance(images), factors[1], peak)
        if images.shape[-1] == 3:
            images = blend(images, luminance(images), factors[2], peak)
            images = rotate_hue(images, turn * (2 * hue_draw - 1)) if turn > 0 else images
        return batch._replace(image=images)

    return run


def grayscale(probability: float = 0.2) -> Augment:
    """Replace the colors of an image by its luminance; 1.0 does so to all images.

    Args:
      probability: probability of changing an image.

    Returns:
      `(key, batch) -> batch`; images [N, H, W, 3] keep shape and dtype (integers are rounded), [N, H, W, 1] are
      unchanged.

    Raises:
      ConfigError: if `probability` is outside 0..1.
      ShapeError: when called, if not with a Batch of images [N, H, W, 1] or [N, H, W, 3].

    Source: Chen et al., A Simple Framework for Contrastive Learning, 2020, where 0.2 comes from.

    >>> batch = Batch(jnp.array([[[[100, 0, 200]]]], jnp.uint8), jnp.array([0]), jnp.ones(1))
    >>> grayscale(1.0)(jax.random.key(0), batch).image.ravel()
    Array([53, 53, 53], dtype=uint8)
    """
    check_arguments("grayscale", probability_problem(probability))

    def change(images: jax.Array) -> jax.Array:
        if images.shape[-1] not in (1, 3):
            raise ShapeError(
                "grayscale takes images of 1 or 3 channels",
                got=str(list(images.shape)),
                fix="images[..., :3], if red, green and blue come first",
                kind="channels",
            )
        gray = as_type(luminance(upcast(images)), images.dtype)
        return jnp.broadcast_to(gray, images.shape)

    return changed("grayscale", probability, change)


def blend(images: jax.Array, other: jax.Array | float, factor: jax.Array, peak: float) -> jax.Array:
    """`other + factor * (images - other)`, clipped to 0..peak.

    Args:
      images: floating [N, H, W, C].
      other: images at factor 0; broadcasts.
      factor: [N, 1, 1, 1].
      peak: maximum pixel value.
    """
    return jnp.clip(other + factor * (images - other), 0, peak)


def mean_luminance(images: jax.Array) -> jax.Array:
    """Mean luminance of each image: [N, H, W, C] -> [N, 1, 1, 1]."""
    return luminance(images.mean(1, keepdims=True).mean(2, keepdims=True))


def luminance(images: jax.Array) -> jax.Array:
    """[..., C] -> [..., 1]: luma of RGB; the mean of any other number of channels."""
    if images.shape[-1] != 3:
        return images.mean(-1, keepdims=True)
    red, green, blue = (weight * images[..., c : c + 1] for c, weight in enumerate(_LUMA))
    return red + green + blue  # a sum along the last axis takes 60 times as long on a CPU


def rotate_hue(images: jax.Array, turns: jax.Array) -> jax.Array:
    """Rotate the hue (of HSV) of RGB [..., 3] by full turns [..., 1].

    >>> rotate_hue(jnp.array([9.0, 0.0, 0.0]), jnp.array([1 / 3])).round()  # red becomes green
    Array([0., 9., 0.], dtype=float32)
    """
    red, green, blue = (images[..., c : c + 1] for c in range(3))
    value, least = images.max(-1, keepdims=True), images.min(-1, keepdims=True)
    chroma = value - least
    unit = jnp.where(chroma > 0, chroma, 1)
    sector = jnp.where(
        value == red,
        (green - blue) / unit,
        jnp.where(value == green, (blue - red) / unit + 2, (red - green) / unit + 4),
    )
    # Each channel is a trapezoidal function of the hue, shifted by thirds of the circle.
    offsets = channelwise(jnp.array([5.0, 3.0, 1.0], images.dtype), images)
    place = offsets + sector + 6 * turns
    place = place - 6 * jnp.floor(place / 6)  # % 6, many times faster than the remainder
    return value - chroma * jnp.clip(jnp.minimum(place, 4 - place), 0, 1)


def normalize(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """Normalize each channel: `(images - mean) / std`.

    Args:
      images: [..., C], any dtype.
      mean: C numbers in pixel units.
      std: C numbers in pixel units; a constant channel (0) is only centered.

    Returns:
      float32 [..., C].

    Raises:
      ShapeError: if the number of means or deviations is not that of channels.

    >>> print(normalize(jnp.array([[0, 4]], jnp.uint8), mean=[0.0, 2.0], std=[1.0, 2.0]))
    [[0. 1.]]
    """
    channels = images.shape[-1]
    if not len(mean) == len(std) == channels:
        raise ShapeError(f"{channels} channels need as many means and deviations", got=f"{len(mean)} and {len(std)}")
    scale = jnp.asarray([1 / s if s > 0 else 1.0 for s in std], jnp.float32)
    images = images.astype(jnp.float32)
    return (images - channelwise(jnp.asarray(mean, jnp.float32), images)) * channelwise(scale, images)
