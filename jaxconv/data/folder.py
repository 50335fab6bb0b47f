"""Folders of photographs, one subfolder per class."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import user_path
from jaxconv._base.limits import check_memory
from jaxconv.data.dataset import Arrays, Dataset, Source
from jaxconv.data.decode import read_all, read_square
from jaxconv.data.moments import moments
from jaxconv.data.picture import FORMATS
from jaxconv.data.split import stratified

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "FolderSource", "folder", "some_of"]

SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("val", "valid", "validation", "dev", "eval", "test", "testing")
IGNORED_FILES = ("Thumbs.db", "desktop.ini")
IN_MEMORY_BYTES = 512 * 2**20
MEASURED_IMAGES = 1000
# ImageNet's training images (Russakovsky et al. 2015), and their luminance.
IMAGENET_MEAN: dict[int, tuple[float, ...]] = {3: (0.485 * 255, 0.456 * 255, 0.406 * 255), 1: (0.449 * 255,)}
IMAGENET_STD: dict[int, tuple[float, ...]] = {3: (0.229 * 255, 0.224 * 255, 0.225 * 255), 1: (0.226 * 255,)}

Moments = tuple[float, ...] | Literal["measure"] | None


@dataclasses.dataclass(frozen=True, eq=False)
class FolderSource:
    """Photographs decoded on access.

    Args:
      base: folder of the files.
      files: paths relative to it.
      labels: int32 [N].
      sizes: bytes of each file.
      size: side of the square that each is resized to.
      channels: 3 for color, 1 for luminance.
      corrupt: "fail" or "skip" at damaged images while streaming.
    """

    base: Path
    files: tuple[str, ...]
    labels: np.ndarray
    sizes: tuple[int, ...]
    size: int
    channels: int
    corrupt: Literal["fail", "skip"] = "fail"

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, int]:
        return read_square(self.base / self.files[index], self.size, self.channels), int(self.labels[index])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return self.size, self.size, self.channels

    def take(self, indices: np.ndarray) -> FolderSource:
        """A source of the images at some indices."""
        files, sizes = (tuple(values[index] for index in indices) for values in (self.files, self.sizes))
        return dataclasses.replace(self, files=files, sizes=sizes, labels=self.labels[indices])

    def fingerprint(self) -> dict[str, Any]:
        """Number of images, and a hash of their paths, classes and sizes (not their content)."""
        lines = zip(self.files, self.labels.tolist(), self.sizes, strict=True)
        text = "".join(f"{file}\t{label}\t{size}\n" for file, label, size in lines)
        return {"images": len(self), "sha256": hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()}


def folder(
    root: str | Path,
    size: int = 224,
    channels: int = 3,
    test_share: float = 0.1,
    seed: int = 0,
    mean: Moments = None,
    std: Moments = None,
    in_memory: bool | Literal["auto"] = "auto",
    corrupt: Literal["fail", "skip"] = "fail",
) -> Dataset[Source]:
    """Photographs in a folder: `root/train/<class>/*.jpg` and `root/val/<class>/*.jpg`, or `root/<class>/*.jpg`.

    Extensions are those of `jaxconv.data.picture.FORMATS`; hidden files are ignored; images in folders of a class
    belong to it, as in torchvision and Keras. `train` may also be called `training`, and `val` `valid`, `validation`,
    `dev`, `eval`, `test` or `testing` (case-insensitive; the first in this order is used). If there is none, a fraction
    of each class is held out for testing.

    Args:
      root: the folder.
      size: side of the square that images are resized (shorter side) and center-cropped to.
      channels: 3 for color, 1 for luminance.
      test_share: fraction of each class to hold out, if there is no test folder.
      seed: seed of that split.
      mean: mean of each channel in pixel units; "measure" estimates it from up to 1,000 training images; None for
        ImageNet's.
      std: standard deviation, likewise.
      in_memory: whether to decode all images now; "auto" does so up to 512 MB, so that small datasets can stay in
        device memory.
      corrupt: "fail" stops at a damaged image; "skip" skips it: in memory it is listed in `skipped`, in a stream it has
        weight 0.

    Returns:
      The dataset, with classes in alphabetical order.

    Raises:
      ConfigError: if an argument is out of range.
      DataError: if there are no classes, a class has no images or is in one part only, files are not images, or one is
        damaged.
    """
    path = user_path(root)
    _check(size=size, channels=channels, test_share=test_share, seed=seed, mean=mean, std=std)
    parts, classes = _parts(path, test_share, seed)
    train, test = (dataclasses.replace(part, size=size, channels=channels, corrupt=corrupt) for part in parts)
    area = size * size * channels
    check_memory(f"data.size={size}: one image of {size}×{size}×{channels}", area, "a smaller data.size")
    sample = np.random.default_rng(seed).permutation(len(train))[:MEASURED_IMAGES]
    if "measure" in (mean, std):
        check_memory(f"data.size={size}: measuring {len(sample):,} images", len(sample) * area, "a smaller data.size")
    measured = moments(_decode(train.take(np.sort(sample)))[0].images) if "measure" in (mean, std) else ((), ())
    sources: list[Source] = [train, test]
    skipped: list[str] = []
    needed = (len(train) + len(test)) * area
    if in_memory is True:
        check_memory(f"data.in_memory with data.size={size}", needed, 'a smaller data.size, or in_memory="auto"')
    if in_memory is True or (in_memory == "auto" and needed <= IN_MEMORY_BYTES):
        (sources[0], first), (sources[1], second) = _decode(train), _decode(test)
        skipped = [*first, *second]
    return Dataset(
        name=path.resolve().name,
        train=sources[0],
        test=sources[1],
        classes=classes,
        mean=_moment(mean, IMAGENET_MEAN[channels], measured[0]),
        std=_moment(std, IMAGENET_STD[channels], measured[1]),
        skipped=tuple(skipped),
        photographs=True,
    )


def _moment(given: Moments, default: tuple[float, ...], measured: tuple[float, ...]) -> tuple[float, ...]:
    if given is None:
        return default
    return measured if isinstance(given, str) else given


def _check(*, size: int, channels: int, test_share: float, seed: int, mean: Moments, std: Moments) -> None:
    lines = []
    for holds, line in [
        (size >= 1, f"data.size: must be at least 1, got {size}"),
        (channels in (1, 3), f"data.channels: must be 1 or 3, got {channels}"),
        (0 < test_share < 1, f"data.test_share: must lie between 0 and 1, got {test_share}"),
        (seed >= 0, f"data.seed: must be at least 0, got {seed}"),
    ]:
        lines += [] if holds else [line]
    for name, value in (("mean", mean), ("std", std)):
        if isinstance(value, tuple) and len(value) != channels:
            lines.append(f"data.{name}: must have a number for each of {channels} channels, got {list(value)}")
    if isinstance(std, tuple) and min(std, default=1) <= 0:
        lines.append(f"data.std: must be greater than 0, got {list(std)}")
    if lines:
        raise ConfigError("\n".join(lines))


def _parts(root: Path, test_share: float, seed: int) -> tuple[tuple[FolderSource, FolderSource], tuple[str, ...]]:
    """Training and test images, and the classes."""
    if not root.is_dir():
        what = "it is a file" if root.exists() else "there is no such folder"
        raise DataError(f"data.root = {root} must be a folder of images: {what}")
    inside = {name.lower(): root / name for name in _folders(root)}
    base = next((inside[name] for name in TRAIN_FOLDERS if name in inside and _folders(inside[name])), root)
    everything, classes = _list(base)
    # A test folder without classes is an error, not a reason to split silently.
    test_base = next((inside[name] for name in TEST_FOLDERS if name in inside and base != root), None)
    if test_base is None:
        train, test = stratified(everything.labels, test_share, seed)
        return (everything.take(train), everything.take(test)), classes
    test_part, test_classes = _list(test_base)
    if classes != test_classes:
        differences = [
            f"only {part.name} has {', '.join(sorted(set(one) - set(other)))}"
            for part, one, other in ((base, classes, test_classes), (test_base, test_classes, classes))
            if set(one) - set(other)
        ]
        raise DataError(
            f"{root}: {base.name} and {test_base.name} must have the same classes; {'; '.join(differences)}"
        )
    return (everything, test_part), classes


def _folders(base: Path) -> list[str]:
    """Sorted names of the visible subfolders."""
    if not base.is_dir():
        return []
    found = [entry for entry in _entries(base) if not entry.name.startswith(".")]
    if lost := [entry.name for entry in found if _is_broken_link(entry)]:
        raise DataError(f"{base} has broken links: {some_of(lost)}")
    return [entry.name for entry in found if entry.is_dir()]


def _entries(base: Path) -> list[os.DirEntry[str]]:
    """Entries of a folder, sorted by name."""
    try:
        return sorted(os.scandir(base), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"cannot read the folder {base}: {error.strerror or error}") from None


def _is_broken_link(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a symbolic link that cannot be followed."""
    try:
        entry.stat()
    except OSError:
        return entry.is_symlink()
    return False


def _list(base: Path) -> tuple[FolderSource, tuple[str, ...]]:
    """Every image of the classes in a folder."""
    classes = _folders(base)
    if not classes:
        apart = "" if base.name.lower() in TEST_FOLDERS else f", or in {base}/train/<class>/ and {base}/val/<class>/"
        raise DataError(f"{base} has no subfolders for the classes: put images in {base}/<class>/{apart}")
    found, strangers, empty = [], [], []
    for label, name in enumerate(classes):
        below = list(_below(base, name, ()))
        images = [(file, label, size) for file, size in below if size is not None]
        strangers += [file for file, size in below if size is None]
        empty += [] if images else [name]
        found += images
    if strangers:
        raise DataError(
            f"{base} has files that are not images ({', '.join(SUFFIXES)}): {some_of(strangers)}; move it elsewhere"
        )
    if empty:
        raise DataError(f"{base}: every class needs images, found none in {some_of(empty)}")
    files, labels, sizes = zip(*found, strict=True)
    if len(classes) == 1 and all(file.count("/") > 1 for file in files):
        raise DataError(f"{base} has one class, {classes[0]}, of folders alone: data.root = {base / classes[0]}?")
    return FolderSource(base, files, np.array(labels, np.int32), sizes, size=1, channels=3), tuple(classes)


def _below(base: Path, folder: str, above: tuple[Path, ...]) -> Iterator[tuple[str, int | None]]:
    """Paths of all files below a folder, with the size of each image; None for others, and for a link to a parent."""
    above = (*above, (base / folder).resolve())
    for entry in _entries(base / folder):
        path = f"{folder}/{entry.name}"
        if entry.name.startswith(".") or entry.name in IGNORED_FILES:
            continue
        if os.path.isdir(entry) and not any(parent.is_relative_to(Path(entry).resolve()) for parent in above):
            yield from _below(base, path, above)
        else:
            yield path, _size(entry) if entry.name.lower().endswith(SUFFIXES) else None


def _size(entry: os.DirEntry[str]) -> int | None:
    """Size of a file; 0 for a broken link, an unreadable image that `corrupt` handles; None for anything else."""
    if _is_broken_link(entry):
        return 0
    return entry.stat().st_size if entry.is_file() else None


def some_of(names: list[str], most: int = 5) -> str:
    """The first names of a list, and the number of the others."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{rest}"


def _decode(source: FolderSource) -> tuple[Arrays, list[str]]:
    """Load a source into memory; returns it without damaged images, and their error messages."""
    images = np.empty([len(source), *source.image_shape], np.uint8)

    def store(index: int) -> None:
        images[index] = source[index][0]

    intact, skipped = read_all(source, store)
    return Arrays(images[intact], source.labels[intact]), skipped
