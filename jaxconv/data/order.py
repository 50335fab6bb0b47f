"""Assignment of images to batches as a pure function of the step, so that runs can resume anywhere."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

__all__ = ["batch_epochs", "batch_indices", "masked_batch", "masked_batches"]


def batch_indices(seed: int, step: int, batch_size: int, size: int) -> np.ndarray:
    """Indices of a step's images.

    The seeded permutations of all epochs are concatenated and cut into batches: a batch may straddle two epochs, every
    image is used exactly once per epoch, and no batch is partial.

    Args:
      seed: seed of the run.
      step: step number, from 0.
      batch_size: images per step.
      size: number of images.

    Returns:
      int32 [batch_size], each in 0..size-1.

    >>> stream = np.concatenate([batch_indices(0, step, batch_size=4, size=6) for step in range(3)])
    >>> sorted(stream[:6].tolist()), sorted(stream[6:].tolist())
    ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5])
    """
    start, stop = step * batch_size, (step + 1) * batch_size
    pieces = []
    for epoch in range(start // size, (stop - 1) // size + 1):
        offset = epoch * size
        pieces.append(_permutation(seed, epoch, size)[max(start - offset, 0) : stop - offset])
    return np.concatenate(pieces)


def batch_epochs(step: int, batch_size: int, size: int) -> np.ndarray:
    """Epochs of a step's images: how often each was seen before in the order of `batch_indices`.

    Args:
      step: step number, from 0.
      batch_size: images per step.
      size: number of images.

    Returns:
      int32 [batch_size].

    >>> [batch_epochs(step, batch_size=4, size=6).tolist() for step in range(3)]
    [[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]]
    """
    return (np.arange(step * batch_size, (step + 1) * batch_size, dtype=np.int64) // size).astype(np.int32)


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    # A sequence rather than a sum: epoch 1 of seed 0 must differ from epoch 0 of seed 1.
    return np.random.default_rng([seed, epoch]).permutation(size).astype(np.int32)


def masked_batches(size: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of one shape in order, the last padded with examples of weight 0.

    Args:
      size: number of images.
      batch_size: images per batch.

    Yields:
      int32 indices [batch_size] and float32 weights [batch_size], which are 1 or 0.

    >>> [(indices.tolist(), weights.tolist()) for indices, weights in masked_batches(3, 2)]
    [([0, 1], [1.0, 1.0]), ([2, 0], [1.0, 0.0])]
    """
    for number in range(-(-size // batch_size)):
        yield masked_batch(number, size, batch_size)


def masked_batch(number: int, size: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """One of `masked_batches`.

    Args:
      number: batch number, from 0.
      size: number of images.
      batch_size: images per batch.

    Returns:
      int32 indices [batch_size] and float32 weights [batch_size], which are 1 or 0.
    """
    indices = np.arange(number * batch_size, (number + 1) * batch_size, dtype=np.int32)
    return np.where(indices < size, indices, 0).astype(np.int32), (indices < size).astype(np.float32)
