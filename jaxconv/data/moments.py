"""Exact mean and standard deviation of images."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["histogram", "moments", "moments_of"]

_CHUNK = 1 << 22


def moments(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, computed exactly from its histogram.

    Args:
      images: uint8 [N, H, W, C].

    Returns:
      C means and C standard deviations in pixel units; 1 for the deviation of a constant channel.

    >>> moments(np.array([0, 0, 2, 2], np.uint8).reshape(1, 2, 2, 1))
    ((1.0,), (1.0,))
    """
    return moments_of(histogram(images))


def histogram(images: np.ndarray) -> np.ndarray:
    """How often each channel has each value.

    Args:
      images: uint8 [N, H, W, C].

    Returns:
      int [C, 256].

    >>> histogram(np.array([0, 0, 2, 2], np.uint8).reshape(1, 2, 2, 1))[:, :3].tolist()
    [[2, 0, 2]]
    """
    found = np.zeros([images.shape[-1], 256], np.int64)
    for channel in range(images.shape[-1]):
        plane = images[..., channel]
        parts = np.array_split(plane, max(1, plane.size // _CHUNK))
        found[channel] = np.sum([np.bincount(part.ravel(), minlength=256) for part in parts], axis=0)
    return found


def moments_of(counts: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`moments` of images whose `histogram` is int [C, 256]; zeros and ones if it is empty.

    >>> moments_of(np.eye(1, 256, 7, dtype=int))
    ((7.0,), (1.0,))
    """
    means, deviations = [], []
    values = np.arange(256)
    for count in counts:
        # Exact integer arithmetic: n Σx² - (Σx)² is exact in Python's integers.
        n, total, squares = int(count.sum()), int(count @ values), int(count @ values**2)
        means.append(total / n if n else 0.0)
        deviations.append((n and math.sqrt(n * squares - total * total) / n) or 1.0)
    return tuple(means), tuple(deviations)
