"""The format of a dataset of images, recognized by its path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data.decode import Interpolation
from jaxconv.data.encoded import Listed
from jaxconv.data.formats.arrow import arrow_table, saved_parts
from jaxconv.data.formats.columns import Columns
from jaxconv.data.formats.csv import csv_table
from jaxconv.data.formats.folder import folder
from jaxconv.data.formats.hdf5 import hdf5_parts, hdf5_table
from jaxconv.data.formats.lmdb import lmdb_parts, lmdb_table
from jaxconv.data.formats.packed import is_packed, packed
from jaxconv.data.formats.shards import is_file, part_files
from jaxconv.data.formats.tar import tar_shards
from jaxconv.data.formats.tfds import build_parts, built_table
from jaxconv.data.formats.zip import zip_tree
from jaxconv.data.remote import hub_name, hub_parts, local

__all__ = ["Parts", "listed"]

Parts = tuple[Listed, Listed | None]
"""Training images and test images; None if these are not separate."""


Read = Callable[[list[Path], Columns], Listed]
"""`(files of a part, columns) -> images`."""


class Table(NamedTuple):
    """A format whose images have labels in columns with names.

    Args:
      read: the reader.
      parts: `file -> parts`: those in one file, as paths below it.
    """

    read: Read
    parts: Callable[[Path], list[Path]] = lambda path: [path]


TABLES = {
    ".csv": Table(csv_table),
    ".tsv": Table(csv_table),
    ".parquet": Table(arrow_table),
    ".arrow": Table(arrow_table),
    ".tar": Table(tar_shards),
    ".h5": Table(hdf5_table, hdf5_parts),
    ".hdf5": Table(hdf5_table, hdf5_parts),
    ".lmdb": Table(lmdb_table, lmdb_parts),
}
"""Formats by the ending of a file."""
FOLDERS = ((saved_parts, arrow_table), (build_parts, built_table))
"""Formats of folders: `folder -> files of each part`, none if it is of another format; and the reader of these."""


def listed(
    root: str | Path, columns: Columns, size: int, channels: int, interpolation: Interpolation | None = None
) -> tuple[Path, Parts]:
    """The images of a folder or file, and its path.

    Args:
      root: the folder or file, its URL, or `hf://` and the name of a dataset of Hugging Face's hub.
      columns: names of columns, for tables.
      size: side of the square that images are wanted of.
      channels: number of channels that are wanted.
      interpolation: filter of the resizing that is wanted of packed images; None for any.

    Raises:
      ConfigError: if columns are given, but the format has none; if a package is missing.
      DataError: if there are no images, or they or their labels are not those of a format.
    """
    if (name := hub_name(root)) is not None:
        return Path(name), _read((arrow_table, hub_parts(name)), columns)
    path = local(root)
    if is_packed(path):
        return path, packed(path, size, channels, interpolation)
    if not path.exists():
        raise DataError(f"data.root = {path} does not exist; it must be a folder or a file of images")
    if found := _tables(path):
        return path, _read(found, columns)
    if columns.given:
        raise ConfigError(f"data.{columns.given[0]}: must be for a table, {', '.join(TABLES)}; got {path}")
    if path.is_dir():
        return path, folder(path)
    if path.suffix.lower() != ".zip":
        endings = ", ".join((".zip", *TABLES))
        raise DataError(f"data.root = {path} must be a folder of images, or end in {endings}: it is a file")
    return path, zip_tree(path)


def _read(found: tuple[Read, list[list[Path]]], columns: Columns) -> Parts:
    read, parts = found
    train, *test = (read(files, columns) for files in parts)
    return train, test[0] if test else None


def _tables(path: Path) -> tuple[Read, list[list[Path]]] | None:
    """The reader of the tables at a path, and the files of each part."""
    if is_file(path):
        suffix = ".lmdb" if path.is_dir() else path.suffix.lower()
        return (TABLES[suffix].read, _of_one(suffix, path)) if suffix in TABLES else None
    for find, read in FOLDERS:
        if parts := find(path):
            return read, parts
    for suffix, table in TABLES.items():
        if parts := part_files(path, suffix):
            return table.read, _of_one(suffix, parts[0][0]) if len(parts) == len(parts[0]) == 1 else parts
    return None


def _of_one(suffix: str, path: Path) -> list[list[Path]]:
    """The parts in one file."""
    return [[part] for part in TABLES[suffix].parts(path)]
