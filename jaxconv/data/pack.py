"""Packing of a dataset: images decoded and resized once, into shards that are read fast."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base import checksums
from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import WriteError, read_text, write_atomically, writing
from jaxconv._base.locks import file_lock
from jaxconv.data.dataset import Dataset
from jaxconv.data.decode import in_threads, pixmap_header
from jaxconv.data.encoded import EncodedImages
from jaxconv.data.fingerprint import fingerprint
from jaxconv.data.formats.packed import MANIFEST, PARTIAL, PROGRESS
from jaxconv.data.formats.records import array_record

__all__ = ["pack"]

SHARD_BYTES = 256 * 2**20
SHARD_FILES = 4096
"""Images in a shard of files, whose sizes are not known before."""

_LOCK = ".lock"

Shard = dict[str, Any]


def pack(
    dataset: Dataset[Any],
    out: Path,
    *,
    keep: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Write a dataset as a folder of ArrayRecord shards, which `images` reads as the same images in the same order.

    They are written to `out` + ".partial", which gets its name when it is complete. A packing that was interrupted
    continues after its last complete shard.

    Args:
      dataset: from `images` with `in_memory=False`.
      out: the folder to write.
      keep: whether to keep the files of the images as they are, instead of their pixels at the dataset's size.
      report: called with the number of images that are packed, and of all, after each shard.

    Returns:
      A message for each damaged image that was left out, if the dataset skips them.

    Raises:
      ConfigError: if the folder exists, the dataset is none of `images`, or another packing was begun or runs there.
      DataError: if an image is damaged.
      WriteError: if a file cannot be written.
    """
    sources = {part: getattr(dataset, part) for part in ("train", "test")}
    if not all(isinstance(source, EncodedImages) for source in sources.values()):
        raise ConfigError('jaxconv pack needs images in files: data.name = "images" with data.in_memory = false')
    _check_new(out)
    partial = out.with_name(out.name + PARTIAL)
    image = sources["train"]
    plan = {
        "source": fingerprint(dataset),
        "classes": list(dataset.classes),
        "pixels": None if keep else {name: getattr(image, name) for name in ("size", "channels", "interpolation")},
    }
    with _alone(partial):
        _check_new(out)  # another packing may have written it since
        shards = _begun(partial, plan)
        done = len(shards)
        total = sum(map(len, sources.values()))
        for number, (name, part, rows) in enumerate(_division(sources, keep)):
            if number >= done:
                shards.append({"name": name, "part": part, **_write(partial / name, sources[part].take(rows), keep)})
                write_atomically(partial / PROGRESS, json.dumps(plan | {"shards": shards}).encode())
            report(sum(len(shard["labels"]) + len(shard["skipped"]) for shard in shards), total)
        for part, source in sources.items():
            if not any(shard["labels"] for shard in shards if shard["part"] == part):
                raise DataError(f"none of the {len(source):,} images in {source.base} can be read")
        with writing(out):
            os.replace(partial / PROGRESS, partial / MANIFEST)
            (partial / _LOCK).unlink()
            os.rename(partial, out)
    return [message for shard in shards for message in shard["skipped"]]


def _check_new(out: Path) -> None:
    if out.exists():
        raise ConfigError(f"{out} exists; jaxconv pack never overwrites")


@contextlib.contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """Make the folder and lock it against other packings; at the end of the block, it is removed if it is empty."""
    with writing(partial):
        partial.mkdir(parents=True, exist_ok=True)
    with file_lock(partial / _LOCK, f"{partial} is being written by another jaxconv pack; wait for it, or stop it"):
        try:
            yield
        finally:
            (partial / _LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it is not empty, or has its name
                partial.rmdir()


def _begun(partial: Path, plan: dict[str, Any]) -> list[Shard]:
    """The shards that are complete already."""
    with writing(partial):
        if (partial / MANIFEST).is_file():  # interrupted before the folder got its name
            os.replace(partial / MANIFEST, partial / PROGRESS)
    if not (partial / PROGRESS).is_file():
        return []
    try:
        found = json.loads(read_text(partial / PROGRESS))
        shards: list[Shard] = found.pop("shards")
    except (ValueError, KeyError, AttributeError):
        raise DataError(f"{partial / PROGRESS} is damaged; remove {partial}") from None
    if found != plan:
        raise ConfigError(f"{partial} was begun from other data or with other options; remove it, or pack elsewhere")
    for shard in shards:
        path = partial / shard["name"]
        if not path.is_file() or checksums.of_file(path) != shard["sha256"]:
            raise DataError(f"{path} is missing or was altered; remove {partial}")
    return shards


def _division(sources: dict[str, EncodedImages], keep: bool) -> Iterator[tuple[str, str, np.ndarray]]:
    """Name, part and rows of each shard."""
    for part, source in sources.items():
        most = SHARD_FILES if keep else max(1, SHARD_BYTES // (source.size**2 * source.channels))
        count = -(-len(source) // most)
        for number, rows in enumerate(np.array_split(np.arange(len(source)), count)):
            yield f"{part}-{number:05}-of-{count:05}.array_record", part, rows


def _write(path: Path, source: EncodedImages, keep: bool) -> Shard:
    """Write a shard; returns its entry of the manifest."""
    temporary = path.with_name(f".{path.name}")
    labels, skipped = [], []

    def record(index: int) -> bytes | str:
        try:
            image = source[index][0]
        except DataError as error:
            if source.corrupt == "fail":
                raise
            return str(error)
        header = pixmap_header(source.size, source.size, source.channels)
        return source.content(index) if keep else header + image.tobytes()

    try:
        with writing(path):
            writer = array_record().ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
            for index, found in enumerate(in_threads(record, range(len(source)))):
                if isinstance(found, str):
                    skipped.append(found)
                else:
                    writer.write(found)
                    labels.append(source.labels[index].tolist())
            writer.close()
            with open(temporary, "rb+") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = os.fstat(file.fileno()).st_size
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, RuntimeError):  # array_record's
            raise WriteError(5, str(error).split(";")[0], str(path)) from None
        raise
    return {"labels": labels, "skipped": skipped, "bytes": size, "sha256": digest}
