"""SHA-256 checksums of arrays, metadata and files: written on save, verified on load."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv._base.files import write_atomically

__all__ = ["SUMS", "digest", "of_file", "verify", "write_sums"]

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
