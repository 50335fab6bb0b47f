"""Reading of Parquet and Arrow files by pyarrow: schema, columns, and one group of rows at a time."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from jaxconv._base.files import open_file
from jaxconv.data.formats.reading import package, readable
from jaxconv.data.formats.shards import Stamp, check_unchanged

__all__ = ["Contents", "contents", "pyarrow", "row_group", "schema"]

Result = TypeVar("Result")
_CACHED_GROUPS = (
    4  # threads read neighboring rows by turns; of a shuffled order, nearly every image needs another group
)
_CACHED_FILES = 256
_LOCK = threading.Lock()  # or each thread that needs a group of rows would read it


class Contents(NamedTuple):
    """What is known of a file without reading its images.

    Args:
      sizes: rows of each group: a row group of Parquet, a record batch of Arrow.
      columns: a table of the columns that were asked for.
      mark: checksum of a Parquet file's footer, or int64 [rows], the bytes of each image of an Arrow file.
    """

    sizes: list[int]
    columns: Any
    mark: str | np.ndarray


def pyarrow() -> Any:
    """The package.

    Raises:
      ConfigError: if it is not installed.
    """
    for module in ("compute", "ipc", "parquet"):
        package(f"pyarrow.{module}", "Parquet and Arrow files")
    return package("pyarrow", "Parquet and Arrow files")


def schema(path: Path) -> Any:
    """Names, types and metadata of the columns of a file.

    Raises:
      DataError: if the file is damaged or of another format.
    """
    if _is_arrow(path):
        return _arrow(path).schema
    return _guarded(path, lambda: pyarrow().parquet.read_schema(str(path)))


def contents(path: Path, image: str, names: list[str]) -> Contents:
    """What is known of a file without reading its images.

    Args:
      path: a `.parquet` or `.arrow` file.
      image: the column of images.
      names: columns to read.

    Raises:
      DataError: if the file is damaged or of another format.
    """
    arrow = pyarrow()
    if _is_arrow(path):
        table = _arrow(path)
        chunks = table.column(image).chunks
        inner = [chunk.field("bytes") if arrow.types.is_struct(chunk.type) else chunk for chunk in chunks]
        lengths = [arrow.compute.fill_null(arrow.compute.binary_length(chunk), -1).to_numpy() for chunk in inner]
        return Contents([len(chunk) for chunk in chunks], table, np.concatenate([np.empty(0, np.int64), *lengths]))

    def read() -> tuple[list[int], Any]:
        with arrow.parquet.ParquetFile(str(path)) as file:
            groups = range(file.metadata.num_row_groups)
            return [file.metadata.row_group(group).num_rows for group in groups], file.read(columns=names)

    return Contents(*_guarded(path, read), _footer_sum(path))


def row_group(path: Path, when: Stamp, column: str, number: int) -> Any:
    """The values of a column in one group of rows, by index; the last groups are cached.

    Args:
      path: a `.parquet` or `.arrow` file.
      when: its `stamp` as it was opened first.
      column: name of the column.
      number: that of the group.

    Raises:
      DataError: if the file is damaged, or has changed since.
      OSError: if it cannot be read.
    """
    with _LOCK:
        return _arrow_chunks(path, when, column)[number] if _is_arrow(path) else _group(path, when, column, number)


def _is_arrow(path: Path) -> bool:
    return path.suffix.lower() == ".arrow"


@functools.lru_cache(_CACHED_GROUPS)
def _group(path: Path, when: Stamp, column: str, number: int) -> Any:
    check_unchanged(path, when)

    def read() -> Any:
        with pyarrow().parquet.ParquetFile(str(path), metadata=_footer(path, when)) as file:
            return file.read_row_group(number, columns=[column]).column(column)

    return _guarded(path, read)


@functools.lru_cache(_CACHED_FILES)
def _footer(path: Path, when: Stamp) -> Any:
    return pyarrow().parquet.read_metadata(str(path))


@functools.lru_cache(_CACHED_FILES)
def _arrow_chunks(path: Path, when: Stamp, column: str) -> Any:
    check_unchanged(path, when)
    return _arrow(path).column(column).chunks


def _arrow(path: Path) -> Any:
    """The table of an `.arrow` file, mapped into memory and not read."""
    arrow = pyarrow()

    def read() -> Any:
        mapped = arrow.memory_map(str(path))
        is_file = mapped.read(6) == b"ARROW1"
        mapped.seek(0)
        return (arrow.ipc.open_file if is_file else arrow.ipc.open_stream)(mapped).read_all()

    return _guarded(path, read)


def _guarded(path: Path, read: Callable[[], Result]) -> Result:
    """Call a function that reads a file by pyarrow."""
    with readable(path, pyarrow().ArrowException):
        return read()


def _footer_sum(path: Path) -> str:
    """Checksum of a Parquet file's footer, which has the places, sizes and extremes of its columns."""
    with open_file(path) as file:
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, 2)
        return hashlib.sha256(file.read()).hexdigest()
