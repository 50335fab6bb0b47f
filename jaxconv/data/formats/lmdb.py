"""LMDB environments of image files: with classes in their keys, with numbered labels, or with a table of labels."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv.data.encoded import Listed, Store, some_of
from jaxconv.data.formats.columns import Columns, no_numbers, text_label
from jaxconv.data.formats.csv import listed_by
from jaxconv.data.formats.reading import package, readable
from jaxconv.data.formats.shards import ENVIRONMENT, Stamp, check_unchanged, stamp
from jaxconv.data.formats.tree import SUFFIXES, train_and_test

__all__ = ["Values", "lmdb_parts", "lmdb_table"]

TABLE = "labels.csv"
_OPEN: dict[Path, tuple[Stamp, int, Any]] = {}  # environments by their paths: stamp, process, and the environment
_LOCK = threading.Lock()
_COUNT = "num-samples"
_MUST = "class/name.jpg, or image-000000001 with label-000000001, or be listed in labels.csv beside data.mdb"


@dataclasses.dataclass(frozen=True)
class Values:
    """Images that are the values of keys. Each process opens the environment once; its threads share it.

    Args:
      base: folder of the environment, or its only file.
      keys: the keys.
      sizes: bytes of each value.
      when: stamp of its data.
    """

    base: Path
    keys: tuple[str, ...]
    sizes: tuple[int, ...]
    when: Stamp

    def key(self, row: int) -> str:
        return self.keys[row]

    def mark(self, row: int) -> int:
        return self.sizes[row]

    def read(self, row: int) -> bytes:
        check_unchanged(_data(self.base), self.when)
        return _value(self.base, self.keys[row], self.when)


def lmdb_parts(path: Path) -> list[Path]:
    """The training images and the test images of an environment, by the first folder of its keys; itself without these.

    Args:
      path: the environment.

    Raises:
      ConfigError: if lmdb is missing.
      DataError: if it is truncated, damaged or of another format.
    """
    folders = {key.partition("/")[0] for key in _sizes(path, stamp(_data(path))) if key.count("/") > 1}
    return [path / name for name in train_and_test(sorted(folders))] or [path]


def lmdb_table(files: list[Path], columns: Columns) -> Listed:
    """The images of an environment.

    Args:
      files: one environment, or the path of a folder below it.
      columns: of `labels.csv`; or the words of keys, `image` and `label` if they are not given.

    Raises:
      ConfigError: if lmdb is missing, or columns of numbers are given, but no table.
      DataError: if there are several, one is truncated, damaged or of another format, keys are not of this format, or
        an image has no label or a label no image.
    """
    given, *others = files
    if others:
        raise DataError(f"{given.parent} must have one environment of each part, found {some_of(files)}")
    path = next((each for each in (given, *given.parents) if _data(each).is_file()), given)
    inner = "" if path == given else f"{given.relative_to(path).as_posix()}/"
    when = stamp(_data(path))
    sizes = {key: size for key, size in _sizes(path, when).items() if key.startswith(inner)}

    def store(keys: Sequence[str]) -> tuple[Store, list[str]]:
        found = Values(path, tuple(keys), tuple(sizes.get(key, 0) for key in keys), when)
        return found, [key for key in keys if key not in sizes]

    if (path / TABLE).is_file():
        return listed_by(path / TABLE, columns, store)
    no_numbers(columns, path)
    if not sizes:
        raise DataError(f"{path} holds no images")
    if pairs := _pairs(path, columns, sizes):
        texts = [text_label(str(path / label), _value(path, label, when)) for _, label in pairs]
        return Listed(given.name, store([image for image, _ in pairs])[0], np.array(texts))
    keys = sorted(sizes)
    if wrong := [key for key in keys if "/" not in key[len(inner) :] or not key.lower().endswith(SUFFIXES)]:
        raise DataError(f"{given}: keys must be {_MUST}; found {some_of(wrong)}")
    of_images = [key[len(inner) :].partition("/")[0] for key in keys]
    classes, labels = np.unique(of_images, return_inverse=True)
    return Listed(given.name, store(keys)[0], labels, tuple(classes.tolist()))


def _pairs(path: Path, columns: Columns, sizes: dict[str, int]) -> list[tuple[str, str]]:
    """The keys of numbered images and of their labels, in the order of their numbers; none without such keys."""
    found = []
    words = columns.image or "image", columns.label or "label"
    for word in words:
        pattern = re.compile(f"{re.escape(word)}[-_]?([0-9]+)")
        keys: dict[int, str] = {}
        for key in filter(pattern.fullmatch, sizes):
            number = int(key[len(word) :].lstrip("-_"))
            if (before := keys.setdefault(number, key)) != key:
                raise DataError(f"{path} has two keys of {word} {number}: {before}, {key}")
        found.append(keys)
    images, labels = found
    for some, others, lacking in ((images, labels, words[1]), (labels, images, words[0])):
        if lost := [some[number] for number in sorted(some.keys() - others.keys())]:
            raise DataError(f"{path} has samples without a key {lacking}-…: {some_of(lost)}")
    return [(images[number], labels[number]) for number in sorted(images)]


def _value(path: Path, key: str, when: Stamp) -> bytes:
    """The value of a key; raises DataError if the environment is damaged."""
    with readable(path, _lmdb().Error), _environment(path, when).begin() as reading:
        value = reading.get(key.encode(errors="surrogateescape"))
    if value is None:
        raise DataError(f"{path} is damaged: it lists the key {key}, and does not find it")
    return bytes(value)


@functools.lru_cache(4)
def _sizes(path: Path, when: Stamp) -> dict[str, int]:
    """Bytes of the value of each key, without the number of samples, which must be right."""
    with readable(path, _lmdb().Error), _environment(path, when).begin(buffers=True) as reading:
        found = {bytes(key).decode(errors="surrogateescape"): len(value) for key, value in reading.cursor()}
        count = reading.get(_COUNT.encode())
        said = None if count is None else bytes(count).decode(errors="replace")
    found.pop(_COUNT, None)
    images = sum(key.startswith("image") for key in found)
    if said is not None and said.strip() != str(images):
        raise DataError(f"{path}: {_COUNT} must be the number of its images, {images}; got {said[:20]!r}")
    return found


def _environment(path: Path, when: Stamp) -> Any:
    """An open environment, the only one of its path in a process; one that was forked must not use its parent's."""
    with _LOCK:
        path = path.resolve()
        known = _OPEN.get(path)
        if known is None or known[:2] != (when, os.getpid()):
            if known is not None and known[1] == os.getpid():
                known[2].close()  # of data that were replaced
            _OPEN[path] = when, os.getpid(), _opened(path, when)
        return _OPEN[path][2]


def _opened(path: Path, when: Stamp) -> Any:
    """Open an environment.

    Its pages are mapped into memory, where one beyond the end of a truncated file would kill the process.
    """
    with readable(path, _lmdb().Error):
        found = _lmdb().open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False, max_dbs=0)
    needed = (found.info()["last_pgno"] + 1) * found.stat()["psize"]
    if when[0] < needed:
        found.close()
        raise DataError(f"{_data(path)} is truncated: it must have {needed:,} bytes, found {when[0]:,}")
    return found


def _data(path: Path) -> Path:
    """The file of an environment's data."""
    return path / ENVIRONMENT if path.is_dir() else path


def _lmdb() -> Any:
    return package("lmdb", "LMDB environments")
