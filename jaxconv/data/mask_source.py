"""Images with masks, read from files on access or all at once."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.limits import check_memory
from jaxconv.data.dataset import Arrays, Dataset, Source
from jaxconv.data.decode import Interpolation, mask_to_square, read_all, to_square
from jaxconv.data.images import IMAGENET_MEAN, IMAGENET_STD, IN_MEMORY_BYTES
from jaxconv.data.picture import open_picture
from jaxconv.data.spatial import Mask

__all__ = ["MaskSource", "check_mask_arguments", "mask_dataset", "split_pairs"]

InMemory = bool | Literal["auto"]


@dataclasses.dataclass(frozen=True, eq=False)
class MaskSource:
    """Images with masks, decoded on access.

    Args:
      base: folder of the images.
      images: paths relative to it.
      masks: what `read` reads; as text, the name of the mask.
      sizes: bytes of the files of each image and its mask.
      read: mask -> its classes, uint8 [H, W].
      ignore_index: label of pixels without a class.
      size: side of the square that both are resized to.
      channels: 3 for color, 1 for luminance.
      corrupt: "fail" or "skip" at damaged images while streaming.
      interpolation: filter of the resizing of images.
    """

    base: Path
    images: tuple[str, ...]
    masks: tuple[Any, ...]
    sizes: tuple[tuple[int, int], ...]
    read: Callable[[Any], np.ndarray]
    ignore_index: int = 255
    size: int = 256
    channels: int = 3
    corrupt: Literal["fail", "skip"] = "fail"
    interpolation: Interpolation = "lanczos"

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """Path of an image, for messages."""
        return str(self.base / self.images[index])

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, Mask]:
        """Image uint8 [size, size, channels] and its mask, uint8 [size, size].

        Raises:
          DataError: if a file is damaged, their sizes differ, or the mask has a value of no class.
        """
        path = self.base / self.images[index]
        picture = open_picture(path)
        mask = self.read(self.masks[index])
        if mask.shape != (picture.height, picture.width):
            sizes = f"{mask.shape[1]}×{mask.shape[0]}, its image {path} is {picture.width}×{picture.height}"
            raise DataError(f"{self.masks[index]} must be as large as its image: it is {sizes}")
        image = to_square(picture, self.size, self.channels, interpolation=self.interpolation)
        return image, Mask(mask_to_square(mask, self.size), self.ignore_index)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return self.size, self.size, self.channels

    @property
    def label_struct(self) -> Mask:
        """Shape and dtype of every mask."""
        return Mask(jax.ShapeDtypeStruct((self.size, self.size), np.uint8), self.ignore_index)

    def take(self, indices: np.ndarray) -> MaskSource:
        """A source of the images at some indices."""
        parts: Any = {name: tuple(getattr(self, name)[i] for i in indices) for name in ("images", "masks", "sizes")}
        return dataclasses.replace(self, **parts)

    def fingerprint(self) -> dict[str, Any]:
        """Number of images, and a hash of the names and sizes of images and masks (not their content)."""
        lines = hashlib.sha256()
        for image, mask, size in zip(self.images, self.masks, self.sizes, strict=True):
            name = str(mask).removeprefix(f"{self.base}{os.sep}")
            lines.update(f"{image}\t{name}\t{size}\n".encode(errors="surrogateescape"))
        return {"images": len(self), "sha256": lines.hexdigest()}


def check_mask_arguments(classes: Sequence[str], **given: Any) -> None:
    """Raise ConfigError if an argument of a dataset with masks is out of range."""
    checks = [
        ("size", given["size"] >= 1, "must be at least 1"),
        ("channels", given["channels"] in (1, 3), "must be 1 or 3"),
        ("test_share", 0 < given["test_share"] < 1, "must lie between 0 and 1"),
        ("seed", given["seed"] >= 0, "must be at least 0"),
        ("ignore_index", len(classes) <= given["ignore_index"] <= 255, "must be no class, up to 255"),
    ]
    if lines := [f"data.{name}: {must}, got {given[name]}" for name, holds, must in checks if not holds]:
        raise ConfigError("\n".join(lines))


def split_pairs(pairs: list[Any], where: Path, test_share: float, seed: int) -> list[list[Any]]:
    """Images with their masks for training, and those held out for testing, both in order."""
    if len(pairs) < 2:
        raise DataError(f"{where} must have two or more images, to hold one out for testing; found {len(pairs)}")
    order = np.random.default_rng(seed).permutation(len(pairs))
    cut = min(max(round(test_share * len(pairs)), 1), len(pairs) - 1)
    return [[pairs[k] for k in np.sort(part)] for part in (order[cut:], order[:cut])]


def mask_dataset(parts: Sequence[MaskSource], classes: tuple[str, ...], in_memory: InMemory) -> Dataset[Source]:
    """A dataset of the sources for training and testing, loaded into memory if asked for or small.

    Raises:
      ConfigError: if it cannot be held in memory.
      DataError: if a file is damaged or does not fit.
    """
    size, channels = parts[0].size, parts[0].channels
    area = size * size * (channels + 1)
    check_memory(f"data.size={size}: one image of {size}×{size}×{channels}", area, "a smaller data.size")
    sources: list[Any] = list(parts)
    needed = sum(map(len, sources)) * area
    if in_memory is True:
        check_memory(f"data.in_memory with data.size={size}", needed, 'a smaller data.size, or in_memory="auto"')
    skipped: list[str] = []
    if in_memory is True or (in_memory == "auto" and needed <= IN_MEMORY_BYTES):
        for number, source in enumerate(sources):
            sources[number], lost = _decoded(source)
            skipped += lost
    return Dataset(
        name=parts[0].base.resolve().name,
        train=sources[0],
        test=sources[1],
        classes=classes,
        mean=IMAGENET_MEAN[channels],
        std=IMAGENET_STD[channels],
        skipped=tuple(skipped),
        photographs=True,
        interpolation=parts[0].interpolation,
        task="segmentation",
    )


def _decoded(source: MaskSource) -> tuple[Arrays, list[str]]:
    """Load a source into memory; returns it without damaged images, and their error messages."""
    images = np.empty([len(source), *source.image_shape], np.uint8)
    own = np.empty([len(source), source.size, source.size], np.uint8)

    def store(index: int) -> None:
        images[index], mask = source[index]
        own[index] = mask.values

    intact, skipped = read_all(source, store)
    return Arrays(images[intact], Mask(own[intact], source.ignore_index)), skipped
