"""HDF5 files with a dataset of images, and one of their labels."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv.data.decode import pixmap_header
from jaxconv.data.encoded import Listed, some_of
from jaxconv.data.formats.columns import Columns, numbers, present
from jaxconv.data.formats.reading import package, readable
from jaxconv.data.formats.shards import Stamp, check_unchanged, placed, stamp
from jaxconv.data.formats.tree import train_and_test
from jaxconv.data.labels import kind_of, one_hot

__all__ = ["Hdf5Images", "hdf5_parts", "hdf5_table"]

_IMAGES = ("image", "images")
_LABELS = ("label", "labels")
_SAMPLE = 64
"""Images that are read to notice if a file is replaced by another one of the same size."""
_MUST = "uint8 [N, H, W] or [N, H, W, C] of 1 or 3 channels, or files of images as variable-length uint8 [N]"


@dataclasses.dataclass(frozen=True)
class Hdf5Images:
    """Images in datasets of HDF5 files: pixels, or encoded.

    Each process opens a file once; its threads read by turns, as HDF5 does.

    Args:
      base: folder of the files.
      files: their names.
      datasets: name of the dataset in each.
      starts: first row of each, then the number of rows: int64 [files + 1].
      marks: for each file, its bytes and a checksum of some of its images.
      stamps: for each file, its bytes and modification time.
    """

    base: Path
    files: tuple[str, ...]
    datasets: tuple[str, ...]
    starts: np.ndarray
    marks: tuple[str, ...]
    stamps: tuple[Stamp, ...]

    def key(self, row: int) -> str:
        file, place = placed(self.starts, row)
        return f"{self.files[file]}/{self.datasets[file]}: row {place}"

    def mark(self, row: int) -> str:
        return self.marks[placed(self.starts, row)[0]]

    def read(self, row: int) -> bytes:
        file, place = placed(self.starts, row)
        path = self.base / self.files[file]
        check_unchanged(path, self.stamps[file])
        value = _file(path, self.stamps[file], os.getpid())[self.datasets[file]][place]
        content = value.tobytes()
        if value.ndim < 2:
            return content
        height, width, channels = (*value.shape, 1)[:3]
        return pixmap_header(width, height, channels) + content


def hdf5_parts(path: Path) -> list[Path]:
    """The groups of the training images and the test images of a file; itself if there are none.

    Args:
      path: the file.

    Raises:
      ConfigError: if h5py is missing.
      DataError: if the file is damaged or of another format.
    """
    with _reading(path), _opened(path) as file:
        groups = [name for name, item in file.items() if isinstance(item, _h5py().Group)]
    return [path / name for name in train_and_test(groups)] or [path]


def hdf5_table(files: list[Path], columns: Columns) -> Listed:
    """The images of HDF5 files, or of groups in them.

    Args:
      files: the files, or paths of groups below them.
      columns: the dataset of images, `image`, `images` or the only one if it is not given, and that of labels, `label`
        or `labels`.

    Raises:
      ConfigError: if h5py is missing.
      DataError: if a file is damaged, datasets are missing, of another type or of different lengths.
    """
    read = [_read(path, columns) for path in files]
    first = read[0]
    for path, each in zip(files, read, strict=True):
        if each.classes != first.classes:
            found = some_of(each.classes or ["none"])
            raise DataError(f"{path} must have the classes of {files[0].name}, found {found}")
        if each.labels.shape[1:] != first.labels.shape[1:]:
            kinds = f"{kind_of(first.labels)}, found {kind_of(each.labels)}"
            raise DataError(f"{path} must have labels as {files[0].name}, {kinds}")
    starts = np.cumsum([0, *(len(each.labels) for each in read)])
    if starts[-1] == 0:
        raise DataError(f"{files[0]} holds no images")
    paths = [_inside(path)[0] for path in files]
    store = Hdf5Images(
        paths[0].parent,
        tuple(os.path.relpath(path, paths[0].parent) for path in paths),
        tuple(each.images for each in read),
        starts,
        tuple(each.mark for each in read),
        tuple(stamp(path) for path in paths),
    )
    labels = np.concatenate([each.labels for each in read])
    names = columns.numbers or first.classes or tuple(map(str, range(labels.shape[1]))) if labels.ndim == 2 else None
    if names is None:
        return Listed(files[0].name, store, labels, first.classes)
    if labels.shape[1] != len(names):
        raise DataError(f"{files[0]}: {len(names)} classes but {labels.shape[1]} labels of each image")
    described = Columns(targets=names) if labels.dtype.kind == "f" else Columns(labels=names)
    kind = columns if columns.numbers else described
    checked = numbers(kind, labels.astype(np.float64), lambda row: str(store.base / store.key(row)))
    return Listed(files[0].name, store, checked, names)


@dataclasses.dataclass(frozen=True)
class _Read:
    """What is known of a file: name of its images, their mark, their labels [N] or [N, names], and class names."""

    images: str
    mark: str
    labels: np.ndarray
    classes: tuple[str, ...] | None


def _read(path: Path, columns: Columns) -> _Read:
    file, inner = _inside(path)
    with _reading(path), _opened(file) as opened:
        group = opened[inner] if inner else opened
        if not isinstance(group, _h5py().Group):
            raise DataError(f"{path} must be a group of datasets, found {_described(group)}")
        found = {name: item for name, item in group.items() if isinstance(item, _h5py().Dataset)}
        images = _images(path, columns.image, found)
        if columns.numbers:
            names = [present(path, columns.key, name, found) for name in columns.numbers]
            labels = np.stack([_values(path, name, found[name], "biuf", 1) for name in names], 1)
        else:
            name = columns.label or next((each for each in _LABELS if each in found), "label")
            labels = _labels(path, name, found[present(path, "label_column", name, found)])
        if len(labels) != len(found[images]):
            raise DataError(f"{path}: {len(found[images]):,} {images} but {len(labels):,} labels")
        if not columns.numbers and labels.ndim == 2 and one_hot(labels):
            raise DataError(f"{path}: labels must be classes [N], found one-hot rows; labels.argmax(1)")
        names = found.get("classes", opened.get("classes"))
        classes = None if names is None else tuple(_values(path, "classes", names, "U", 1).tolist())
        return _Read(f"{inner}/{images}".lstrip("/"), _mark(file, found[images]), labels, classes)


def _mark(path: Path, images: Any) -> str:
    """Bytes of a file, and a checksum of some images: HDF5 knows neither sizes nor checksums of single ones."""
    digest = hashlib.sha256()
    for row in sorted({*np.linspace(0, len(images) - 1, min(len(images), _SAMPLE)).astype(int).tolist()}):
        digest.update(images[row].tobytes())
    return f"{path.stat().st_size} {digest.hexdigest()[:16]}"


def _images(path: Path, name: str | None, found: dict[str, Any]) -> str:
    """Name of the dataset of images."""
    fitting = [each for each, dataset in found.items() if _holds_images(dataset)]
    if name is None:
        usual = [each for each in _IMAGES if each in found] or fitting
        if len(usual) != 1:
            listed = some_of([f"{each} ({_described(dataset)})" for each, dataset in found.items()], 20) or "none"
            raise DataError(f"{path} must have one dataset of images, found {listed}; data.image_column names it")
        name = usual[0]
    dataset = found[present(path, "image_column", name, found)]
    if name not in fitting:
        shape = dataset.shape
        first = "; it looks channels-first" if dataset.ndim == 4 and shape[1] in (1, 3) and shape[3] > 4 else ""
        raise DataError(f"{path}: {name!r} must be {_MUST}; found {_described(dataset)}{first}")
    return name


def _holds_images(dataset: Any) -> bool:
    if dataset.ndim == 1:
        opaque = dataset.dtype.kind == "V" and dataset.dtype.names is None
        return opaque or _h5py().check_vlen_dtype(dataset.dtype) == np.uint8
    of_pixels = dataset.ndim == 3 or (dataset.ndim == 4 and dataset.shape[3] in (1, 3))
    return bool(of_pixels and dataset.dtype == np.uint8 and 0 not in dataset.shape[1:])


def _labels(path: Path, name: str, dataset: Any) -> np.ndarray:
    """Classes, integers or texts [N]; 0 and 1 as integers [N, labels]; or floating targets [N, targets]."""
    if dataset.ndim == 2:
        values = _values(path, name, dataset, "biuf", 2)
        whole = values.dtype.kind != "f"
        return values[:, 0] if values.shape[1] == 1 and whole else values
    values = _values(path, name, dataset, "biufU", 1)
    if values.dtype.kind == "f":
        fix = f"data.targets = [{name!r}] predicts numbers"
        raise DataError(f"{path}: {name!r} must be whole numbers or text, found {_described(dataset)}; {fix}")
    return values.astype(np.int64) if values.dtype.kind == "b" else values


def _values(path: Path, name: str, dataset: Any, kinds: str, ndim: int) -> np.ndarray:
    """The values of a dataset of some kinds of NumPy's dtypes."""
    h5py = _h5py()
    is_text = isinstance(dataset, h5py.Dataset) and h5py.check_string_dtype(dataset.dtype) is not None
    kind = "U" if is_text else getattr(dataset, "dtype", np.dtype("O")).kind
    if kind not in kinds or dataset.ndim != ndim:
        must = {"U": "text", "biuf": "numbers"}.get(kinds, "whole numbers or text")
        shape = "[N, labels]" if ndim == 2 else "[N]"
        raise DataError(f"{path}: {name!r} must be {must} {shape}, found {_described(dataset)}")
    return np.asarray(dataset.asstr()[()]).astype(str) if is_text else np.asarray(dataset[()])


def _described(item: Any) -> str:
    """Type and shape of a dataset."""
    return f"{item.dtype} {list(item.shape)}" if hasattr(item, "shape") else "a group"


def _inside(path: Path) -> tuple[Path, str]:
    """A file, and the name of a group in it; empty for the file itself."""
    file = next((each for each in (path, *path.parents) if each.is_file()), path)
    return file, "" if file == path else path.relative_to(file).as_posix()


def _h5py() -> Any:
    return package("h5py", "HDF5 files")


def _reading(path: Path) -> Any:
    return readable(path, RuntimeError, KeyError, ValueError)


def _opened(path: Path) -> Any:
    return _h5py().File(path, "r", locking="best-effort")


@functools.lru_cache(64)
def _file(path: Path, when: Stamp, process: int) -> Any:
    """An open file of a process: one that was forked must not use its parent's."""
    return _opened(path)
