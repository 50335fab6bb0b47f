"""The records that every source of images fills in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from jaxconv._base.errors import DataError

__all__ = ["Arrays", "Batch", "Dataset", "Source", "shape_of"]


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
    """Labeled images addressed by number, read where they are asked for; Grain's sources are some."""

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


S = TypeVar("S", bound=Source, covariant=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset(Generic[S]):
    """Labeled images in two parts.

    Args:
      name: the name that `load` knows it by.
      train: the images to train on: `Arrays`, or any source; one of Grain's that gives
        `{"image": …, "label": …}`, or images without channels, is adapted.
      test: the images to test on.
      classes: what each label is called, in label order.
      mean: the training images' mean of each channel, in pixel units (0 to `peak`).
      std: their standard deviation, in the same units.
      peak: the brightest value that a pixel can have.
      skipped: what was left out while loading, a message for each damaged image.
      photographs: whether a picture is one by its middle square; else it is a drawing on a ground of its own.

    Raises:
      DataError: a part is empty, its labels lie outside the classes, or the parts' images differ
        in shape.

    >>> part = Arrays(np.zeros([4, 8, 8, 1], np.uint8), np.arange(4, dtype=np.int32))
    >>> Dataset("tiny", part, part, tuple("abcd"), (0.0,), (1.0,)).image_shape
    (8, 8, 1)
    """

    name: str
    train: S
    test: S
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    peak: int = 255
    skipped: tuple[str, ...] = ()
    photographs: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(map(_printable, self.classes)))
        for part in ("train", "test"):
            source = getattr(self, part)
            if len(source) == 0:
                raise DataError(f"{self.name} {part} holds no images")
            if isinstance(source, Arrays):
                low, high = source.labels.min(), source.labels.max()
                if low < 0 or high >= len(self.classes):
                    allowed = f"0..{len(self.classes) - 1}"
                    raise DataError(f"{self.name} {part} labels must lie in {allowed}, but go from {low} to {high}")
            object.__setattr__(self, part, _adapted(source))
        shapes = [shape_of(source) for source in (self.train, self.test)]
        if shapes[0] != shapes[1]:
            raise DataError(f"{self.name}: training images are {list(shapes[0])} but test images are {list(shapes[1])}")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        height, width, channels = shape_of(self.train)
        return height, width, channels


def _printable(name: Any) -> str:
    """A class's name as text that every file can hold: a byte that is no UTF-8 becomes `\\udce9`."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def shape_of(source: Source) -> tuple[int, ...]:
    """Shape of a source's images: [H, W, C].

    Args:
      source: one that has `image_shape` need not read an image to tell.

    Raises:
      DataError: none of its images can be read.
    """
    if isinstance(source, Arrays):
        return source.images.shape[1:]
    known = getattr(source, "image_shape", None)
    return tuple(known) if known is not None else _first(source)[0].shape


class _Adapted:
    """A source whose items are dicts, or images without channels, as one of images [H, W, C] and labels."""

    def __init__(self, source: Any):
        self.source = source
        self.image_shape = self._item(_first(source), "the first image")[0].shape

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, int]:
        return self._item(self.source[index], f"image {index}")

    def __getattr__(self, name: str) -> Any:
        if name == "source":  # not there yet while a copy is being unpickled
            raise AttributeError(name)
        return getattr(self.source, name)

    def _item(self, item: Any, what: str) -> tuple[np.ndarray, int]:
        try:
            image, label = (item["image"], item["label"]) if isinstance(item, Mapping) else item
            label = int(label)
        except (KeyError, TypeError, ValueError):
            kind = f"a dict of {', '.join(map(str, item))}" if isinstance(item, Mapping) else f"a {type(item).__name__}"
            raise DataError(
                f'{what}: a source must give (image, label) or {{"image": …, "label": …}}, it gave {kind}'
            ) from None
        image = np.asarray(image)
        if image.ndim not in (2, 3) or image.dtype != np.uint8:
            raise DataError(f"{what} must be uint8 [H, W, C] or [H, W], not {image.dtype} {list(image.shape)}")
        return image[..., None] if image.ndim == 2 else image, label


def _adapted(source: Any) -> Any:
    if isinstance(source, Arrays) or hasattr(source, "image_shape"):
        return source
    item = _first(source)
    fits = isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], np.ndarray) and item[0].ndim == 3
    return source if fits and item[0].dtype == np.uint8 else _Adapted(source)


def _first(source: Any) -> Any:
    """The first item that can be read; damaged ones before it are for whoever reads them to judge."""
    for index in range(len(source)):
        try:
            return source[index]
        except DataError as error:
            reason = error
    raise DataError(f"none of the {len(source):,} images can be read; the last: {reason}")
