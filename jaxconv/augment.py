"""Random changes of training images that keep their label: functions `(key, batch) -> batch`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxconv.errors import ConfigError, ShapeError

__all__ = ["Augment", "normalise", "shift"]

Augment = Callable[[jax.Array, jax.Array], jax.Array]


def shift(pixels: int) -> Augment:
    """Move each image by its own whole number of pixels; what comes into view is zero.

    Args:
      pixels: the furthest that an image moves along each axis, either way; each of the
        `(2 * pixels + 1)**2` moves is equally likely.

    Returns:
      `(key, batch) -> batch` for batches [N, H, W, C] of any type.

    Raises:
      ConfigError: `pixels` is negative.
      ShapeError: when called with anything but [N, H, W, C].

    >>> batch = jnp.ones([1, 4, 4, 1])
    >>> shift(1)(jax.random.key(0), batch).shape
    (1, 4, 4, 1)
    """
    if pixels < 0:
        raise ConfigError(f"shift must be 0 or more pixels, got {pixels}")

    def move(key: jax.Array, batch: jax.Array) -> jax.Array:
        if batch.ndim != 4:
            raise ShapeError("shift takes images [N, H, W, C]", got=str(list(batch.shape)))
        if pixels == 0:
            return batch
        n, height, width, channels = batch.shape
        border = ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0))
        corners = jax.random.randint(key, (n, 2), 0, 2 * pixels + 1)

        def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
            return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (height, width, channels))

        return jax.vmap(crop)(jnp.pad(batch, border), corners)

    return move


def normalise(images: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """Bring pixels to mean 0 and standard deviation 1, channel by channel.

    Args:
      images: [..., C], any type.
      mean: C numbers, in the pixels' units.
      std: C numbers, in the pixels' units; a channel that never varies (0) is only centred.

    Returns:
      float32 [..., C].

    Raises:
      ShapeError: there are not as many means or deviations as channels.

    >>> print(normalise(jnp.array([[0, 4]], jnp.uint8), mean=[0.0, 2.0], std=[1.0, 2.0]))
    [[0. 1.]]
    """
    channels = images.shape[-1]
    if not len(mean) == len(std) == channels:
        raise ShapeError(f"{channels} channels need as many means and deviations", got=f"{len(mean)} and {len(std)}")
    scale = jnp.asarray([1 / s if s > 0 else 1.0 for s in std], jnp.float32)
    return (images.astype(jnp.float32) - jnp.asarray(mean, jnp.float32)) * scale
