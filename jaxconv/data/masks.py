"""Folders of images and of their masks, and the layout of PASCAL VOC."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import read_text, user_path
from jaxconv.data.class_names import VOC
from jaxconv.data.dataset import Dataset, Source
from jaxconv.data.decode import Interpolation
from jaxconv.data.encoded import some_of
from jaxconv.data.formats.tree import SUFFIXES, TEST_NAMES, TRAIN_NAMES
from jaxconv.data.mask_files import MaskFiles, voc_colors
from jaxconv.data.mask_source import MaskSource, check_mask_arguments, mask_dataset, split_pairs

__all__ = ["masks"]

_IMAGES, _MASKS = ("images", "image", "img", "imgs"), ("masks", "mask", "labels", "annotations")
_VOC = "JPEGImages", "SegmentationClass"

Color = tuple[int, int, int]


def masks(
    root: str | Path,
    size: int = 256,
    channels: int = 3,
    classes: tuple[str, ...] | None = None,
    palette: tuple[Color, ...] | None = None,
    ignore_index: int = 255,
    test_share: float = 0.1,
    seed: int = 0,
    in_memory: bool | Literal["auto"] = "auto",
    corrupt: Literal["fail", "skip"] = "fail",
    interpolation: Interpolation = "lanczos",
) -> Dataset[Source]:
    """Images with masks: `root/images/*.jpg` and `root/masks/*.png`, or the layout of PASCAL VOC.

    An image and its mask have the same path but for the extension. With folders `train` and `val` (or their other names
    of `folder`) above or below these two, they are the parts; else a share is held out for testing. VOC's
    `JPEGImages`, `SegmentationClass` and `ImageSets/Segmentation/train.txt` and `val.txt` are read as they are. A mask
    has the numbers of classes as pixels, also in a palette, or colors.

    Args:
      root: the folder.
      size: side of the square that images are resized (shorter side) and center-cropped to, with their masks.
      channels: 3 for color, 1 for luminance.
      classes: class names in the order of their numbers; those of `root/classes.txt`, one a line, if None, or VOC's.
      palette: color of each class, [red, green, blue]; VOC's if None.
      ignore_index: number of pixels without a class, which nothing counts.
      test_share: fraction of the images to hold out, if there is no test folder.
      seed: seed of that split.
      in_memory: whether to decode all images now; "auto" does so up to 512 MB.
      corrupt: as in `folder`; a mask that does not fit its image or the classes is damaged.
      interpolation: filter of the resizing of images, as in `folder`; masks take the nearest pixel.

    Raises:
      ConfigError: if an argument is out of range.
      DataError: if there are no images, images without a mask or masks without an image, the names of the classes are
        unknown, or a file is damaged or does not fit.
    """
    path = user_path(root)
    if not path.is_dir():
        raise DataError(f"data.root = {path} must be a folder of images and masks; there is no such folder")
    voc = all((path / name).is_dir() for name in _VOC)
    names = _class_names(path, classes, voc)
    given = {"size": size, "channels": channels, "ignore_index": ignore_index}
    check_mask_arguments(names, test_share=test_share, seed=seed, **given)
    colors = voc_colors() if palette is None else np.array(palette, np.int64)
    if palette is not None and (colors.shape != (len(names), 3) or colors.min() < 0 or colors.max() > 255):
        raise ConfigError(f"data.palette: must have a color [0..255, 0..255, 0..255] for each of {len(names)} classes")
    read = MaskFiles(len(names), colors.astype(np.uint8), ignore_index)
    sources = []
    for pairs in _voc_pairs(path) if voc else _pairs(path, test_share, seed):
        both = tuple((_bytes(path / image), _bytes(path / mask)) for image, mask in pairs)
        images, own = tuple(str(image) for image, _ in pairs), tuple(path / mask for _, mask in pairs)
        sources.append(MaskSource(path, images, own, both, read, corrupt=corrupt, interpolation=interpolation, **given))
    return mask_dataset(sources, names, in_memory)


def _class_names(path: Path, given: tuple[str, ...] | None, voc: bool) -> tuple[str, ...]:
    file = path / "classes.txt"
    if given is not None:
        names = tuple(given)
    elif file.is_file():
        names = tuple(line.strip() for line in read_text(file).splitlines() if line.strip())
    elif voc:
        return VOC
    else:
        raise DataError(
            f'{path} needs the names of its classes: data.classes = ["background", …], or one a line in {file}'
        )
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(f"{path} needs two or more different classes, got {', '.join(names) or 'none'}")
    return names


def _voc_pairs(path: Path) -> list[list[tuple[Path, Path]]]:
    """Images and masks of VOC's lists `train` and `val`."""
    parts = []
    for name in ("train", "val"):
        file = path / "ImageSets" / "Segmentation" / f"{name}.txt"
        try:
            stems = read_text(file).split()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read {file}, the list of images: {error}") from None
        pairs = [(Path(_VOC[0]) / f"{stem}.jpg", Path(_VOC[1]) / f"{stem}.png") for stem in stems]
        if lost := [str(each) for pair in pairs for each in pair if not (path / each).is_file()]:
            raise DataError(f"{file} lists files that {path} lacks: {some_of(lost)}")
        parts.append(pairs)
    return parts


def _pairs(path: Path, test_share: float, seed: int) -> list[list[tuple[Path, Path]]]:
    """Images and masks of the parts of a folder."""
    for inside in (False, True):  # train/images, or images/train
        train, test = (_both(path, names, inside) for names in (TRAIN_NAMES, TEST_NAMES))
        if train is not None and test is not None:
            return [_matched(path, *train), _matched(path, *test)]
    images, own = (_folder(path, names) for names in (_IMAGES, _MASKS))
    if images is None or own is None:
        lacks = " and ".join(names[0] for names, folder in ((_IMAGES, images), (_MASKS, own)) if folder is None)
        raise DataError(f"{path} must have folders images and masks, or train and val with these; it lacks {lacks}")
    pairs = _matched(path, images, own)
    return split_pairs(pairs, images, test_share, seed)


def _both(path: Path, names: tuple[str, ...], inside: bool) -> tuple[Path, Path] | None:
    """The folders of a part's images and masks: part/images, or images/part if `inside`; None if one is missing."""
    found = []
    for kinds in (_IMAGES, _MASKS):
        first, second = (kinds, names) if inside else (names, kinds)
        outer = _folder(path, first)
        found.append(None if outer is None else _folder(outer, second))
    return None if None in found else (found[0], found[1])  # type: ignore[return-value]


def _folder(path: Path, names: tuple[str, ...]) -> Path | None:
    """The first of these subfolders, in any case of its letters."""
    inside = {each.name.lower(): each for each in path.iterdir() if each.is_dir()}
    return next((inside[name] for name in names if name in inside), None)


def _matched(path: Path, images: Path, own: Path) -> list[tuple[Path, Path]]:
    """Each image with its mask, relative to the root; all must have one."""
    found: list[dict[str, Path]] = []
    for folder in (images, own):
        files: dict[str, Path] = {}
        for file in sorted(folder.rglob("*")):
            inner = file.relative_to(folder)
            if file.is_dir() or any(part.startswith(".") for part in inner.parts):
                continue
            if not file.name.lower().endswith(SUFFIXES):
                raise DataError(f"{folder} has a file that is no image: {inner}; move it elsewhere")
            key = str(inner.with_suffix(""))
            if key in files:
                raise DataError(f"{folder} has two files of one name, {files[key].name} and {file.name}; remove one")
            files[key] = file.relative_to(path)
        found.append(files)
    pictures, partners = found
    lines = []
    if lost := [str(file) for key, file in pictures.items() if key not in partners]:
        lines.append(f"images without a mask: {some_of(lost)}")
    if lost := [str(file) for key, file in partners.items() if key not in pictures]:
        lines.append(f"masks without an image: {some_of(lost)}")
    if lines:
        raise DataError(f"{path}: every image needs a mask of the same name; {'; '.join(lines)}")
    return [(pictures[key], partners[key]) for key in sorted(pictures)]


def _bytes(path: Path) -> int:
    return path.stat().st_size
