"""Images as the bytes of their files, of any format, decoded on access."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import jax
import numpy as np

from jaxconv._base.errors import DataError
from jaxconv.data.decode import Interpolation, read_square, stored_square

__all__ = ["EncodedImages", "Listed", "Store", "some_of"]


class Store(Protocol):
    """Encoded images by row: what a format has to provide.

    It can be pickled, and read by several threads and processes at once.
    """

    @property
    def base(self) -> Path:
        """The file or folder that holds the images."""
        ...

    def key(self, row: int) -> str:
        """Name of an image below `base`; no two have the same."""
        ...

    def mark(self, row: int) -> object:
        """What differs if the image is replaced, known without reading it: its size or checksum."""
        ...

    def read(self, row: int) -> bytes:
        """The file of an image.

        Raises:
          DataError: if it is damaged; names it.
          OSError: if it cannot be read.
        """
        ...


class Listed(NamedTuple):
    """The images of one part of a dataset, as a format lists them.

    Args:
      part: name of the part in messages.
      store: the images.
      labels: for each row of the store, integers [N], texts [N], floating [N, targets], or 0 and 1 [N, labels]; those
        of all rows, one after the other, if a row has a list of them.
      classes: names of classes or labels, in their order, or of the targets; None if the format has none.
      counts: number of labels of each row, int [N], if these are lists.
      where: `row -> place`: where its label is, for messages; None if it is known by its image.
    """

    part: str
    store: Store
    labels: np.ndarray
    classes: tuple[str, ...] | None = None
    counts: np.ndarray | None = None
    where: Callable[[int], str] | None = None

    def place(self, row: int) -> str:
        """Where the label of a row is, for messages."""
        return str(self.store.base / self.store.key(row)) if self.where is None else self.where(row)


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedImages:
    """A source of encoded images.

    Args:
      store: the images.
      rows: row of each image in it, int [N].
      labels: int32 [N], or float32 [N, targets].
      size: side of the square that each is resized to.
      channels: 3 for color, 1 for luminance.
      corrupt: "fail" or "skip" at damaged images while streaming.
      interpolation: filter of the resizing.
    """

    store: Store
    rows: np.ndarray
    labels: np.ndarray
    size: int
    channels: int
    corrupt: Literal["fail", "skip"] = "fail"
    interpolation: Interpolation = "lanczos"

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, Any]:
        label, content = self.labels[index], self.content(index)
        image = stored_square(content, self.size, self.channels)
        if image is None:
            how: Any = {"interpolation": self.interpolation, "content": content}
            image = read_square(self.name(index), self.size, self.channels, **how)
        return image, int(label) if label.ndim == 0 else label

    @property
    def base(self) -> Path:
        """The file or folder that holds the images."""
        return self.store.base

    @property
    def files(self) -> tuple[str, ...]:
        """Name of each image below `base`."""
        return tuple(self.store.key(int(row)) for row in self.rows)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return self.size, self.size, self.channels

    @property
    def label_struct(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of every label."""
        return jax.ShapeDtypeStruct(self.labels.shape[1:], self.labels.dtype)

    def name(self, index: int) -> str:
        """Path of an image, for messages."""
        return str(self.base / self.store.key(int(self.rows[index])))

    def content(self, index: int) -> bytes:
        """The file of an image, not decoded.

        Raises:
          DataError: if it cannot be read.
        """
        try:
            return self.store.read(int(self.rows[index]))
        except OSError as error:
            raise DataError(f"cannot read {self.name(index)}: {error.strerror or error}") from None

    def take(self, indices: np.ndarray) -> EncodedImages:
        """A source of the images at some indices."""
        return dataclasses.replace(self, rows=self.rows[indices], labels=self.labels[indices])

    def fingerprint(self) -> dict[str, Any]:
        """Number of images, and a hash of their names, labels and marks (not their content)."""
        digest = hashlib.sha256()
        for row, label in zip(self.rows.tolist(), self.labels.tolist(), strict=True):
            line = f"{self.store.key(row)}\t{label}\t{self.store.mark(row)}\n"
            digest.update(line.encode(errors="surrogateescape"))
        return {"images": len(self), "sha256": digest.hexdigest()}


def some_of(names: Sequence[object], most: int = 5) -> str:
    """The first names of a list, and the number of the others.

    >>> some_of(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(map(str, names[:most]))}{rest}"
