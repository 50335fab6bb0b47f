"""Datasets, sources and batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import jax
import numpy as np

from jaxconv._base.errors import DataError
from jaxconv.data.labels import as_label, checked_labels, range_problem, taken
from jaxconv.data.spatial import Mask

__all__ = ["Arrays", "Batch", "Dataset", "Source", "label_struct", "shape_of"]


class Batch(NamedTuple):
    """A batch for training or evaluation.

    Args:
      image: [N, H, W, C], uint8 as stored or floating in the same units (0 to the dataset's peak).
      label: int32 [N]; numbers or soft labels, floating [N, classes]; or a pytree of these and of `Mask` and `Boxes`,
        which geometric augmentations move with the image.
      weight: float32 [N], weight of each image; 0 for padding.
      index: int32 [N], number of each image in the training set; None if unknown.
      epoch: int32 [N], number of the epoch, from 0; None if unknown.
    """

    image: Any
    label: Any
    weight: Any
    index: Any = None
    epoch: Any = None


class Source(Protocol):
    """Labeled images by index, read on access; Grain's data sources fit this protocol.

    One with an attribute `image_shape` is taken as it is; its labels are classes, or of the shapes and dtypes of its
    attribute `label_struct`.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, Any]:
        """Image uint8 [H, W, C], all of one shape, and label: an int, 0 or 1 of each label as integers
        [labels], floating [targets], or a `Mask` of [H, W].

        Raises:
          DataError: if the image is damaged; names it.
        """
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays:
    """A source in memory, which can be moved to device memory.

    Args:
      images: uint8 [N, H, W, C].
      labels: integers [N], or 0 and 1 as integers or bools [N, labels], which become int32; floating [N, targets],
        which become float32; or a `Mask` of integers [N, H, W].

    Raises:
      DataError: if their lengths differ, they have another dtype or shape, or labels exceed int32 or are not finite.

    >>> source = Arrays(np.zeros([4, 8, 8, 1], np.uint8), np.arange(4))
    >>> len(source), source[3][0].shape, source[3][1]
    (4, (8, 8, 1), 3)
    """

    images: np.ndarray
    labels: Any

    def __post_init__(self) -> None:
        images = self.images
        if images.ndim != 4 or images.dtype != np.uint8:
            raise DataError(f"images must be uint8 [N, H, W, C], not {images.dtype} {list(images.shape)}")
        object.__setattr__(self, "labels", checked_labels(self.labels, images))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, Any]:
        label = taken(self.labels, index)
        return self.images[index], int(label) if np.ndim(label) == 0 and not isinstance(label, Mask) else label


S = TypeVar("S", bound=Source, covariant=True)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset(Generic[S]):
    """Labeled images for training and testing.

    Args:
      name: its name in `load`.
      train: training images: `Arrays`, or any source. Grain sources of `{"image": …, "label": …}`, and images without
        a channel axis, are adapted.
      test: test images.
      classes: class names, in label order; names of the labels or targets, where an image has several.
      mean: mean of each channel of the training images, in pixel units (0 to `peak`).
      std: standard deviation of each channel, in the same units.
      peak: maximum pixel value.
      skipped: a message for each damaged image that was skipped while loading.
      photographs: whether to center-crop images to predict (photos) rather than letterbox them (drawings).
      task: what its labels are for, a task of `jaxconv.run.tasks`.
      interpolation: filter that photographs are resized by, see `jaxconv.data.decode.Interpolation`.

    Raises:
      DataError: if a part is empty, labels are outside the classes, or image shapes differ between the parts.

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
    task: str = "classification"
    interpolation: str = "lanczos"

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(map(_printable, self.classes)))
        for part in ("train", "test"):
            source = getattr(self, part)
            if len(source) == 0:
                raise DataError(f"{self.name} {part} holds no images")
            if isinstance(source, Arrays) and (problem := range_problem(source.labels, len(self.classes))):
                raise DataError(f"{self.name} {part} {problem}")
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


def label_struct(source: Source) -> Any:
    """Shape and dtype of a source's label: those of a batch without its first axis.

    Args:
      source: a source; if it has no `label_struct`, its labels are classes.
    """
    if not isinstance(source, Arrays):
        return getattr(source, "label_struct", jax.ShapeDtypeStruct((), np.int32))
    return _struct(taken(source.labels, 0))


def _struct(label: Any) -> Any:
    return jax.tree.map(lambda value: jax.ShapeDtypeStruct(value.shape, value.dtype), label)


def shape_of(source: Source) -> tuple[int, ...]:
    """Shape of a source's images: [H, W, C].

    Args:
      source: a source; if it has no `image_shape`, an image is read.

    Raises:
      DataError: if none of its images can be read.
    """
    if isinstance(source, Arrays):
        return source.images.shape[1:]
    known = getattr(source, "image_shape", None)
    return tuple(known) if known is not None else _first(source)[0].shape


class _Adapted:
    """Adapter of a source whose items are dicts, or images without a channel axis."""

    def __init__(self, source: Any):
        self.source = source
        image, label = self._item(_first(source), "the first image")
        self.image_shape, self.label_struct = image.shape, _struct(as_label(label))

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, Any]:
        return self._item(self.source[index], f"image {index}")

    def __getattr__(self, name: str) -> Any:
        if name == "source":  # not set yet during unpickling
            raise AttributeError(name)
        return getattr(self.source, name)

    def _item(self, item: Any, what: str) -> tuple[np.ndarray, Any]:
        try:
            image, label = (item["image"], item["label"]) if isinstance(item, Mapping) else item
            label = label if isinstance(label, Mask) or np.ndim(label) == 1 else int(label)
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
    fits = fits and np.ndim(item[1]) == 0 and not isinstance(item[1], Mask)
    return source if fits and item[0].dtype == np.uint8 else _Adapted(source)


def _first(source: Any) -> Any:
    """The first readable item. Damaged ones before it are handled when they are read."""
    reason: DataError | None = None
    for index in range(len(source)):
        try:
            return source[index]
        except DataError as error:
            reason = error
    raise DataError(f"none of the {len(source):,} images can be read; the last: {reason}")
