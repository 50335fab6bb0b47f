"""Custom datasets in one `.npz` file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv._base.files import user_path
from jaxconv._base.npz import read_arrays
from jaxconv.data.dataset import Arrays, Dataset
from jaxconv.data.labels import kind_of, one_hot
from jaxconv.data.moments import moments

__all__ = ["npz"]

# Keras' names, accepted too.
_ALIASES = {
    "train_images": "x_train",
    "train_labels": "y_train",
    "test_images": "x_test",
    "test_labels": "y_test",
}
MOST_CLASSES = 1 << 16
"""Maximum number of classes without names."""


def npz(root: str | Path) -> Dataset[Arrays]:
    """Images and labels from one `.npz` file, as written by `np.savez`.

    Its arrays are `train_images` and `test_images`, uint8 [N, H, W, C] or [N, H, W]; `train_labels` and `test_labels`,
    integers [N] from 0, of multi-label classification integers or bools [N, labels] of 0 and 1, and of regression
    floating [N, targets]; and optionally `classes`, the names of classes, labels or targets. Keras' names `x_train`,
    `y_train`, `x_test` and `y_test` are accepted. Mean and standard deviation are measured.

    Args:
      root: the file.

    Raises:
      DataError: if it is not such a file; names the missing or invalid arrays.
    """
    path = user_path(root)
    if path.is_dir():
        near = ", ".join(sorted(file.name for file in path.glob("*.npz")))
        raise DataError(f"data.root = {path} must be a .npz file, found a folder{f' with {near}' if near else ''}")
    arrays = read_arrays(path)
    named = {name: alias if alias in arrays and name not in arrays else name for name, alias in _ALIASES.items()}
    if missing := [f"{name} (or {_ALIASES[name]})" for name, key in named.items() if key not in arrays]:
        raise DataError(f"{path} holds no {', '.join(missing)}; found {', '.join(arrays) or 'nothing'}")
    parts = {}
    for part in ("train", "test"):
        key, labels = named[f"{part}_images"], named[f"{part}_labels"]
        parts[part] = Arrays(*_pair(path, key, arrays[key], labels, arrays[labels]))
    kinds = {part: kind_of(found.labels) for part, found in parts.items()}
    if kinds["train"] != kinds["test"]:
        found = ", ".join(f"{named[f'{part}_labels']} {kind}" for part, kind in kinds.items())
        raise DataError(f"{path}: the labels of both parts must be of one kind, found {found}")
    if parts["train"].labels.ndim == 2:
        return _several(path, parts, arrays.get("classes"))
    count = 1 + max(int(part.labels.max()) for part in parts.values())
    if (least := min(int(part.labels.min()) for part in parts.values())) > 0 and "classes" not in arrays:
        fix = "labels - 1" if least == 1 else f"np.searchsorted(np.unique({named['train_labels']}), labels)"
        raise DataError(f"{path}: labels must count classes from 0, found {least} to {count - 1}; {fix}")
    if "classes" not in arrays and count > MOST_CLASSES:
        raise DataError(
            f"{path}: labels must count at most {MOST_CLASSES:,} classes where these have no names, found 0 to "
            f"{count - 1}; np.searchsorted(np.unique({named['train_labels']}), labels) counts those that occur"
        )
    classes = _classes(path, arrays["classes"]) if "classes" in arrays else tuple(map(str, range(count)))
    mean, std = moments(parts["train"].images)
    return Dataset(path.stem, parts["train"], parts["test"], classes, mean, std)


def _several(path: Path, parts: dict[str, Arrays], names: np.ndarray | None) -> Dataset[Arrays]:
    """The dataset of images with several labels or targets each."""
    train, test = parts["train"], parts["test"]
    classes = _classes(path, names) if names is not None else tuple(map(str, range(train.labels.shape[1])))
    task = "regression" if train.labels.dtype.kind == "f" else "multilabel"
    return Dataset(path.stem, train, test, classes, *moments(train.images), task=task)


def _pair(path: Path, key: str, images: np.ndarray, labels_key: str, labels: np.ndarray) -> list[np.ndarray]:
    """Images [N, H, W, C] and labels, int32 [N] or [N, labels] or floating [N, targets]; DataError if invalid."""
    where = f"{path}: {key}"
    if images.dtype != np.uint8:
        raise DataError(f"{where} must be uint8, found {images.dtype}{_as_bytes(images)}")
    if images.ndim not in (3, 4):
        raise DataError(f"{where} must be [N, H, W, C] or [N, H, W], found {list(images.shape)}")
    images = images[..., None] if images.ndim == 3 else images
    if images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise DataError(
            f"{where} {list(images.shape)} looks channels-first; np.moveaxis(images, 1, -1) puts the channels last"
        )
    if len(images) == 0 or 0 in images.shape:
        raise DataError(f"{where} holds no images: {list(images.shape)}")
    where = f"{path}: {labels_key}"
    numbers = _numbers(labels)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 and not numbers else labels  # as in Keras
    several = labels.ndim == 2 and labels.dtype.kind in "biu" and not one_hot(labels)
    if not (several or numbers) and (labels.dtype.kind not in "iu" or labels.ndim != 1):
        raise DataError(
            f"{where} must be whole numbers [N], found {labels.dtype} {list(labels.shape)}{_as_whole(labels)}"
        )
    if len(labels) != len(images):
        raise DataError(f"{path}: {len(images):,} {key} but {len(labels):,} {labels_key}")
    if numbers:
        if not np.isfinite(labels).all():
            row, column = np.argwhere(~np.isfinite(labels))[0]
            raise DataError(f"{where} [N, targets] must be finite, found {labels[row, column]} in row {row}")
        return [images, labels]
    if several:
        if (wrong := (labels != 0) & (labels != 1)).any():
            row, column = np.argwhere(wrong)[0]
            raise DataError(f"{where} [N, labels] must be 0 or 1, found {labels[row, column]} in row {row}")
        return [images, labels.astype(np.int32)]
    if labels.min() < 0 or labels.max() >= 1 << 31:
        raise DataError(f"{where} must count classes from 0, found {labels.min()} to {labels.max()}")
    return [images, labels.astype(np.int32)]


def _numbers(labels: np.ndarray) -> bool:
    """Whether these are numbers [N, targets] of regression: floating, and no classes or labels of a floating type."""
    if labels.ndim != 2 or labels.dtype.kind != "f" or labels.size == 0:
        return False
    return bool((labels != np.round(labels)).any() or (labels.shape[1] > 1 and not np.isin(labels, (0, 1)).all()))


def _as_whole(labels: np.ndarray) -> str:
    """How to make whole numbers [N] of labels that are one-hot, or whole numbers of another type."""
    if labels.dtype.kind not in "biuf":
        return ""
    if one_hot(labels):
        return "; one-hot rows: labels.argmax(1)"
    if labels.ndim in (1, 2) and np.isfinite(labels).all() and (labels == labels.astype(np.int64)).all():
        return "; labels.astype('int32')"
    return ""


def _as_bytes(images: np.ndarray) -> str:
    """The fix for images that are not uint8, depending on their maximum."""
    if images.dtype.kind not in "fiu" or images.size == 0:
        return ""
    low, high = images.min(), images.max()
    if not 0 <= low <= high <= 65535:  # false for NaN
        return f" from {low} to {high}"
    if high > 255:
        fix = "(images / 257).round().astype('uint8')"
    elif images.dtype.kind == "f":
        fix = f"{'(255 * images)' if high <= 1 else 'images'}.round().astype('uint8')"
    else:
        fix = "images.astype('uint8')"
    return f"; if they mean 0 to the brightest: {fix}"


def _classes(path: Path, names: np.ndarray) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise DataError(f"{path}: classes must be text [C], found {names.dtype} {list(names.shape)}")
    try:
        texts = [name.decode() if isinstance(name, bytes) else name for name in names.tolist()]
        "".join(texts).encode()  # fails for lone surrogates
    except ValueError as error:
        raise DataError(f"{path}: classes must be text that UTF-8 can write: {error}") from None
    return tuple(texts)
