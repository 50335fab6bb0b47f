"""CSV files of paths and labels."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv._base.files import read_text
from jaxconv.data.encoded import Listed, Store, some_of
from jaxconv.data.formats.columns import Columns, numbers, present
from jaxconv.data.formats.folder import Files

__all__ = ["csv_table", "listed_by"]

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_PRESENT = {"0": 0.0, "0.0": 0.0, "false": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0}
"""Labels that are absent or present, as tables write them."""


class Line(NamedTuple):
    """A line of a table: its number, from 1, and its cells in the columns that are read."""

    number: int
    cells: list[str]


def csv_table(files: list[Path], columns: Columns) -> Listed:
    """The images that a CSV file lists, with paths relative to its folder.

    Args:
      files: one `.csv` file, or `.tsv` with tabs; its first line has the names of the columns.
      columns: `path` and `label` if they are not given.

    Raises:
      DataError: if there are several files, a column is missing, a value is missing or not of its column's kind, a path
        is listed twice, or a file does not exist.
    """
    path, *others = files
    if others:
        raise DataError(f"{path.parent} must have one such file, found {some_of(files)}; data.root names one")

    def store(names: Sequence[str]) -> tuple[Store, list[str]]:
        sizes = [_size(path.parent / name) for name in names]
        lost = [name for name, size in zip(names, sizes, strict=True) if size is None]
        return Files(path.parent, tuple(names), tuple(size or 0 for size in sizes)), lost

    return listed_by(path, columns, store)


def listed_by(path: Path, columns: Columns, store: Callable[[Sequence[str]], tuple[Store, list[str]]]) -> Listed:
    """The images that a table lists.

    Args:
      path: the table.
      columns: `path` and `label` if they are not given.
      store: makes a store of images with these names; returns those that do not exist, too.

    Raises:
      DataError: as `csv_table`.
    """
    names = [columns.image or "path", *(columns.numbers or [columns.label or "label"])]
    lines = _lines(path, names, columns)

    def place(row: int) -> str:
        return f"{path}, line {lines[row].number}"

    first: dict[str, Line] = {}
    for line in lines:
        if (before := first.setdefault(os.path.normpath(line.cells[0]), line)) is not line:
            raise DataError(
                f"{path}, line {line.number}: {line.cells[0]} is listed in line {before.number} already; "
                "remove one of the two"
            )
    found, lost = store([line.cells[0] for line in lines])
    if lost:
        unknown = {*lost}
        where = [f"{line.cells[0]} (line {line.number})" for line in lines if line.cells[0] in unknown]
        raise DataError(f"{path} lists images that are not in {found.base}: {some_of(where)}")
    if not columns.numbers:
        return Listed(path.name, found, np.array([line.cells[1] for line in lines]), where=place)
    values = np.array([[_number(path, line, k, columns) for k in range(len(columns.numbers))] for line in lines])
    return Listed(path.name, found, numbers(columns, values, place), columns.numbers, where=place)


def _lines(path: Path, names: list[str], columns: Columns) -> list[Line]:
    """The cells of some columns in each line that is not blank."""
    keys = ["image_column", *([columns.key] * len(columns.numbers) or ["label_column"])]
    lines: list[Line] = []
    try:
        text = io.StringIO(read_text(path), newline="")
        reader = csv.reader(text, delimiter=_SEPARATORS[path.suffix.lower()], strict=True)
        header = [name.strip() for name in next(reader, [])]
        places = [header.index(present(path, key, name, header)) for key, name in zip(keys, names, strict=True)]
        if twice := [name for name in names if header.count(name) > 1]:
            raise DataError(f"{path} has two columns {twice[0]!r}; remove or rename one")
        number = reader.line_num + 1
        for row in reader:
            if any(row):
                cells = [row[place].strip() if place < len(row) else "" for place in places]
                lines.append(Line(number, cells))
                if "" in cells:
                    _check_empty(path, lines[-1], len(row), places, names, columns)
            number = reader.line_num + 1
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if not lines:
        raise DataError(f"{path} lists no images")
    return lines


def _check_empty(path: Path, line: Line, length: int, places: list[int], names: list[str], columns: Columns) -> None:
    """Raise DataError at a cell that is empty, but for one of several labels, whose image has none."""
    for number, cell in enumerate(line.cells):
        may_be_empty = columns.separator is not None and number > 0 and places[number] < length
        if not (cell or may_be_empty):
            raise DataError(f"{path}, line {line.number}: {names[number]} has no value")


def _number(path: Path, line: Line, column: int, columns: Columns) -> float:
    """A target, or 0 or 1 for a label."""
    text = line.cells[1 + column]
    try:
        return float(text) if columns.targets else _PRESENT[text.lower()]
    except (ValueError, KeyError):
        must = "a finite number" if columns.targets else "0 or 1"
        raise DataError(f"{path}, line {line.number}: {columns.numbers[column]} must be {must}, got {text!r}") from None


def _size(path: Path) -> int | None:
    """Bytes of a file; None if it does not exist."""
    try:
        return path.stat().st_size
    except OSError:
        return None
