"""The records that every source of images fills in."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxconv.errors import DataError

__all__ = ["Arrays", "Batch", "Dataset", "Source"]


class Batch(NamedTuple):
    """What one step of training or evaluation sees.

    Args:
      image: [N, H, W, C]; uint8 as stored, or floating in the same units (0 to the data's peak).
      label: int32 [N], or floating [N, classes]: the share of each class, where images were mixed.
      weight: float32 [N]: how much each image counts; 0 for what only fills a batch up.
    """

    image: Any
    label: Any
    weight: Any


class Source(Protocol):
    """Labelled images addressed by number, read where they are asked for; Grain's sources are some."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, int]:
        """Image uint8 [H, W, C], of one shape for all, and label.

        Raises:
          DataError: the image is damaged; names it.
        """
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays:
    """A source that lies in memory whole, and so may lie on the device.

    Args:
      images: uint8 [N, H, W, C].
      labels: int32 [N].

    Raises:
      DataError: they disagree in number, or have another type or shape.

    >>> source = Arrays(np.zeros([4, 8, 8, 1], np.uint8), np.arange(4, dtype=np.int32))
    >>> len(source), source[3][0].shape, source[3][1]
    (4, (8, 8, 1), 3)
    """

    images: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.ndim != 4 or images.dtype != np.uint8:
            raise DataError(f"images must be uint8 [N, H, W, C], not {images.dtype} {list(images.shape)}")
        if labels.ndim != 1 or labels.dtype != np.int32:
            raise DataError(f"labels must be int32 [N], not {labels.dtype} {list(labels.shape)}")
        if len(images) != len(labels):
            raise DataError(f"{len(images):,} images but {len(labels):,} labels")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, int]:
        return self.images[index], int(self.labels[index])


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images in two parts.

    Args:
      name: the name that `load` knows it by.
      train: the images to train on: `Arrays`, or any source.
      test: the images to test on.
      classes: what each label is called, in label order.
      mean: the training images' mean of each channel, in pixel units (0 to `peak`).
      std: their standard deviation, in the same units.
      peak: the brightest value that a pixel can have.

    Raises:
      DataError: a part is empty, its labels lie outside the classes, or the parts' images differ
        in shape.

    >>> part = Arrays(np.zeros([4, 8, 8, 1], np.uint8), np.arange(4, dtype=np.int32))
    >>> Dataset("tiny", part, part, tuple("abcd"), (0.0,), (1.0,)).image_shape
    (8, 8, 1)
    """

    name: str
    train: Source
    test: Source
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    peak: int = 255

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            source = getattr(self, part)
            if len(source) == 0:
                raise DataError(f"{self.name} {part} holds no images")
            if isinstance(source, Arrays):
                low, high = source.labels.min(), source.labels.max()
                if low < 0 or high >= len(self.classes):
                    allowed = f"0..{len(self.classes) - 1}"
                    raise DataError(f"{self.name} {part} labels must lie in {allowed}, but go from {low} to {high}")
        shapes = [_shape(source) for source in (self.train, self.test)]
        if shapes[0] != shapes[1]:
            raise DataError(f"{self.name}: training images are {list(shapes[0])} but test images are {list(shapes[1])}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        height, width, channels = _shape(self.train)
        return height, width, channels


def _shape(source: Source) -> tuple[int, ...]:
    if isinstance(source, Arrays):
        return source.images.shape[1:]
    known = getattr(source, "image_shape", None)  # a source that knows need not read an image to say so
    return tuple(known) if known is not None else source[0][0].shape
