"""WebDataset's `.tar` shards: `key.jpg` and `key.cls` are an image and its label."""

from __future__ import annotations

import dataclasses
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv._base.files import open_file
from jaxconv.data.encoded import Listed, some_of
from jaxconv.data.formats.columns import Columns, no_numbers, text_label
from jaxconv.data.formats.shards import Stamp, check_unchanged, stamp
from jaxconv.data.formats.tree import SUFFIXES

__all__ = ["Spans", "tar_shards"]

_LABEL = "cls"


class Span(NamedTuple):
    """An image in a shard: number of the shard, its name there, its first byte, and its size."""

    shard: int
    name: str
    start: int
    size: int


@dataclasses.dataclass(frozen=True)
class Spans:
    """Images in uncompressed archives, by their places.

    Args:
      base: folder of the archives.
      shards: their names.
      stamps: their bytes and times of change.
      spans: the images.
    """

    base: Path
    shards: tuple[str, ...]
    stamps: tuple[Stamp, ...]
    spans: tuple[Span, ...]

    def key(self, row: int) -> str:
        span = self.spans[row]
        return f"{self.shards[span.shard]}/{span.name}"

    def mark(self, row: int) -> int:
        return self.spans[row].size

    def read(self, row: int) -> bytes:
        span = self.spans[row]
        path = self.base / self.shards[span.shard]
        check_unchanged(path, self.stamps[span.shard])
        with open_file(path) as file:
            file.seek(span.start)
            return file.read(span.size)


def tar_shards(files: list[Path], columns: Columns) -> Listed:
    """The images of `.tar` shards, whose headers are read once.

    Args:
      files: the shards.
      columns: endings of the images' names, those of images if it is not given, and of the labels, `cls`.

    Raises:
      ConfigError: if there are targets.
      DataError: if a shard is truncated, two files have one name, or an image has no label or a label no image.
    """
    no_numbers(columns, files[0])
    stamps = tuple(stamp(path) for path in files)
    spans: list[Span] = []
    labels: list[str] = []
    for number, path in enumerate(files):
        images, own = _indexed(path, number, columns)
        pairs = ((images, own, f".{columns.label or _LABEL}"), (own, images, f".{columns.image or 'jpg'}"))
        for some, others, ending in pairs:
            if lost := sorted(some.keys() - others.keys()):
                raise DataError(f"{path} has samples without {ending}: {some_of(lost)}")
        spans += images.values()
        labels += [own[key] for key in images]
    if not spans:
        raise DataError(f"{files[0]} holds no images")
    store = Spans(files[0].parent, tuple(path.name for path in files), stamps, tuple(spans))
    return Listed(files[0].name, store, np.array(labels))


def _indexed(path: Path, number: int, columns: Columns) -> tuple[dict[str, Span], dict[str, str]]:
    """Images and labels of a shard, by key."""
    image_endings = SUFFIXES if columns.image is None else (f".{columns.image}",)
    images: dict[str, Span] = {}
    labels: dict[str, str] = {}
    end = 0
    try:
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                folder, slash, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                key = folder + slash + stem
                is_image = f".{ending.lower()}" in image_endings
                if not member.isfile() or not stem or not (is_image or ending == (columns.label or _LABEL)):
                    continue
                if key in (images if is_image else labels):
                    raise DataError(f"{path} has two {'images' if is_image else 'labels'} of the sample {key}")
                if is_image:
                    images[key] = Span(number, member.name, member.offset_data, member.size)
                elif (content := archive.extractfile(member)) is not None:
                    labels[key] = text_label(f"{path}/{member.name}", content.read())
            file.seek(end)
            if len(file.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:  # the end of an archive is marked by zeros
                raise tarfile.ReadError("unexpected end of data")
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{path} must be a complete .tar file: {getattr(error, 'strerror', None) or error}") from None
    return images, labels
