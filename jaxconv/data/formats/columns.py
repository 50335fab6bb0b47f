"""Columns of tables: which of them are images, labels and targets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxconv._base.errors import DataError, nearest
from jaxconv.data.encoded import some_of

__all__ = ["Columns", "check_numbers", "present"]


class Columns(NamedTuple):
    """Names of columns.

    Args:
      image: of the images; the format's default if None.
      label: of the labels; likewise.
      targets: of numbers that are labels, for regression.
    """

    image: str | None = None
    label: str | None = None
    targets: tuple[str, ...] = ()


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


def check_numbers(path: Path, names: Sequence[str], values: np.ndarray) -> None:
    """Raise DataError if targets [N, targets] are not finite."""
    if len(wrong := np.argwhere(~np.isfinite(values))):
        row, column = wrong[0]
        raise DataError(
            f"{path}: {names[column]} must be a finite number in every row, got {values[row, column]} in row {row}"
        )
