"""Photographs with labels, in any of the formats of `jaxconv.data.formats`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import user_path
from jaxconv._base.limits import check_memory
from jaxconv.data.dataset import Arrays, Dataset, Source
from jaxconv.data.decode import Interpolation, read_all
from jaxconv.data.encoded import EncodedImages, Listed, Store
from jaxconv.data.formats.arrow import arrow_table, saved_parts
from jaxconv.data.formats.classes import numbered
from jaxconv.data.formats.columns import Columns
from jaxconv.data.formats.csv import csv_table
from jaxconv.data.formats.folder import folder
from jaxconv.data.formats.packed import is_packed, packed
from jaxconv.data.formats.shards import part_files
from jaxconv.data.formats.tar import tar_shards
from jaxconv.data.formats.zip import zip_tree
from jaxconv.data.moments import moments
from jaxconv.data.split import stratified

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "images"]

IN_MEMORY_BYTES = 512 * 2**20
MEASURED_IMAGES = 1000
# ImageNet's training images (Russakovsky et al. 2015), and their luminance.
IMAGENET_MEAN: dict[int, tuple[float, ...]] = {3: (0.485 * 255, 0.456 * 255, 0.406 * 255), 1: (0.449 * 255,)}
IMAGENET_STD: dict[int, tuple[float, ...]] = {3: (0.229 * 255, 0.224 * 255, 0.225 * 255), 1: (0.226 * 255,)}

Moments = tuple[float, ...] | Literal["measure"] | None
Parts = tuple[Listed, Listed | None]

TABLES: dict[str, Callable[[list[Path], Columns], Listed]] = {
    ".csv": csv_table,
    ".tsv": csv_table,
    ".parquet": arrow_table,
    ".arrow": arrow_table,
    ".tar": tar_shards,
}
"""Formats of files whose columns have names, by their ending."""


def images(
    root: str | Path,
    size: int = 224,
    channels: int = 3,
    test_share: float = 0.1,
    seed: int = 0,
    mean: Moments = None,
    std: Moments = None,
    in_memory: bool | Literal["auto"] = "auto",
    corrupt: Literal["fail", "skip"] = "fail",
    image_column: str | None = None,
    label_column: str | None = None,
    targets: tuple[str, ...] = (),
    interpolation: Interpolation = "lanczos",
) -> Dataset[Source]:
    """Photographs in a folder: `root/train/<class>/*.jpg` and `root/val/<class>/*.jpg`, or `root/<class>/*.jpg`.

    Or in one of these, recognized by the ending of a file, and read without unpacking:

    - a `.zip` file of such a folder;
    - a `.csv` file with columns `path`, relative to its folder, and `label`, a class name or number; or a folder of
      `train.csv` and `val.csv`;
    - a `.parquet` file with a column of images and a column `label`, or a folder of such files, `train-*.parquet` and
      `test-*.parquet`, also in its subfolder `data`, as in a repository of Hugging Face; or a folder that its
      `save_to_disk` wrote. Class names are those of the file. Needs the extra `data`;
    - `.tar` files of WebDataset, in which `key.jpg` and `key.cls` are an image and its label, `train-*.tar` and
      `val-*.tar`, or in folders `train` and `val`;
    - a folder that `jaxconv pack` wrote.

    Extensions are those of `jaxconv.data.picture.FORMATS`; hidden files are ignored; images in folders of a class
    belong to it, as in torchvision and Keras. `train` may also be called `training`, and `val` `valid`, `validation`,
    `dev`, `eval`, `test` or `testing` (case-insensitive; the first in this order is used). If there is none, a fraction
    of each class is held out for testing.

    Args:
      root: the folder or file.
      size: side of the square that images are resized (shorter side) and center-cropped to.
      channels: 3 for color, 1 for luminance.
      test_share: fraction of each class to hold out, if there are no test images.
      seed: seed of that split.
      mean: mean of each channel in pixel units; "measure" estimates it from up to 1,000 training images; None for
        ImageNet's.
      std: standard deviation, likewise.
      in_memory: whether to decode all images now; "auto" does so up to 512 MB, so that small datasets can stay in
        device memory.
      corrupt: "fail" stops at a damaged image; "skip" skips it: in memory it is listed in `skipped`, in a stream it has
        weight 0.
      image_column: column of the images, or of their paths, in a table; ending of their names in a `.tar` file.
      label_column: column of the labels, or ending, likewise.
      targets: columns of numbers to predict, instead of a label: regression.
      interpolation: filter of the resizing, by Pillow's name, which evaluation, prediction and export use, too:
        "lanczos" is the sharpest one; "bilinear", torchvision's default, takes half of the time.

    Returns:
      The dataset, with classes in the order that the format gives them, or else in alphabetical order.

    Raises:
      ConfigError: if an argument is out of range.
      DataError: if there are no classes, a class has no images or is in one part only, files are not images, or one is
        damaged.
    """
    path = user_path(root)
    _check(size=size, channels=channels, test_share=test_share, seed=seed, mean=mean, std=std)
    columns = Columns(image_column, label_column, targets)
    listed = packed(path, size, channels, interpolation) if is_packed(path) else _listed(path, columns)
    parts, classes = _split(path, listed, test_share, seed)
    train, test = (EncodedImages(*part, size, channels, corrupt, interpolation) for part in parts)
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
        interpolation=interpolation,
        task="regression" if train.labels.ndim == 2 else "classification",
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


def _listed(path: Path, columns: Columns) -> Parts:
    """The images of a folder or file, by the reader of its format."""
    if not path.exists():
        raise DataError(f"data.root = {path} must be a folder of images: there is no such folder")
    suffix, parts = path.suffix.lower(), [[path]]
    if path.is_dir():
        suffix, parts = _tables(path)
    if suffix in TABLES:
        train, *test = (TABLES[suffix](files, columns) for files in parts)
        return train, test[0] if test else None
    if any(columns):
        keys = "data.image_column, label_column and targets"
        raise ConfigError(f"{keys} are for {', '.join(TABLES)}, not for {path}")
    if path.is_dir():
        return folder(path)
    if suffix != ".zip":
        endings = ", ".join((".zip", *TABLES))
        raise DataError(f"data.root = {path} must be a folder of images, or end in {endings}: it is a file")
    return zip_tree(path)


def _tables(path: Path) -> tuple[str, list[list[Path]]]:
    """Ending and files of the tables in a folder, for each part; empty if there are none."""
    if parts := saved_parts(path):
        return ".arrow", parts
    return next(((suffix, parts) for suffix in TABLES if (parts := part_files(path, suffix))), ("", []))


def _split(
    path: Path, listed: Parts, test_share: float, seed: int
) -> tuple[list[tuple[Store, np.ndarray, np.ndarray]], tuple[str, ...]]:
    """Store, rows and labels of the training images and of the test images; and the classes."""
    train, test = listed
    (labels, *rest), classes = numbered(path, [train] if test is None else [train, test])
    if test is not None:
        pairs = ((train.store, labels), (test.store, rest[0]))
        return [(store, np.arange(len(own)), own) for store, own in pairs], classes
    of_class = labels if labels.ndim == 1 else np.zeros(len(labels), np.int32)
    return [(train.store, rows, labels[rows]) for rows in stratified(of_class, test_share, seed)], classes


def _decode(source: EncodedImages) -> tuple[Arrays, list[str]]:
    """Load a source into memory; returns it without damaged images, and their error messages."""
    decoded = np.empty([len(source), *source.image_shape], np.uint8)

    def store(index: int) -> None:
        decoded[index] = source[index][0]

    intact, skipped = read_all(source, store)
    return Arrays(decoded[intact], source.labels[intact]), skipped
