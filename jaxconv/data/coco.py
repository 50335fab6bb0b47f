"""Images with the annotations of COCO: `instances_*.json` and `panoptic_*.json`."""

from __future__ import annotations

import collections
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxconv._base.errors import ConfigError, DataError, not_one_of
from jaxconv._base.files import read_text, user_path
from jaxconv.data.coco_masks import segment
from jaxconv.data.dataset import Dataset, Source
from jaxconv.data.decode import Interpolation
from jaxconv.data.encoded import some_of
from jaxconv.data.formats.tree import TEST_NAMES, TRAIN_NAMES
from jaxconv.data.mask_source import MaskSource, check_mask_arguments, mask_dataset, split_pairs
from jaxconv.data.picture import open_picture

__all__ = ["coco"]

_BACKGROUND = "background"
_MOST_PIXELS = 1 << 28
_FIELDS: dict[str, dict[str, type]] = {
    "images": {"id": int, "file_name": str, "width": int, "height": int},
    "categories": {"id": int, "name": str},
}
_ANNOTATIONS: dict[str, dict[str, type]] = {
    "instances": {"image_id": int, "category_id": int},
    "panoptic": {"image_id": int, "file_name": str, "segments_info": list},
}
_SEGMENTS = {"id": int, "category_id": int}


def coco(
    root: str | Path,
    size: int = 256,
    channels: int = 3,
    kind: Literal["instances", "panoptic"] = "instances",
    categories: tuple[str, ...] | None = None,
    ignore_index: int = 255,
    test_share: float = 0.1,
    seed: int = 0,
    in_memory: bool | Literal["auto"] = "auto",
    corrupt: Literal["fail", "skip"] = "fail",
    interpolation: Interpolation = "lanczos",
) -> Dataset[Source]:
    """Images with the annotations of COCO, as masks of classes.

    `root/annotations/instances_train2017.json` and `instances_val2017.json` with images in `root/train2017` and
    `root/val2017`, or in folders of these names in `root/images`; other words than `2017` will do. Of one file
    `instances_*.json`, a share of the images is held out for testing. `panoptic_train2017.json` has its PNG files in
    `annotations/panoptic_train2017`. Images that a file does not list are not read.

    Instances: class 0 is the background, and an image without annotations is all background. As in torchvision's
    reference, pixels of two or more annotations have no class (`ignore_index`), and other categories than `categories`
    are background; the pixels of a crowd (`iscrowd`) have no class either. Panoptic: pixels of no segment and of crowds
    have no class; there is a background only where `categories` leaves others out.

    Args:
      root: the folder.
      size: side of the square that images are resized (shorter side) and center-cropped to, with their masks.
      channels: 3 for color, 1 for luminance.
      kind: "instances" or "panoptic".
      categories: names of the categories to use, in the order of their classes; all in the order of their ids if None.
      ignore_index: number of pixels without a class, which nothing counts.
      test_share: fraction of the images to hold out, if there is one file of annotations.
      seed: seed of that split.
      in_memory: whether to decode all images now; "auto" does so up to 512 MB.
      corrupt: as in `folder`; an annotation that does not fit its image is damaged.
      interpolation: filter of the resizing of images, as in `folder`; masks take the nearest pixel.

    Raises:
      ConfigError: if an argument is out of range, or a category unknown.
      DataError: if files are missing, an annotation has no image or no listed category, or a file is damaged.

    Source: Lin et al. 2014; Kirillov et al. 2019 (panoptic); torchvision, `references/segmentation/coco_utils.py`.
    """
    path = user_path(root)
    files = _files(path, kind)
    contents = [_content(file, kind) for file in files]
    chosen = _categories(files, [content["categories"] for content in contents], categories)
    others = kind == "instances" or len(chosen) < len(contents[0]["categories"])
    names = (_BACKGROUND, *(name for name in chosen if name != _BACKGROUND)) if others else tuple(chosen)
    if len(names) < 2:
        raise ConfigError(f"data.categories: must leave two or more classes, got {', '.join(names)}")
    given: dict[str, Any] = {"size": size, "channels": channels, "ignore_index": ignore_index}
    check_mask_arguments(names, test_share=test_share, seed=seed, **given)
    labels: dict[str, Any] = {"classes": {key: names.index(name) for name, key in chosen.items()}}
    labels |= {"ignore_index": ignore_index} | ({"other": 0} if kind == "panoptic" else {})
    read = functools.partial(_panoptic if kind == "panoptic" else _instances, **labels)
    parts: list[Any] = [_pairs(path, *each, kind) for each in zip(files, contents, strict=True)]
    sources, given = [], given | {"corrupt": corrupt, "interpolation": interpolation}
    for pairs in parts if len(parts) == 2 else split_pairs(parts[0], files[0], test_share, seed):
        images, annotated, sizes = zip(*pairs, strict=True) if pairs else ((), (), ())
        sources.append(MaskSource(path, images, annotated, sizes, read, **given))
    return mask_dataset(sources, names, in_memory)


class _Annotated(NamedTuple):
    """An image's annotations: their name in messages, the image's height and width, and the records."""

    name: str
    size: tuple[int, int]
    records: Sequence[Mapping[str, Any]]

    def __str__(self) -> str:
        return self.name


def _instances(known: _Annotated, *, classes: Mapping[int, int], ignore_index: int) -> np.ndarray:
    """The classes of an image's pixels, uint8 [H, W], of instances."""
    mask, covered = np.zeros(known.size, np.uint8), np.zeros(known.size, bool)
    for each in known.records:
        if each["category_id"] not in classes:
            continue
        try:
            inside = segment(each.get("segmentation"), known.size)
        except DataError as error:
            raise DataError(f"{known}: annotation {each.get('id', 'without id')} {error}") from None
        mask[inside] = ignore_index if each.get("iscrowd") else classes[each["category_id"]]
        mask[inside & covered] = ignore_index
        covered |= inside
    return mask


def _panoptic(known: _Annotated, *, classes: Mapping[int, int], other: int, ignore_index: int) -> np.ndarray:
    """The classes of an image's pixels, uint8 [H, W], of a panoptic PNG: id = red + 256 green + 256² blue."""
    picture = open_picture(known.name, raw=True)
    if picture.mode != "RGB":
        raise DataError(f"{known} must have colors, which number segments; found a picture of mode {picture.mode}")
    ids = np.asarray(picture).astype(np.int64) @ [1, 1 << 8, 1 << 16]
    (record,) = known.records
    of = {0: ignore_index}
    for each in record["segments_info"]:
        of[each["id"]] = ignore_index if each.get("iscrowd") else classes.get(each["category_id"], other)
    found, inverse = np.unique(ids, return_inverse=True)
    if strange := [number for number in found.tolist() if number not in of]:
        row, column = np.argwhere(ids == strange[0])[0]
        raise DataError(f"{known}: segment {strange[0]} in row {row}, column {column} is not in its segments_info")
    if lost := sorted(set(of) - {0, *found.tolist()}):
        raise DataError(f"{known} lacks segments of its segments_info: {some_of(list(map(str, lost)))}")
    return np.array([of[number] for number in found.tolist()], np.uint8)[inverse.reshape(ids.shape)]


def _files(path: Path, kind: str) -> list[Path]:
    """The annotations for training and testing, or the only ones."""
    if not path.is_dir():
        raise DataError(f"data.root = {path} must be a folder of images and annotations; there is no such folder")
    folder = path / "annotations" if (path / "annotations").is_dir() else path
    found = sorted(folder.glob(f"{kind}_*.json"))
    if len(found) == 1:
        return found
    parts = []
    for names in (TRAIN_NAMES[:1], TEST_NAMES):
        fitting = [[file for file in found if file.stem.split("_", 1)[1].startswith(name)] for name in names]
        parts.append(next((files for files in fitting if files), []))
    if [len(files) for files in parts] != [1, 1]:
        has = some_of([file.name for file in found]) or "none"
        raise DataError(
            f"{folder} must have {kind}_train*.json and {kind}_val*.json, one of each, or one file; found {has}"
        )
    return [files[0] for files in parts]


def _content(file: Path, kind: str) -> dict[str, Any]:
    """The records of a file, checked as far as they refer to each other."""
    try:
        content = json.loads(read_text(file))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} must be a JSON file of annotations: {error}") from None
    for name, fields in (_FIELDS | {"annotations": _ANNOTATIONS[kind]}).items():
        records = content.get(name) if isinstance(content, dict) else None
        _check_records(records, fields, f"{file}: {name}")
    for name in ("images", "categories"):
        counts = collections.Counter(record["id"] for record in content[name])
        if twice := [str(key) for key, count in counts.items() if count > 1]:
            raise DataError(f"{file}: {name} must have different ids; more than once occurs {some_of(twice)}")
    images, categories = ({record["id"] for record in content[name]} for name in ("images", "categories"))
    for each in content["annotations"]:
        where = f"{file}: annotation {each.get('id', each.get('file_name', 'without id'))}"
        if each["image_id"] not in images:
            raise DataError(f"{where} is of image {each['image_id']}, which the file does not list")
        if kind == "panoptic":
            _check_records(each["segments_info"], _SEGMENTS, f"{where}: segments_info")
        for own in each["segments_info"] if kind == "panoptic" else [each]:
            if own["category_id"] not in categories:
                raise DataError(f"{where} is of category {own['category_id']}, which the file does not list")
    return content


def _check_records(records: Any, fields: Mapping[str, type], where: str) -> None:
    if not isinstance(records, list):
        raise DataError(f"{where} must be a list, found {type(records).__name__}")
    for number, record in enumerate(records):
        for key, kind in fields.items():
            value = record.get(key) if isinstance(record, dict) else None
            if not isinstance(value, kind):
                raise DataError(f'{where}[{number}] must have "{key}" ({kind.__name__}), found {value!r}')


def _categories(files: list[Path], found: list[Any], given: tuple[str, ...] | None) -> dict[str, int]:
    """Ids of the categories to use, by name."""
    tables = [{record["name"]: record["id"] for record in sorted(part, key=lambda each: each["id"])} for part in found]
    if any(table != tables[0] for table in tables):
        raise DataError(f"{files[0].name} and {files[1].name} in {files[0].parent} must have the same categories")
    if len(tables[0]) < len(found[0]):
        raise DataError(f"{files[0]}: categories must have different names")
    if given is None:
        return tables[0]
    for name in given:
        if name not in tables[0]:
            raise ConfigError(not_one_of("data.categories", name, tables[0]))
    if len(set(given)) < len(given) or not given:
        raise ConfigError(f"data.categories: must be different names, got {list(given)}")
    return {name: tables[0][name] for name in given}


def _pairs(path: Path, file: Path, content: dict[str, Any], kind: str) -> list[tuple[str, _Annotated, tuple[int, int]]]:
    """Each image with its annotations and the bytes of both, in the order of the file."""
    part = file.stem.split("_", 1)[1]
    folder = next((each for each in (path / part, path / "images" / part, path / "images") if each.is_dir()), None)
    if folder is None:
        raise DataError(f"{path} must have the images of {file.name} in a folder {part}, images/{part} or images")
    panoptic = kind == "panoptic"
    of: dict[int, list[dict[str, Any]]] = {record["id"]: [] for record in content["images"]}
    for each in content["annotations"]:
        of[each["image_id"]].append(each)
    if panoptic and (wrong := [str(key) for key, own in of.items() if len(own) != 1]):
        raise DataError(f"{file} must have one annotation of each image; it has not of image {some_of(wrong)}")
    pairs, lost = [], []
    for record in content["images"]:
        key, image, size = record["id"], folder / record["file_name"], (record["height"], record["width"])
        mask = file.with_suffix("") / of[key][0]["file_name"] if panoptic else file
        lost += [str(each) for each in (image, mask) if not (each.is_file() and each.is_relative_to(path))]
        if not (min(size) >= 1 and size[0] * size[1] <= _MOST_PIXELS):
            raise DataError(f"{file}: image {key} must have from 1 to {_MOST_PIXELS:,} pixels, found {list(size)}")
        if not lost:
            known = _Annotated(str(mask) if panoptic else f"{file}, image {key}", size, of[key])
            pairs.append((str(image.relative_to(path)), known, (image.stat().st_size, mask.stat().st_size)))
    if lost:
        raise DataError(f"{file} lists files that {path} lacks: {some_of(lost)}")
    return pairs
