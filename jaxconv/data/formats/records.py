"""Images in ArrayRecord shards, read in any order."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv.data.formats.reading import package
from jaxconv.data.formats.shards import Stamp, check_unchanged, placed

__all__ = ["Records", "array_record", "count_records"]

_BATCH = 256  # records that are read at once


@dataclasses.dataclass(frozen=True)
class Records:
    """Records of shards.

    Args:
      base: folder of the shards.
      shards: their names.
      sums: their checksums.
      starts: first row of each, then the number of rows: int64 [shards + 1].
      stamps: bytes and modification time of each.
    """

    base: Path
    shards: tuple[str, ...]
    sums: tuple[str, ...]
    starts: np.ndarray
    stamps: tuple[Stamp, ...]

    def key(self, row: int) -> str:
        shard, record = placed(self.starts, row)
        return f"{self.shards[shard]}: record {record}"

    def mark(self, row: int) -> str:
        return self.sums[placed(self.starts, row)[0]]

    def read(self, row: int) -> bytes:
        shard, record = placed(self.starts, row)
        with _undamaged(lambda: f"{self.base / self.key(row)} is damaged"):
            return bytes(self._reader(shard).read([record])[0])

    def all(self) -> Iterator[bytes]:
        """All records in order, many at once."""
        for shard, count in enumerate(np.diff(self.starts).tolist()):
            path = self.base / self.shards[shard]
            for first in range(0, count, _BATCH):
                rows = list(range(first, min(first + _BATCH, count)))
                with _undamaged(lambda: f"{path}: a record of {rows[0]} to {rows[-1]} is damaged"):  # noqa: B023
                    found = self._reader(shard).read(rows)
                yield from map(bytes, found)

    def _reader(self, shard: int) -> Any:
        path, when = self.base / self.shards[shard], self.stamps[shard]
        check_unchanged(path, when)
        return _reader(path, when)


def array_record() -> Any:
    """The module of readers and writers.

    Raises:
      ConfigError: if it is not installed.
    """
    return package("array_record.python.array_record_module", "ArrayRecord files", "array_record")


def count_records(path: Path) -> int:
    """Number of records of a shard; 0 if it is damaged."""
    reader = _opened(path)
    records = reader.num_records() if reader.ok() else 0
    with contextlib.suppress(RuntimeError):  # that of a damaged shard
        reader.close()
    return int(records)


@contextlib.contextmanager
def _undamaged(problem: Callable[[], str]) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, IndexError) as error:
        raise DataError(f"{problem()}: {str(error).split(';')[0]}") from None


@functools.lru_cache(256)
def _reader(path: Path, when: Stamp) -> Any:
    """The reader of a shard, which threads share."""
    return _opened(path)


def _opened(path: Path) -> Any:
    return array_record().ArrayRecordReader(str(path), "readahead_buffer_size:0,max_parallelism:0")
