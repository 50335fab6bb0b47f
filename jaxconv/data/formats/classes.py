"""Classes of images: their names, and the labels of both parts as numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jaxconv._base.errors import DataError, did_you_mean
from jaxconv.data.encoded import Listed, some_of

__all__ = ["numbered"]

MOST_CLASSES = 1 << 16
"""Maximum number of classes without names."""


def numbered(path: Path, parts: list[Listed]) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """The labels of all parts as int32 [N], or float32 [N, targets], and the names of the classes or targets.

    Class names are those of the format; else the texts that are labels of the first part, in alphabetical order. Texts
    that are all whole numbers are class numbers.

    Args:
      path: the dataset, for messages.
      parts: the training images, and the test images if they are separate.

    Raises:
      DataError: if the parts have different classes, or a label is outside of them.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.classes != first.classes:
            raise DataError(_differences(path, first, part))
    if all(part.labels.ndim == 2 for part in parts):
        return [part.labels.astype(np.float32) for part in parts], first.classes or ()
    columns = [_whole(part.labels) for part in parts]
    if any(column.dtype.kind == "U" for column in columns):
        columns = [part.labels.astype(str) for part in parts]
        names = first.classes or tuple(np.unique(columns[0]).tolist())
        return [_looked_up(part, column, names) for part, column in zip(parts, columns, strict=True)], names
    classes = first.classes or _counted(path, columns)
    for part, column in zip(parts, columns, strict=True):
        if len(wrong := np.flatnonzero((column < 0) | (column >= len(classes)))):
            name = part.store.base / part.store.key(int(wrong[0]))
            raise DataError(f"{name}: its label must lie in 0..{len(classes) - 1}, got {column[wrong[0]]}")
    return [column.astype(np.int32) for column in columns], classes


def _whole(labels: np.ndarray) -> np.ndarray:
    """Texts that are all whole numbers as int64; other labels as they are."""
    if labels.dtype.kind != "U":
        return labels
    try:
        return labels.astype(np.int64)
    except (ValueError, OverflowError):
        return labels


def _counted(path: Path, columns: list[np.ndarray]) -> tuple[str, ...]:
    """Names of classes that are numbers from 0: the numbers."""
    low, high = min(int(column.min()) for column in columns), max(int(column.max()) for column in columns)
    if low != 0 or high >= MOST_CLASSES:
        raise DataError(
            f"{path}: labels must be names, or count classes from 0 up to {MOST_CLASSES - 1}, found {low} to {high}"
        )
    return tuple(map(str, range(high + 1)))


def _looked_up(part: Listed, labels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Numbers of class names."""
    numbers = {name: number for number, name in enumerate(names)}
    found = np.array([numbers.get(name, -1) for name in labels.tolist()], np.int32)
    if len(wrong := np.flatnonzero(found < 0)):
        name, label = part.store.base / part.store.key(int(wrong[0])), labels[wrong[0]].item()
        raise DataError(
            f"{name}: its label must be one of {some_of(names)}, the classes of the training images; got "
            f"{label!r}{did_you_mean(label, names)}"
        )
    return found


def _differences(path: Path, first: Listed, second: Listed) -> str:
    lines = []
    for part, other in ((first, second), (second, first)):
        if only := sorted(set(part.classes or ()) - set(other.classes or ())):
            lines.append(f"only {part.part} has {', '.join(only)}")
    found = "; ".join(lines) or "they have them in another order"
    return f"{path}: {first.part} and {second.part} must have the same classes; {found}"
