"""A part of a source, kept back to test on while training."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxconv.data.dataset import Arrays, Source
from jaxconv.errors import ConfigError

__all__ = ["Part", "held_back"]


@dataclasses.dataclass(frozen=True)
class Part:
    """The images of a source from `start` to before `stop`, numbered from 0.

    Args:
      source: the whole.
      start: its first image here.
      stop: the one after the last.
    """

    source: Source
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return self.source[self.start + index]


def held_back(source: Source, count: int) -> tuple[Source, Source | None]:
    """Cut the last images off.

    Args:
      source: all images; `Arrays` give `Arrays`.
      count: how many to cut off.

    Returns:
      The images before, and those cut off: None for a count of 0.

    Raises:
      ConfigError: nothing would be left.

    >>> images = Arrays(np.zeros([5, 2, 2, 1], np.uint8), np.arange(5, dtype=np.int32))
    >>> [part.labels.tolist() for part in held_back(images, 2)]
    [[0, 1, 2], [3, 4]]
    """
    if count == 0:
        return source, None
    cut = len(source) - count
    if cut <= 0:
        raise ConfigError(f"data.validation must leave images to train on; got {count:,} of {len(source):,}")
    if isinstance(source, Arrays):
        first, last = (Arrays(source.images[part], source.labels[part]) for part in (slice(cut), slice(cut, None)))
        return first, last
    return Part(source, 0, cut), Part(source, cut, len(source))
