"""Photographs with labels, in any of the formats of `jaxconv.data.formats`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from jaxconv._base.errors import raise_problems
from jaxconv._base.limits import check_memory
from jaxconv.data.dataset import Arrays, Dataset, Source
from jaxconv.data.decode import Interpolation, read_all
from jaxconv.data.encoded import EncodedImages, Store
from jaxconv.data.formats.classes import numbered
from jaxconv.data.formats.columns import Columns, check_columns
from jaxconv.data.formats.recognized import Parts, listed
from jaxconv.data.moments import moments
from jaxconv.data.split import stratified

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "images"]

IN_MEMORY_BYTES = 512 * 2**20
MEASURED_IMAGES = 1000
# ImageNet's training images (Russakovsky et al. 2015), and their luminance.
IMAGENET_MEAN: dict[int, tuple[float, ...]] = {3: (0.485 * 255, 0.456 * 255, 0.406 * 255), 1: (0.449 * 255,)}
IMAGENET_STD: dict[int, tuple[float, ...]] = {3: (0.229 * 255, 0.224 * 255, 0.225 * 255), 1: (0.226 * 255,)}

Moments = tuple[float, ...] | Literal["measure"] | None


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
    labels: tuple[str, ...] = (),
    label_separator: str | None = None,
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
    - a `.h5` or `.hdf5` file with datasets of images, as pixels or encoded, and of labels, also in groups of parts;
    - an LMDB environment of encoded images with classes in their keys, with numbered labels, or with `labels.csv`;
    - a folder that TensorFlow Datasets built as ArrayRecord;
    - a folder that `jaxconv pack` wrote;
    - any of these at a URL of fsspec, copied into the user's cache; `hf://` and the name of a dataset of Hugging Face.

    Extensions are those of `jaxconv.data.picture.FORMATS`; hidden files are ignored; images in folders of a class
    belong to it, as in torchvision and Keras. `train` may also be called `training`, and `val` `valid`, `validation`,
    `dev`, `eval`, `test` or `testing` (case-insensitive; the first in this order is used). If there is none, a fraction
    of each class is held out for testing.

    Args:
      root: the folder or file, or its URL.
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
      image_column: column of the images, or of their paths, in a table; ending of their names in a `.tar` file; HDF5's
        dataset of them, or feature of TensorFlow Datasets.
      label_column: column, ending, dataset or feature of the labels, likewise.
      targets: columns of numbers to predict, instead of a label: regression.
      labels: columns of 0 and 1, one for each label, of which an image may have several: multi-label classification.
      label_separator: what separates several labels in `label_column`, likewise; an empty text has none.
      interpolation: filter of the resizing, by Pillow's name, which evaluation, prediction and export use, too:
        "lanczos" is the sharpest one; "bilinear", torchvision's default, takes half of the time.

    Returns:
      The dataset, with classes in the order that the format gives them, or else in alphabetical order.

    Raises:
      ConfigError: if an argument is out of range.
      DataError: if there are no classes, a class has no images or is in one part only, files are not images, or one is
        damaged.
    """
    _check(size=size, channels=channels, test_share=test_share, seed=seed, mean=mean, std=std)
    columns = Columns(image_column, label_column, targets, labels, label_separator)
    raise_problems(check_columns(columns))
    path, found = listed(root, columns, size, channels, interpolation)
    parts, classes = _split(path, found, columns.separator, test_share, seed)
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
        task=_task(train.labels),
    )


def _task(labels: np.ndarray) -> str:
    """The task of labels [N], or of floating targets or integers 0 and 1 [N, …]."""
    return "classification" if labels.ndim == 1 else "regression" if labels.dtype.kind == "f" else "multilabel"


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
    raise_problems(lines)


def _split(
    path: Path, found: Parts, separator: str | None, test_share: float, seed: int
) -> tuple[list[tuple[Store, np.ndarray, np.ndarray]], tuple[str, ...]]:
    """Store, rows and labels of the training images and of the test images; and the classes."""
    train, test = found
    (labels, *rest), classes = numbered(path, [train] if test is None else [train, test], separator)
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
