"""The record that every source of images fills in."""

from __future__ import annotations

import dataclasses

import numpy as np

from jaxconv.errors import DataError

__all__ = ["Dataset"]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images in two parts, held in memory as they were stored.

    Args:
      name: the name that `load` knows it by.
      train_images: uint8 [N, H, W, C].
      train_labels: int32 [N], each below `len(classes)`.
      test_images: uint8 [M, H, W, C].
      test_labels: int32 [M].
      classes: what each label is called, in label order.
      mean: the training images' mean of each channel, in pixel units (0 to `peak`).
      std: their standard deviation, in the same units.
      peak: the brightest value that a pixel can have.

    Raises:
      DataError: a part's images and labels disagree in number, type, shape or range.

    >>> images, labels = np.zeros([4, 8, 8, 1], np.uint8), np.arange(4, dtype=np.int32)
    >>> data = Dataset("tiny", images, labels, images, labels, tuple("abcd"), (0.0,), (1.0,))
    >>> data.image_shape
    (8, 8, 1)
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    peak: int = 255

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            _check_part(f"{self.name} {part}", images, labels, len(self.classes))
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"{self.name}: training images are {list(self.train_images.shape[1:])} "
                f"but test images are {list(self.test_images.shape[1:])}"
            )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels


def _check_part(name: str, images: np.ndarray, labels: np.ndarray, classes: int) -> None:
    if images.ndim != 4 or images.dtype != np.uint8:
        raise DataError(f"{name} images must be uint8 [N, H, W, C], not {images.dtype} {list(images.shape)}")
    if labels.ndim != 1 or labels.dtype != np.int32:
        raise DataError(f"{name} labels must be int32 [N], not {labels.dtype} {list(labels.shape)}")
    if len(images) != len(labels):
        raise DataError(f"{name}: {len(images):,} images but {len(labels):,} labels")
    if len(labels) == 0:
        raise DataError(f"{name} holds no images")
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"{name} labels must lie in 0..{classes - 1}, but go from {labels.min()} to {labels.max()}")
