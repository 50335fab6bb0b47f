"""Imbalanced classes: an order of images that draws each class equally often, and class weights."""

from __future__ import annotations

import functools
from typing import Protocol

import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv.data.dataset import Source

__all__ = ["Order", "balanced_order", "balanced_weights", "labels_of"]


class Order(Protocol):
    """The images of each step: `jaxconv.data.order.batch_indices` or another pure function like it."""

    def __call__(self, seed: int, step: int, batch_size: int, size: int) -> np.ndarray: ...


def balanced_order(labels: np.ndarray) -> Order:
    """The order that draws each class equally often.

    Images are drawn in rounds of one image of each class, in random order; a class repeats an image only when all of
    its images were drawn. Classes without images are left out.

    Args:
      labels: integers [N], of the training images.

    Returns:
      An order: a pure function, so that runs can resume anywhere.

    Raises:
      ConfigError: if there are no labels.

    >>> labels = np.array([0, 0, 0, 0, 0, 2])
    >>> drawn = balanced_order(labels)(0, 0, 8, len(labels))
    >>> np.bincount(labels[drawn]).tolist()
    [4, 0, 4]
    """
    if len(labels) == 0:
        raise ConfigError("balanced sampling needs at least one image, got none")
    members = [np.flatnonzero(labels == label).astype(np.int32) for label in np.unique(labels)]

    @functools.lru_cache(maxsize=4 * len(members))
    def shuffled(seed: int, number: int, epoch: int) -> np.ndarray:
        """The images of a class in the order of one pass over them."""
        return np.random.default_rng([seed, epoch, number + 1]).permutation(members[number])

    @functools.lru_cache(maxsize=4)
    def rounds(seed: int, number: int) -> np.ndarray:
        """The order of the classes in a round."""
        return np.random.default_rng([seed, number, 0]).permutation(len(members))

    def order(seed: int, step: int, batch_size: int, size: int) -> np.ndarray:
        found = np.empty(batch_size, np.int32)
        for place in range(batch_size):
            turn, position = divmod(step * batch_size + place, len(members))
            number = rounds(seed, turn)[position]
            epoch, index = divmod(turn, len(members[number]))
            found[place] = shuffled(seed, int(number), epoch)[index]
        return found

    return order


def balanced_weights(labels: np.ndarray, classes: int) -> list[float]:
    """Class weights inverse to the numbers of images, whose mean over the images is 1, as in scikit-learn.

    Args:
      labels: integers [N], of the training images.
      classes: number of classes; one without images weighs 0.

    >>> balanced_weights(np.array([0, 0, 0, 2]), 3)
    [0.6666666666666666, 0.0, 2.0]
    """
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    return [float(len(labels) / (present * count)) if count else 0.0 for count in counts]


def labels_of(source: Source) -> np.ndarray:
    """The labels of a source, known without reading its images.

    Raises:
      ConfigError: if the source has none: no array `labels`.
    """
    labels = getattr(source, "labels", None)
    if not isinstance(labels, np.ndarray) or labels.ndim != 1:
        raise ConfigError(
            "balanced sampling and class weights need the labels of all images; "
            f"the source {type(source).__name__} has no attribute labels, integers [N]"
        )
    return np.asarray(labels)
