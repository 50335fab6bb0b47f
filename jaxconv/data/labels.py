"""Labels of images: a class, several labels that are present or absent, a number for each target, or a mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxconv._base.errors import DataError
from jaxconv.data.spatial import Mask

__all__ = ["as_label", "checked_labels", "kind_of", "label_problem", "one_hot", "range_problem", "stacked", "taken"]


def taken(labels: Any, index: Any) -> Any:
    """The labels at an index, indices or a slice."""
    return jax.tree.map(lambda values: values[index], labels)


def stacked(labels: Sequence[Any]) -> Any:
    """Labels of single images as those of a batch.

    >>> stacked([as_label(3), as_label(5)])
    array([3, 5], dtype=int32)
    """
    return jax.tree.map(lambda *values: np.stack(values), *labels)


def kind_of(labels: np.ndarray) -> str:
    """Type and shape of labels, for messages.

    >>> kind_of(np.zeros([4, 2], np.int32))
    'int32 [N, 2]'
    """
    return f"{labels.dtype} [{', '.join(map(str, ('N', *labels.shape[1:])))}]"


def one_hot(labels: np.ndarray) -> bool:
    """Whether labels are one-hot: [N, labels], each row 1 in one place and 0 elsewhere.

    >>> one_hot(np.array([[0, 1], [1, 0]])), one_hot(np.array([[0, 1], [1, 1]])), one_hot(np.array([0, 1]))
    (True, False, False)
    """
    return bool(labels.ndim == 2 and labels.size and np.isin(labels, (0, 1)).all() and (labels.sum(1) == 1).all())


def as_label(label: Any) -> Any:
    """The label of one image as arrays: int32 [] or [labels], float32 [targets], or a `Mask` of values [H, W]."""
    if isinstance(label, Mask):
        return Mask(np.asarray(label.values), label.outside)
    array = np.asarray(label)
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int32)


def checked_labels(labels: Any, images: np.ndarray) -> Any:
    """Labels of images in memory, of the dtype that batches have.

    Args:
      labels: integers [N]; integers or bools [N, labels]; floating [N, targets]; or a `Mask` of integers [N, H, W].
      images: [N, H, W, C].

    Raises:
      DataError: if they are none of these, or do not fit the images.
    """
    if isinstance(labels, Mask):
        values = labels.values
        if values.dtype.kind not in "iu" or values.ndim != 3:
            raise DataError(f"masks must be integers [N, H, W], not {values.dtype} {list(values.shape)}")
        if len(values) != len(images):
            raise DataError(f"{len(images):,} images but {len(values):,} masks")
        if values.shape != images.shape[:3]:
            sizes = ["×".join(map(str, array.shape[1:3])) for array in (values, images)]
            raise DataError(f"masks must be as large as their images, found {sizes[0]} for {sizes[1]}")
        return labels
    if labels.ndim == 2 and labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            first = int(np.flatnonzero(~np.isfinite(labels).all(1))[0])
            raise DataError(f"labels must be finite, those of image {first} are {labels[first].tolist()}")
        labels = labels.astype(np.float32, copy=False)
    elif labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind in "iub":
        if (wrong := (labels != 0) & (labels != 1)).any():
            first, column = np.argwhere(wrong)[0]
            raise DataError(f"several labels of an image must be 0 or 1, image {first} has {labels[first, column]}")
        labels = labels.astype(np.int32, copy=False)
    elif labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"labels must be integers [N], not {labels.dtype} {list(labels.shape)}")
    else:
        if np.any(labels != labels.astype(np.int32)):
            raise DataError(f"labels must be int32, found {labels.min()} to {labels.max()}")
        labels = labels.astype(np.int32, copy=False)
    if len(images) != len(labels):
        raise DataError(f"{len(images):,} images but {len(labels):,} labels")
    return labels


def range_problem(labels: Any, classes: int) -> str:
    """The problem of labels in memory that do not fit the classes or targets; empty if there is none."""
    if isinstance(labels, Mask):
        wrong = _outside(labels, classes)
        first = int(np.flatnonzero(wrong.any((1, 2)))[0]) if wrong.any() else None
        return "" if first is None else f"masks {_mask_words(labels, wrong, classes)} in image {first}"
    if labels.ndim == 2:
        kind = "numbers" if labels.dtype.kind == "f" else "of 0 or 1"
        return "" if labels.shape[1] == classes else f"labels must be {classes} {kind}, but are {labels.shape[1]}"
    low, high = labels.min(), labels.max()
    return "" if 0 <= low <= high < classes else f"labels must lie in 0..{classes - 1}, but go from {low} to {high}"


def label_problem(label: Any, classes: int) -> str:
    """The same of one image's label."""
    if isinstance(label, Mask):
        wrong = _outside(label, classes)
        return f"its mask {_mask_words(label, wrong, classes)}" if wrong.any() else ""
    if np.ndim(label) == 1:
        if np.asarray(label).dtype.kind in "iu" and not np.isin(label, (0, 1)).all():
            return f"its labels must be 0 or 1, got {np.asarray(label).tolist()}"
        return "" if len(label) == classes else f"its label must be {classes} numbers, got {len(label)}"
    return "" if 0 <= label < classes else f"its label must lie in 0..{classes - 1}, got {label}"


def _outside(mask: Mask, classes: int) -> np.ndarray:
    """Where a mask has no class."""
    values = np.asarray(mask.values)
    return ((values < 0) | (values >= classes)) & (values != mask.outside)


def _mask_words(mask: Mask, wrong: np.ndarray, classes: int) -> str:
    value = np.asarray(mask.values)[wrong][0]
    return f"must have classes 0..{classes - 1}, or {mask.outside} where none is known; found {value}"
