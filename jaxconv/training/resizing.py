"""Progressive resizing: smaller images early in training."""

from __future__ import annotations

import bisect

import jax

from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ConfigError
from jaxconv.augment import Augment
from jaxconv.data import Batch

__all__ = ["image_sizes", "resize_to"]


def image_sizes(
    size: tuple[int, int],
    steps: int,
    *,
    initial_scale: float = 0.5,
    delay_fraction: float = 0.5,
    finetune_fraction: float = 0.2,
    size_increment: int = 4,
) -> list[tuple[int, tuple[int, int]]]:
    """Sizes of the images of each step, which grow linearly to the full size.

    Args:
      size: full height and width.
      steps: total steps of the run.
      initial_scale: relative size of the first images.
      delay_fraction: share of the run with these.
      finetune_fraction: share of the run with full images, at its end.
      size_increment: the shorter side grows by this number of pixels at a time.

    Returns:
      [(step to end before, (height, width))], in order; each size is a program of its own.

    Raises:
      ConfigError: if an argument is outside its range.

    Source: Howard, fast.ai's DAWNBench entry, 2018; arguments as of MosaicML's Composer.

    >>> image_sizes((32, 64), 100, size_increment=8)
    [(58, (16, 32)), (73, (24, 48)), (100, (32, 64))]
    """
    free = 1 - delay_fraction - finetune_fraction
    if not 0 < initial_scale <= 1 or min(delay_fraction, finetune_fraction, size_increment - 1) < 0 or free < -1e-9:
        raise ConfigError(
            "progressive resizing needs initial_scale in (0, 1], size_increment ≥ 1, and delay_fraction and "
            f"finetune_fraction ≥ 0 of at most 1 in all; got {initial_scale}, {size_increment}, {delay_fraction} "
            f"and {finetune_fraction}"
        )
    short = min(size)

    def size_at(step: int) -> tuple[int, int]:
        elapsed = step / steps
        grown = 1.0 if elapsed >= 1 - finetune_fraction else max(0.0, elapsed - delay_fraction) / max(free, 1e-9)
        scale = initial_scale + (1 - initial_scale) * min(1.0, grown)
        side = short if scale == 1 else min(short, max(1, round(scale * short / size_increment) * size_increment))
        height, width = (max(1, round(n * side / short)) for n in size)
        return height, width

    found: list[tuple[int, tuple[int, int]]] = []
    step = 0
    while step < steps:
        now = size_at(step)
        step = bisect.bisect_left(range(steps), True, lo=step, key=lambda n: size_at(n) != now)
        found.append((step, now))
    return found


def resize_to(augment: Augment, size: tuple[int, int]) -> Augment:
    """An augmentation whose images are then resized, bilinearly and with antialiasing; they become floating.

    Args:
      augment: `(key, batch) -> batch`.
      size: height and width.
    """

    def run(key: jax.Array, batch: Batch) -> Batch:
        batch = augment(key, batch)
        shape = (batch.image.shape[0], *size, batch.image.shape[-1])
        return batch._replace(image=jax.image.resize(upcast(batch.image), shape, "bilinear"))

    return run


def __dir__() -> list[str]:
    return sorted(__all__)
