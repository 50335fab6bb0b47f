"""Columns of tables: which of them are images, labels and targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxconv._base.errors import ConfigError, DataError, nearest
from jaxconv.data.encoded import some_of

__all__ = ["Columns", "check_columns", "no_numbers", "numbers", "present", "text_label"]


class Columns(NamedTuple):
    """Names of columns.

    Args:
      image: of the images; the format's default if None.
      label: of the labels; likewise.
      targets: of numbers to predict, for regression.
      labels: of 0 and 1, one for each label, for multi-label classification.
      separator: of several labels in the column `label`, likewise.
    """

    image: str | None = None
    label: str | None = None
    targets: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    separator: str | None = None

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the columns of numbers, which are read instead of `label`."""
        return self.targets or self.labels

    @property
    def given(self) -> list[str]:
        """Keys of the config that name a column."""
        keys = "image_column", "label_column", "targets", "labels", "label_separator"
        return [key for key, value in zip(keys, self, strict=True) if value not in (None, ())]

    @property
    def key(self) -> str:
        """Key of the config that names these."""
        return "targets" if self.targets else "labels"


def check_columns(columns: Columns) -> list[str]:
    """A line for each key of the config that contradicts another."""
    lines = []
    given = [key for key in columns.given if key not in ("image_column", "label_column")]
    if len(given) > 1:
        lines.append(f"data.{given[0]}: at most one of targets, labels and label_separator, got also {given[1]}")
    if len(columns.labels) == 1:
        fix = f"data.label_column = {columns.labels[0]!r} makes it two classes"
        lines.append(f"data.labels: must name at least two columns of 0 and 1, got {columns.labels[0]}; {fix}")
    if columns.separator == "":
        lines.append("data.label_separator: must not be empty")
    for key in ("targets", "labels"):
        names = getattr(columns, key)
        if twice := sorted({name for name in names if names.count(name) > 1}):
            lines.append(f"data.{key}: must name each column once, got {', '.join(twice)} twice")
    return lines


def no_numbers(columns: Columns, path: Path) -> None:
    """Raise ConfigError if columns of numbers are asked for."""
    if columns.numbers:
        raise ConfigError(f"data.{columns.key} are columns of tables; {path} has none")


def present(path: Path, key: str, name: str, known: Iterable[str]) -> str:
    """The name of a column.

    Args:
      path: the table.
      key: key of the config that names the column.
      name: the column.
      known: those of the table.

    Raises:
      DataError: if the table has no such column.

    >>> present(Path("a.csv"), "label_column", "label", ["path", "labels"])
    Traceback (most recent call last):
    jaxconv.DataError: a.csv must have a column 'label', found path, labels; data.label_column = 'labels'?
    """
    known = list(known)
    if name not in known:
        near = nearest(name, known)
        fix = f"data.{key} = {near!r}?" if near else f"data.{key} names another"
        raise DataError(f"{path} must have a column {name!r}, found {some_of(known, 20) or 'none'}; {fix}")
    return name


def text_label(place: str, content: bytes) -> str:
    """A label that is stored as text.

    Args:
      place: where it is, for messages.
      content: its bytes.

    Raises:
      DataError: if it is no UTF-8, or empty.

    >>> text_label("x.tar/1.cls", b" dog ")
    'dog'
    """
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise DataError(f"{place} must be a class number or name in UTF-8, got {content[:20]!r}")
    return text


def numbers(columns: Columns, values: np.ndarray, place: Callable[[int], str]) -> np.ndarray:
    """The values of columns of numbers as labels: float32 [N, targets], or int32 [N, labels] of 0 and 1.

    Args:
      columns: the names of the columns.
      values: float64 [N, columns].
      place: `row -> place`, for messages.

    Raises:
      DataError: if a target is not finite, or a label neither 0 nor 1.

    >>> numbers(Columns(labels=("a", "b")), np.array([[0, 1], [2, 0]]), "x.csv, line {}".format)
    Traceback (most recent call last):
    jaxconv.DataError: x.csv, line 1: a must be 0 or 1, got 2
    """
    with np.errstate(over="ignore"):
        converted = values.astype(np.float32 if columns.targets else np.float64)
    fits = np.isfinite(converted) if columns.targets else (values == 0) | (values == 1)
    if len(wrong := np.argwhere(~fits)):
        row, column = wrong[0].tolist()
        must = "a finite number" if columns.targets else "0 or 1"
        raise DataError(f"{place(row)}: {columns.numbers[column]} must be {must}, got {values[row, column]:g}")
    return converted if columns.targets else values.astype(np.int32)
