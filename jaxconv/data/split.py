"""Splits of a source, such as a held-out validation set."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv.data.balance import labels_of
from jaxconv.data.dataset import Arrays, Source, label_struct
from jaxconv.data.labels import taken

__all__ = ["Part", "held_back", "stratified"]


@dataclasses.dataclass(frozen=True)
class Part:
    """The images of a source from `start` to before `stop`, numbered from 0.

    Args:
      source: the complete source.
      start: index of the first image.
      stop: index after the last image.
    """

    source: Source
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def labels(self) -> np.ndarray:
        """The classes of its images, if the source knows them without reading images."""
        return labels_of(self.source)[self.start : self.stop]

    @property
    def label_struct(self) -> Any:
        """Shape and dtype of a label."""
        return label_struct(self.source)

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return self.source[self.start + index]


def held_back(source: Source, count: int) -> tuple[Source, Source | None]:
    """Hold out the last images.

    Args:
      source: all images; `Arrays` give `Arrays`.
      count: number of images to hold out.

    Returns:
      The remaining images, and those held out (None for a count of 0).

    Raises:
      ConfigError: if nothing would remain.

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
        first, last = (
            Arrays(source.images[part], taken(source.labels, part)) for part in (slice(cut), slice(cut, None))
        )
        return first, last
    return Part(source, 0, cut), Part(source, cut, len(source))


def stratified(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Stratified split: every class is divided in the same ratio.

    Args:
      labels: int [N].
      share: fraction of each class for the second part, rounded; at least one image of a class of two or more, and
        never all.
      seed: seed of the random choice.

    Returns:
      Sorted indices of both parts; together every index once.

    >>> first, second = stratified(np.array([0, 0, 0, 0, 1, 1, 1, 1, 2]), share=0.25, seed=0)
    >>> len(first), np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])[second].tolist()
    (7, [0, 1])
    """
    generator = np.random.default_rng(seed)
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([np.empty(0, np.int64)], [np.empty(0, np.int64)])
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        cut = min(max(round(share * len(members)), 1), len(members) - 1)
        parts[1].append(members[:cut])
        parts[0].append(members[cut:])
    first, second = (np.sort(np.concatenate(part)) for part in parts)
    return first, second
