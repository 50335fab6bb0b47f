"""Checksums of arrays, metadata and files: written on save, verified on load."""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv._base.files import write_atomically
from jaxconv._base.processes import own_parts

__all__ = ["SUMS", "cell_sums", "digest", "of_file", "verify", "write_sums"]

SUMS = "SHA256SUMS"


def digest(arrays: Mapping[str, Any], notes: Any = None) -> str:
    """Checksum of named arrays and a JSON value.

    Args:
      arrays: arrays by name; names, dtypes and shapes are included, their order is not.
      notes: a JSON value, independent of its formatting.

    Returns:
      64 hexadecimal digits.

    >>> digest({"a": np.zeros(2)}) == digest({"a": np.zeros([2, 1])})
    False
    """
    found = hashlib.sha256(json.dumps(notes, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        found.update(f"\n{name}\t{array.dtype.name}\t{array.shape}\n".encode(errors="surrogateescape"))
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def cell_sums(arrays: Mapping[str, Any]) -> dict[str, int]:
    """The sum over the cells of each array of a hash of place and value, modulo 2^64.

    It does not depend on how an array is divided among devices and processes: that of the array is the sum of those of
    the processes, each of which adds up only the cells that are its own. It finds accidents, not attacks.

    Args:
      arrays: NumPy arrays, or JAX arrays of any sharding, by name.

    >>> cell_sums({"a": np.zeros(2), "b": np.zeros([2, 1])})["a"] == cell_sums({"a": np.ones(2)})["a"]
    False
    """
    return {name: _own_sum(array) % 2**64 for name, array in arrays.items()}


_BLOCK = 2**16  # cells that are hashed at once: their numbers stay in the cache
_PLACE, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _own_sum(array: Any) -> int:
    strides = [math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
    parts = own_parts(array)
    return sum(_cell_sum(np.asarray(cells), sum(map(operator.mul, first, strides)), strides) for first, cells in parts)


def _cell_sum(cells: np.ndarray, start: int, strides: Sequence[int]) -> int:
    """Sum of the hashes of cells, whose places are `start` and by `strides` from there; SplitMix64 hashes."""
    if cells.size > _BLOCK and cells.ndim:
        axis = next(axis for axis, n in enumerate(cells.shape) if n > 1)
        half = cells.shape[axis] // 2
        first, second = np.split(cells, [half], axis)
        return _cell_sum(first, start, strides) + _cell_sum(second, start + half * strides[axis], strides)
    with np.errstate(over="ignore"):
        places: Any = np.uint64(start + 1) * _PLACE
        for n, stride in zip(cells.shape, strides, strict=True):
            places = np.add.outer(places, np.arange(n, dtype=np.uint64) * (np.uint64(stride) * _PLACE))
        mixed = np.asarray(places).reshape(-1)
        mixed ^= np.ascontiguousarray(cells).reshape(-1).view(f"u{cells.dtype.itemsize}")
        mixed ^= mixed >> np.uint64(30)
        mixed *= _FIRST
        mixed ^= mixed >> np.uint64(27)
        mixed *= _SECOND
        mixed ^= mixed >> np.uint64(31)
        return int(mixed.sum(dtype=np.uint64))


def write_sums(folder: Path, names: Iterable[str], coming: Mapping[str, bytes]) -> None:
    """Write a `SHA256SUMS` file, readable by `sha256sum -c`.

    Args:
      folder: folder of the files and of `SHA256SUMS`.
      names: names of existing files.
      coming: content by name of files that are written afterwards.

    Raises:
      OSError: if `SHA256SUMS` cannot be written or a file cannot be read.
    """
    sums = {name: of_file(folder / name) for name in names}
    sums |= {name: hashlib.sha256(content).hexdigest() for name, content in coming.items()}
    write_atomically(folder / SUMS, "".join(f"{found}  {name}\n" for name, found in sums.items()).encode())


def verify(folder: Path, names: Iterable[str]) -> None:
    """Verify files against the `SHA256SUMS` of their folder, if there is one.

    Args:
      folder: folder of the files.
      names: files that must be listed and unaltered.

    Raises:
      DataError: if a file or `SHA256SUMS` was altered.
      OSError: if one of them cannot be read.
    """
    try:
        text = (folder / SUMS).read_bytes().decode("ascii", "replace")
    except FileNotFoundError:
        return
    sums = {name: found for found, _, name in (line.partition("  ") for line in text.splitlines())}
    for name in names:
        if name not in sums:
            raise DataError(f"{folder / SUMS} was altered: it does not list {name}")
        if of_file(folder / name) != sums[name]:
            raise DataError(
                f"{folder / name} was altered: its checksum differs from {SUMS}\n"
                f"  fix: get the file again, or delete {folder / SUMS} to use it as it is"
            )


def of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
