"""Classes of images: their names, and the labels of both parts as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxconv._base.errors import ConfigError, DataError, did_you_mean
from jaxconv.data.encoded import Listed, some_of
from jaxconv.data.labels import kind_of

__all__ = ["numbered"]

MOST_CLASSES = 1 << 16
"""Maximum number of classes without names."""


class _Labels(NamedTuple):
    """The labels of a part: integers or texts [M], and the number of them at each image, [N]."""

    part: Listed
    values: np.ndarray
    counts: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """Row of the image of each label, [M]."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def place(self, index: int) -> str:
        return self.part.place(int(self.rows[index]))


def numbered(path: Path, parts: list[Listed], separator: str | None = None) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """The labels of all parts as numbers, and the names of the classes, labels or targets.

    Class names are those of the format; else the texts that are labels of the first part, in alphabetical order. Texts
    that are all whole numbers are class numbers.

    Args:
      path: the dataset, for messages.
      parts: the training images, and the test images if they are separate.
      separator: of several labels in a text, if each image has any number of them.

    Returns:
      For each part classes, int32 [N]; 0 and 1, int32 [N, labels]; or targets, float32 [N, targets]. And the names.

    Raises:
      ConfigError: if there is a separator, but labels are not texts.
      DataError: if the parts have different classes, a label is outside of them, or occurs twice at one image.
    """
    first = parts[0]
    for part in parts[1:]:
        if part.classes != first.classes:
            raise DataError(_differences(path, first, part))
    if len({_kind(part) for part in parts}) > 1:
        found = ", ".join(
            f"{part.part} {'lists of ' * (part.counts is not None)}{kind_of(part.labels)}" for part in parts
        )
        raise DataError(f"{path}: the labels of both parts must be of one kind, found {found}")
    if first.labels.ndim == 2:
        kind = np.float32 if first.labels.dtype.kind == "f" else np.int32
        names = first.classes or tuple(map(str, range(first.labels.shape[1])))
        return [part.labels.astype(kind) for part in parts], names
    if first.counts is None and separator is None:
        return _numbers(path, [_Labels(part, part.labels, np.ones(len(part.labels), int)) for part in parts])
    given = [_lists(part, separator) for part in parts]
    known = first.classes or len(given[0].values)
    numbers, names = _numbers(path, given) if known else ([], ())
    if len(names) < 2:
        raise DataError(f"{path} must have at least two labels, found {', '.join(names) or 'none'}")
    return [_present(labels, own, len(names)) for labels, own in zip(given, numbers, strict=True)], names


def _kind(part: Listed) -> tuple[object, ...]:
    """What the labels of all parts must agree in."""
    several = part.labels.ndim == 2
    return part.counts is not None, several and part.labels.dtype.kind == "f", part.labels.shape[1:]


def _numbers(path: Path, parts: list[_Labels]) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Class numbers of all labels, int32 [M], and the names of the classes."""
    classes = parts[0].part.classes
    columns = [_whole(labels.values) for labels in parts]
    if any(column.dtype.kind == "U" for column in columns):
        columns = [labels.values.astype(str) for labels in parts]
        names = classes or tuple(np.unique(columns[0]).tolist())
        return [_looked_up(labels, column, names) for labels, column in zip(parts, columns, strict=True)], names
    classes = classes or _counted(path, columns)
    for labels, column in zip(parts, columns, strict=True):
        if len(wrong := np.flatnonzero((column < 0) | (column >= len(classes)))):
            place = labels.place(int(wrong[0]))
            raise DataError(f"{place}: its label must lie in 0..{len(classes) - 1}, got {column[wrong[0]]}")
    return [column.astype(np.int32) for column in columns], classes


def _lists(part: Listed, separator: str | None) -> _Labels:
    """The labels of a part as lists: those of the format, or what a separator divides texts into."""
    if part.counts is not None:
        return _Labels(part, part.labels, part.counts)
    if part.labels.dtype.kind != "U" or separator is None:
        raise ConfigError(f"data.label_separator: labels must be texts, {part.part} has {part.labels.dtype}")
    texts = [[label for each in text.split(separator) if (label := each.strip())] for text in part.labels.tolist()]
    counts = np.array([len(each) for each in texts])
    return _Labels(part, np.array([label for each in texts for label in each], str), counts)


def _present(labels: _Labels, numbers: np.ndarray, count: int) -> np.ndarray:
    """Which labels each image has: 0 or 1, int32 [N, labels]."""
    found, rows = np.zeros([len(labels.counts), count], np.int32), labels.rows
    np.add.at(found, (rows, numbers), 1)
    if len(twice := np.flatnonzero(found[rows, numbers] > 1)):
        raise DataError(f"{labels.place(int(twice[0]))}: {labels.values[twice[0]].item()!r} is among its labels twice")
    return found


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
    present = np.concatenate(columns)
    low, high = int(present.min()), int(present.max())
    if low != 0 or high >= MOST_CLASSES:
        raise DataError(
            f"{path}: labels must be names, or count classes from 0 up to {MOST_CLASSES - 1}, found {low} to {high}"
        )
    return tuple(map(str, range(high + 1)))


def _looked_up(labels: _Labels, values: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Numbers of class names."""
    numbers = {name: number for number, name in enumerate(names)}
    found = np.array([numbers.get(name, -1) for name in values.tolist()], np.int32)
    if len(wrong := np.flatnonzero(found < 0)):
        label = values[wrong[0]].item()
        raise DataError(
            f"{labels.place(int(wrong[0]))}: its label must be one of {some_of(names)}, the classes of the training "
            f"images; got {label!r}{did_you_mean(label, names)}"
        )
    return found


def _differences(path: Path, first: Listed, second: Listed) -> str:
    lines = []
    for part, other in ((first, second), (second, first)):
        if only := sorted(set(part.classes or ()) - set(other.classes or ())):
            lines.append(f"only {part.part} has {', '.join(only)}")
    found = "; ".join(lines) or "they have them in another order"
    return f"{path}: {first.part} and {second.part} must have the same classes; {found}"
