"""Datasets that TensorFlow Datasets built as ArrayRecord shards, read without it and without TensorFlow."""

from __future__ import annotations

import dataclasses
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv._base.files import read_text
from jaxconv.data.encoded import Listed, some_of
from jaxconv.data.formats.columns import Columns, numbers, present
from jaxconv.data.formats.example import parse_example
from jaxconv.data.formats.reading import json_value
from jaxconv.data.formats.records import Records, count_records
from jaxconv.data.formats.shards import stamp
from jaxconv.data.formats.tree import train_and_test

__all__ = ["Examples", "build_parts", "built_table"]

FEATURES, INFO = "features.json", "dataset_info.json"
FORMAT = "array_record"
_WRITER = "TensorFlow Datasets"
_FILES = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


@dataclasses.dataclass(frozen=True)
class Examples:
    """Images in the examples of ArrayRecord shards.

    Args:
      records: the examples.
      feature: name of the images.
      marks: bytes and checksum of each.
    """

    records: Records
    feature: str
    marks: tuple[str, ...]

    @property
    def base(self) -> Path:
        return self.records.base

    def key(self, row: int) -> str:
        return self.records.key(row)

    def mark(self, row: int) -> str:
        return self.marks[row]

    def read(self, row: int) -> bytes:
        place = str(self.base / self.key(row))
        return _content(place, self.feature, _parsed(place, self.records.read(row), [self.feature]))


def build_parts(root: Path) -> list[list[Path]]:
    """The files of the parts that TensorFlow Datasets built in a folder: `cifar10/3.0.2`, or `cifar10` of one version.

    Args:
      root: any folder.

    Returns:
      Files of each part, as `jaxconv.data.formats.shards.part_files`; none if the folder is not one of these.

    Raises:
      DataError: if there are several versions, it was built in another file format, there is no training part, a shard
        is missing, or a file that lists them is damaged.
    """
    found = sorted(root.glob(FEATURES)) or sorted(root.glob(f"*/{FEATURES}"))
    builds = [path.parent for path in found if (path.parent / INFO).is_file()]
    if not builds:
        return []
    if len(builds) > 1:
        names = some_of([folder.name for folder in builds])
        raise DataError(f"{root} has {len(builds)} builds of {_WRITER}, {names}; data.root names one")
    root = builds[0]
    try:
        splits = {str(split["name"]): split for split in json_value(root / INFO, "splits", _WRITER)}
    except (KeyError, TypeError) as error:
        raise DataError(f"{root / INFO} must list splits as {_WRITER} writes it: {error!r}") from None
    parts = train_and_test(splits)
    if not parts:
        raise DataError(f"{root} must have a part train, found {some_of(list(splits)) or 'none'}")
    return [_shards(root, splits[name]) for name in parts]


def built_table(files: list[Path], columns: Columns) -> Listed:
    """The images of a part. Labels are in the examples: all are read once.

    Args:
      files: its shards.
      columns: `image` or the only feature of images, and `label` or the only one of classes, if they are not given.

    Raises:
      ConfigError: if array_record is missing.
      DataError: if a shard is damaged, or features are missing or of another type.
    """
    root = files[0].parent
    features = _features(root)
    image = _chosen(root, "image_column", columns.image, features, "Image", "image")
    names = [present(root / FEATURES, columns.key, name, features) for name in columns.numbers]
    label = "" if names else _chosen(root, "label_column", columns.label, features, "ClassLabel", "label")
    starts = np.cumsum([0, *(count_records(path) for path in files)])
    records = Records(root, tuple(path.name for path in files), (), starts, tuple(stamp(path) for path in files))
    marks, found = [], []
    for row, record in enumerate(records.all()):
        place = str(root / records.key(row))
        parsed = _parsed(place, record, [image, label, *names])
        content = _content(place, image, parsed)
        marks.append(f"{len(content)} {zlib.crc32(content):08x}")
        found.append([_number(place, name, parsed) for name in names] if names else parsed.get(label, []))
    store = Examples(records, image, tuple(marks))
    if names:
        labels = numbers(columns, np.array(found, np.float64), lambda row: str(root / records.key(row)))
        return Listed(files[0].name, store, labels, columns.numbers)
    several = _kind(features[label]) == "Sequence"
    for row, values in enumerate(found if not several else []):
        _single(str(root / records.key(row)), label, {label: values})
    labels = _classes_in(root, label, [value for values in found for value in values])
    counts = np.array([len(values) for values in found]) if several else None
    return Listed(files[0].name, store, labels, _classes(root, label, features[label]), counts)


def _classes_in(root: Path, label: str, values: list[Any]) -> np.ndarray:
    """The values of a feature as class numbers or names [N]."""
    if any(isinstance(value, float) for value in values):
        raise DataError(f"{root}: {label!r} must be classes, found numbers; data.targets = [{label!r}] predicts them")
    return np.array([value.decode(errors="replace") if isinstance(value, bytes) else value for value in values])


def _shards(root: Path, split: dict[str, Any]) -> list[Path]:
    """The shards of a part, all of which exist, with as many records as they must have."""
    info = root / INFO
    if (built := json_value(info, "fileFormat", _WRITER, "tfrecord")) != FORMAT:
        raise DataError(
            f"{root} was built as {built}, which has no random access; "
            f'tfds.builder(name, file_format="{FORMAT}").download_and_prepare() builds it as {FORMAT}'
        )
    try:
        lengths = [int(length) for length in split["shardLengths"]]
        template = str(split.get("filepathTemplate") or _FILES)
        words = {"DATASET": json_value(info, "name", _WRITER), "SPLIT": split["name"], "FILEFORMAT": FORMAT}
        paths = []
        for index in range(len(lengths)):
            shard = {"SHARD_INDEX": f"{index:05}", "NUM_SHARDS": f"{len(lengths):05}"}
            both = {"SHARD_X_OF_Y": f"{index:05}-of-{len(lengths):05}"}
            paths.append(root / template.format(**words, **shard, **both))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{info} must list shards as {_WRITER} writes it: {error!r}") from None
    if lost := [path.name for path in paths if not path.is_file()]:
        raise DataError(f"{info} lists shards that are not in {root}: {some_of(lost)}")
    for path, length in zip(paths, lengths, strict=True):
        if (records := count_records(path)) != length:
            raise DataError(
                f"{path} is truncated, damaged or of another build: {INFO} says {length:,} examples, found {records:,}"
            )
    return paths


def _features(root: Path) -> dict[str, Any]:
    """Descriptions of the features by name."""
    found = json_value(root / FEATURES, "featuresDict", _WRITER)
    try:
        return dict(found["features"])
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{root / FEATURES} must describe a dict of features, as {_WRITER} writes it") from None


def _kind(feature: Any) -> str:
    """The class of a feature: Image, ClassLabel, Text, Tensor, Scalar, Sequence and others."""
    return str(feature.get("pythonClassName", "")).rpartition(".")[2] if isinstance(feature, dict) else ""


def _chosen(root: Path, key: str, name: str | None, features: dict[str, Any], kind: str, usual: str) -> str:
    """Name of a feature: the config's, the usual one, or the only one of a kind."""
    path = root / FEATURES
    if name is None:
        of_kind = [each for each, feature in features.items() if kind in (_kind(feature), _kind(_inner(feature)))]
        name = of_kind[0] if usual not in features and len(of_kind) == 1 else usual
    present(path, key, name, features)
    if kind == "Image" and _kind(features[name]) != kind:
        raise DataError(f"{path}: {name!r} must be an Image, found {_kind(features[name]) or 'another feature'}")
    return name


def _inner(feature: Any) -> Any:
    """The feature that a sequence repeats."""
    return feature.get("sequence", {}).get("feature", {}) if _kind(feature) == "Sequence" else {}


def _classes(root: Path, label: str, feature: Any) -> tuple[str, ...] | None:
    """Class names in the file that is named after a feature, or numbers; None if its values are no classes."""
    described = next((each for each in (feature, _inner(feature)) if _kind(each) == "ClassLabel"), None)
    if described is None:
        return None
    path = root / f"{label}.labels.txt"
    if not path.is_file():
        return tuple(map(str, range(int(described.get("classLabel", {}).get("numClasses", 0))))) or None
    try:
        return tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _parsed(place: str, record: bytes, names: list[str]) -> dict[str, list[Any]]:
    try:
        return parse_example(record, names)
    except ValueError as error:
        raise DataError(f"{place} must be a tf.train.Example: {error}") from None


def _single(place: str, name: str, parsed: dict[str, list[Any]]) -> Any:
    """The only value of a feature."""
    values = parsed.get(name, [])
    if len(values) != 1:
        raise DataError(f"{place}: {name} must be one value, found {len(values)}")
    return values[0]


def _content(place: str, name: str, parsed: dict[str, list[Any]]) -> bytes:
    value = _single(place, name, parsed)
    if not isinstance(value, bytes):
        raise DataError(f"{place}: {name} must be bytes, found a number")
    return value


def _number(place: str, name: str, parsed: dict[str, list[Any]]) -> float:
    value = _single(place, name, parsed)
    if isinstance(value, bytes):
        raise DataError(f"{place}: {name} must be a number, found bytes")
    return float(value)
