"""Tables with a column of images in Parquet or Arrow files, as Hugging Face's `datasets` writes them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv._base.files import open_file
from jaxconv.data.encoded import Listed, some_of
from jaxconv.data.formats.arrow_files import Contents, contents, pyarrow, row_group, schema
from jaxconv.data.formats.columns import Columns, numbers, present
from jaxconv.data.formats.reading import json_value
from jaxconv.data.formats.shards import Stamp, stamp
from jaxconv.data.formats.tree import train_and_test

__all__ = ["ImageColumn", "arrow_table", "saved_parts"]


@dataclasses.dataclass(frozen=True)
class ImageColumn:
    """The images in a column of some files: binary, or structs of `bytes` and `path`.

    Args:
      base: folder of the files.
      files: their names.
      column: name of the column.
      starts: first row of each group of rows, then the number of rows: int64 [groups + 1].
      groups: index of its file, its number there, and its first row there: int64 [groups, 3].
      marks: for each file, a checksum, or the sizes of its images.
      stamps: for each file, its bytes and modification time.
    """

    base: Path
    files: tuple[str, ...]
    column: str
    starts: np.ndarray
    groups: np.ndarray
    marks: tuple[str | np.ndarray, ...]
    stamps: tuple[Stamp, ...]

    def _place(self, row: int) -> tuple[int, int, int, int]:
        """Index of a row's file, number of its group, place in it, and place in the file."""
        group = int(np.searchsorted(self.starts, row, "right")) - 1
        file, number, first = self.groups[group].tolist()
        place = row - int(self.starts[group])
        return file, number, place, first + place

    def key(self, row: int) -> str:
        file, *_, place = self._place(row)
        return f"{self.files[file]}: row {place}"

    def mark(self, row: int) -> object:
        file, *_, place = self._place(row)
        mark = self.marks[file]
        return mark if isinstance(mark, str) else int(mark[place])

    def read(self, row: int) -> bytes:
        file, number, place, _ = self._place(row)
        image = row_group(self.base / self.files[file], self.stamps[file], self.column, number)[place].as_py()
        content, path = (image["bytes"], image.get("path")) if isinstance(image, dict) else (image, None)
        if content is None and path:
            with open_file(self.base / path) as opened:
                return opened.read()
        if content is None:
            raise DataError(f"{self.base / self.key(row)} has no image")
        return bytes(content)


def arrow_table(files: list[Path], columns: Columns) -> Listed:
    """The images of `.parquet` or `.arrow` files of one schema.

    Args:
      files: the files, in the order of their rows.
      columns: the only column of images, and `label` or the only column of classes, if they are not given.

    Raises:
      ConfigError: if pyarrow is missing.
      DataError: if a file is damaged, columns are missing or of another type, or values are missing.
    """
    stamps = tuple(stamp(path) for path in files)
    first = schema(files[0])
    features = _features(first)
    image = _image_column(files[0], columns.image, first, features)
    names = list(columns.numbers) or [_label_column(files[0], columns.label, first, features)]
    key = columns.key if columns.numbers else "label_column"
    for path in files:
        found = schema(path)
        present(path, "image_column", image, found.names)
        for name in names:
            present(path, key, name, found.names)
        if (other := _classes(found, names[0])) != _classes(first, names[0]):
            raise DataError(f"{path} must have the classes of {files[0].name}, found {some_of(other or ['none'])}")
    read = [contents(path, image, names) for path in files]
    starts, groups = _groups(read)
    if starts[-1] == 0:
        raise DataError(f"{files[0]} holds no images")
    keys = tuple(path.name for path in files), image, starts, groups
    store = ImageColumn(files[0].parent, *keys, tuple(each.mark for each in read), stamps)
    tables = {path: each.columns for path, each in zip(files, read, strict=True)}
    if columns.numbers:
        values = [
            np.stack([_values(path, name, _present(path, table, name), "biuf") for name in names], 1)
            for path, table in tables.items()
        ]
        labels = numbers(
            columns, np.concatenate(values).astype(np.float64), lambda row: str(store.base / store.key(row))
        )
        return Listed(files[0].name, store, labels, columns.numbers)
    lists = [_lists(path, names[0], _present(path, table, names[0])) for path, table in tables.items()]
    labels = np.concatenate(
        [_values(path, names[0], each, "iuU") for path, (each, _) in zip(files, lists, strict=True)]
    )
    counts = [each for _, each in lists if each is not None]
    if 0 < len(counts) < len(lists):
        raise DataError(f"{files[0].parent}: column {names[0]!r} must have lists in all files or in none")
    return Listed(files[0].name, store, labels, _classes(first, names[0]), np.concatenate(counts) if counts else None)


def saved_parts(root: Path) -> list[list[Path]]:
    """The files of the parts of a folder written by `save_to_disk` of Hugging Face's `datasets`.

    Args:
      root: any folder.

    Returns:
      Files of each part, as `jaxconv.data.formats.shards.part_files`; none if the folder is not one of these.

    Raises:
      DataError: if there is no training part, a file is missing, or one that lists them is damaged.
    """
    if (root / "state.json").is_file():
        return [_data_files(root)]
    if not (root / "dataset_dict.json").is_file():
        return []
    names = [str(name) for name in json_value(root / "dataset_dict.json", "splits", "datasets")]
    parts = train_and_test(names)
    if not parts:
        raise DataError(f"{root} must have a part train, found {some_of(names)}; data.root = {root / names[0]}?")
    return [_data_files(root / name) for name in parts]


def _data_files(folder: Path) -> list[Path]:
    files = [folder / str(each["filename"]) for each in json_value(folder / "state.json", "_data_files", "datasets")]
    if lost := [file.name for file in files if not file.is_file()]:
        raise DataError(f"{folder / 'state.json'} lists files that are not in {folder}: {some_of(lost)}")
    return files


def _groups(read: list[Contents]) -> tuple[np.ndarray, np.ndarray]:
    """`starts` and `groups` of an `ImageColumn`."""
    groups = []
    for file, found in enumerate(read):
        firsts = np.cumsum([0, *found.sizes]).tolist()
        groups += [(file, number, firsts[number]) for number in range(len(found.sizes))]
    sizes = [size for found in read for size in found.sizes]
    return np.cumsum([0, *sizes]), np.array(groups, np.int64)


def _values(path: Path, name: str, column: Any, kinds: str) -> np.ndarray:
    """The values [N] of a column, of these kinds of NumPy's dtypes."""
    if pyarrow().types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    array = column.to_numpy()
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array):
        array = array.astype(str)
    if array.dtype.kind not in kinds:
        must = "numbers" if "f" in kinds else "whole numbers or text"
        raise DataError(f"{path}: column {name!r} must be {must}, found {column.type}")
    return np.asarray(array)


def _lists(path: Path, name: str, column: Any) -> tuple[Any, np.ndarray | None]:
    """The values of all lists in a column, and the length of each list; the column itself if these are no lists."""
    arrow = pyarrow()
    if not (arrow.types.is_list(column.type) or arrow.types.is_large_list(column.type)):
        return column, None
    values, counts = arrow.compute.list_flatten(column), arrow.compute.list_value_length(column).to_numpy()
    if values.null_count:
        row = np.repeat(np.arange(len(counts)), counts)[values.is_null().to_numpy()][0]
        raise DataError(f"{path}: row {row} lacks a value of {name}")
    return values, np.asarray(counts)


def _present(path: Path, table: Any, name: str) -> Any:
    """A column without missing values."""
    column = table.column(name)
    if column.null_count:
        raise DataError(f"{path}: row {column.is_null().to_pylist().index(True)} has no {name}")
    return column


def _features(found: Any) -> dict[str, Any]:
    """Hugging Face's description of the columns, in the metadata of a schema."""
    try:
        features = json.loads((found.metadata or {})[b"huggingface"])["info"]["features"]
        listed = {name: {"feature": each[0]} for name, each in features.items() if isinstance(each, list)}  # older
        return listed | {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _classes(found: Any, column: str) -> tuple[str, ...] | None:
    """Names of the classes of a column, if a schema has them."""
    feature = _features(found).get(column, {})
    inner = feature.get("feature")
    names = feature.get("names") or (inner.get("names") if isinstance(inner, dict) else None)
    return tuple(map(str, names)) if names else None


def _image_column(path: Path, name: str | None, found: Any, features: dict[str, Any]) -> str:
    """The column of images."""
    types = pyarrow().types

    def holds_images(kind: Any) -> bool:
        inner = kind.field("bytes").type if types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
        return types.is_binary(inner) or types.is_large_binary(inner)

    fitting = [field.name for field in found if holds_images(field.type)]
    images = [each for each in fitting if features.get(each, {}).get("_type") == "Image"] or fitting
    if name is None and len(images) != 1:
        columns = [f"{field.name} ({field.type})" for field in found]
        raise DataError(
            f"{path} must have one column of images, binary or a struct of bytes and path; found "
            f"{some_of(columns, 20)}; data.image_column names it"
        )
    if name is None:
        return images[0]
    if present(path, "image_column", name, found.names) not in fitting:
        kind = found.field(name).type
        raise DataError(f"{path}: column {name!r} must be binary or a struct of bytes and path, found {kind}")
    return name


def _label_column(path: Path, name: str | None, found: Any, features: dict[str, Any]) -> str:
    """The column of labels."""
    of_classes = [each for each in features if _classes(found, each)]
    if name is None and "label" not in found.names and len(of_classes) == 1:
        return of_classes[0]
    return present(path, "label_column", name or "label", found.names)
