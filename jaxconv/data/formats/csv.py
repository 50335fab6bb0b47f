"""CSV files of paths and labels."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv._base.files import read_text
from jaxconv.data.encoded import Listed, some_of
from jaxconv.data.formats.columns import Columns, check_numbers, present
from jaxconv.data.formats.folder import Files

__all__ = ["csv_table"]

_SEPARATORS = {".csv": ",", ".tsv": "\t"}


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
    wanted, lines = _rows(path, columns)
    images, *values = zip(*lines, strict=True)
    store = Files(path.parent, images, _sizes(path, images))
    if not columns.targets:
        return Listed(path.name, store, np.array(values[0]))
    return Listed(path.name, store, _numbers(path, wanted[1:], values), columns.targets)


def _rows(path: Path, columns: Columns) -> tuple[list[str], list[list[str]]]:
    """Names of the columns that are read, and their values in each line."""
    lines: list[list[str]] = []
    try:
        text = io.StringIO(read_text(path), newline="")
        reader = csv.reader(text, delimiter=_SEPARATORS[path.suffix.lower()], strict=True)
        header = [name.strip() for name in next(reader, [])]
        wanted = [present(path, "image_column", columns.image or "path", header)]
        wanted += [present(path, "targets", name, header) for name in columns.targets]
        wanted += [] if columns.targets else [present(path, "label_column", columns.label or "label", header)]
        places = [header.index(name) for name in wanted]
        for row in filter(any, reader):
            values = [row[place].strip() if place < len(row) else "" for place in places]
            if "" in values:
                raise DataError(f"{path}, line {reader.line_num}: {wanted[values.index('')]} has no value")
            lines.append(values)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if not lines:
        raise DataError(f"{path} lists no images")
    return wanted, lines


def _sizes(path: Path, files: tuple[str, ...]) -> tuple[int, ...]:
    """Bytes of each file."""
    sizes, lost, twice = [], [], []
    seen: set[str] = set()
    for file in files:
        place = os.path.normpath(file)
        twice += [file] if place in seen else []
        seen.add(place)
        try:
            sizes.append((path.parent / file).stat().st_size)
        except OSError:
            lost.append(file)
    if lost:
        raise DataError(f"{path} lists files that are not in {path.parent}: {some_of(lost)}")
    if twice:
        raise DataError(f"{path} lists files twice: {some_of(twice)}; remove all but one line of each")
    return tuple(sizes)


def _numbers(path: Path, names: list[str], values: list[Any]) -> np.ndarray:
    """float64 [N, targets] of texts."""
    found = np.empty([len(values[0]), len(names)])
    for column, (name, texts) in enumerate(zip(names, values, strict=True)):
        for row, text in enumerate(texts):
            try:
                found[row, column] = float(text)
            except ValueError:
                raise DataError(f"{path}: {name} must be numbers, got {text!r} in row {row}") from None
    check_numbers(path, names, found)
    return found
