"""Files of the parts of a dataset, each one file or several shards: `train.csv`, `train-00000-of-00002.parquet`."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv.data.encoded import some_of
from jaxconv.data.formats.tree import TEST_NAMES, TRAIN_NAMES, first_of, train_and_test

__all__ = ["ENVIRONMENT", "Stamp", "check_unchanged", "entries", "is_file", "part_files", "placed", "stamp"]

Stamp = tuple[int, int]  # bytes of a file, and time of its last change
ENVIRONMENT = "data.mdb"
"""The file in a folder that LMDB makes: such a folder is what a file is for other formats."""

_NAME = re.compile(r"(?P<part>.*?)(?:[-_.]?(?P<number>\d+)(?:-of-(?P<count>\d+))?)?")


def part_files(root: Path, suffix: str) -> list[list[Path]]:
    """The files of the training images, and those of the test images if there are some.

    Args:
      root: a folder of files, or of a folder for each part, or with these in its subfolder `data`, as a repository of
        Hugging Face.
      suffix: ending of the format's files, in lower case.

    Returns:
      Sorted files of each part; one part if no name is that of a part; no part if there are no such files, or folders
      of classes beside them.

    Raises:
      DataError: if a shard of `-of-00002` is missing, or a folder cannot be read.
    """
    for folder in (root, root / "data"):
        inside = [each for each in (entries(folder) if folder.is_dir() else []) if not each.name.startswith(".")]
        folders = [Path(each) for each in inside if each.is_dir() and not is_file(Path(each))]
        of_parts = [each for each in folders if each.name.lower() in (*TRAIN_NAMES, *TEST_NAMES)]
        parts: dict[str, list[Path]] = {}
        for file in (Path(each) for each in inside):
            if file.suffix.lower() == suffix and is_file(file):
                parts.setdefault(_part(file), []).append(file)
        for each in of_parts:
            if found := [Path(file) for file in entries(each) if Path(file).suffix.lower() == suffix]:
                parts.setdefault(each.name, []).extend(found)
        named = train_and_test(parts)
        trees = (each.name for each in of_parts if any(below.is_dir() for below in entries(each)))
        chosen = list(parts.values())
        if named and first_of(TRAIN_NAMES, trees) is None:
            chosen = [parts[name] for name in named]
        elif folders or not parts or folder != root:
            continue
        for shards in chosen:
            _check_complete(shards)
        return chosen if named else [sorted(file for shards in chosen for file in shards)]
    return []


def is_file(path: Path) -> bool:
    """Whether this is a file, or a folder that LMDB makes."""
    return path.is_file() or (path / ENVIRONMENT).is_file()


def entries(base: Path) -> list[os.DirEntry[str]]:
    """Entries of a folder, sorted by name.

    Raises:
      DataError: if it cannot be read.
    """
    try:
        return sorted(os.scandir(base), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"cannot read the folder {base}: {error.strerror or error}") from None


def _part(file: Path) -> str:
    found = _NAME.fullmatch(file.stem)
    return found["part"] if found else file.stem


def _check_complete(shards: list[Path]) -> None:
    """Raise DataError if shards say how many they are, and some are missing."""
    found = _NAME.fullmatch(shards[0].stem)
    if found is None or found["count"] is None:
        return
    name, width = shards[0].name, len(found["number"])
    start, end = name[: found.start("number")], name[found.end("number") :]
    expected = [f"{start}{number:0{width}}{end}" for number in range(int(found["count"]))]
    if missing := sorted({*expected} - {shard.name for shard in shards}):
        raise DataError(f"{shards[0].parent} must have {len(expected)} shards of {name}, it lacks {some_of(missing)}")


def placed(starts: np.ndarray, row: int) -> tuple[int, int]:
    """The shard of a row, and its place there.

    Args:
      starts: first row of each shard, then the number of rows: int64 [shards + 1].
      row: the row.

    >>> placed(np.array([0, 3, 3, 5]), 3)
    (2, 0)
    """
    shard = int(np.searchsorted(starts, row, "right")) - 1
    return shard, row - int(starts[shard])


def stamp(path: Path) -> Stamp:
    """What changes if a file is replaced while it is read."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def check_unchanged(path: Path, when: Stamp) -> None:
    """Raise DataError if a file has another stamp than it had."""
    if stamp(path) != when:
        raise DataError(f"{path} was changed while it was read; begin again")
