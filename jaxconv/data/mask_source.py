"""Images with masks, read from files on access or all at once."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from jaxconv._base.errors import DataError
from jaxconv.data.dataset import Arrays
from jaxconv.data.decode import mask_to_square, read_all, to_square
from jaxconv.data.picture import open_picture
from jaxconv.data.spatial import Mask

__all__ = ["MaskSource", "decoded", "voc_colors"]


def voc_colors() -> np.ndarray:
    """The colors of classes 0 to 255 in the masks of PASCAL VOC, uint8 [256, 3]: black, dark red, green, ….

    Source: the VOC development kit (Everingham et al. 2010).

    >>> voc_colors()[[0, 1, 255]].tolist()
    [[0, 0, 0], [128, 0, 0], [224, 224, 192]]
    """
    index, colors = np.arange(256), np.zeros([256, 3], np.int64)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= ((index >> channel) & 1) << (7 - bit)
        index = index >> 3
    return colors.astype(np.uint8)


@dataclasses.dataclass(frozen=True, eq=False)
class MaskSource:
    """Images with masks, decoded on access.

    Args:
      base: folder of the files.
      images: paths relative to it.
      masks: those of their masks.
      sizes: bytes of each image and its mask.
      classes: number of classes.
      palette: uint8 [colors, 3], the color of each class.
      ignore_index: label of pixels without a class.
      size: side of the square that both are resized to.
      channels: 3 for color, 1 for luminance.
      corrupt: "fail" or "skip" at damaged images while streaming.
    """

    base: Path
    images: tuple[str, ...]
    masks: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    classes: int
    palette: np.ndarray
    ignore_index: int = 255
    size: int = 256
    channels: int = 3
    corrupt: Literal["fail", "skip"] = "fail"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int, /) -> tuple[np.ndarray, Mask]:
        """Image uint8 [size, size, channels] and its mask, uint8 [size, size].

        Raises:
          DataError: if a file is damaged, their sizes differ, or the mask has a value or color of no class.
        """
        path = self.base / self.images[index]
        picture = open_picture(path)
        mask = self._mask(self.base / self.masks[index])
        if mask.shape != (picture.height, picture.width):
            sizes = f"{mask.shape[1]}×{mask.shape[0]}, its image {path} is {picture.width}×{picture.height}"
            raise DataError(f"{self.base / self.masks[index]} must be as large as its image: it is {sizes}")
        return to_square(picture, self.size, self.channels), Mask(mask_to_square(mask, self.size), self.ignore_index)

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
        """Number of images, and a hash of the paths and sizes of images and masks (not their content)."""
        lines = (
            f"{image}\t{mask}\t{size}\n" for image, mask, size in zip(self.images, self.masks, self.sizes, strict=True)
        )
        return {
            "images": len(self),
            "sha256": hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest(),
        }

    def _mask(self, path: Path) -> np.ndarray:
        """The classes of a mask's pixels, uint8 [H, W]."""
        picture = open_picture(path, raw=True)
        if picture.mode in ("RGB", "RGBA"):
            return self._of_colors(path, np.asarray(picture.convert("RGB")))
        if picture.mode not in ("P", "L", "1") and not picture.mode.startswith("I"):
            raise DataError(f"{path} must be a mask of classes or colors, got a picture of mode {picture.mode}")
        values = np.asarray(picture).astype(np.int64)
        wrong = (values < 0) | ((values >= self.classes) & (values != self.ignore_index))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise DataError(
                f"{path} must have classes 0..{self.classes - 1}, or {self.ignore_index} where none is known; "
                f"found {values[row, column]} in row {row}, column {column}"
            )
        if picture.mode == "P":
            self._check_palette(path, picture, np.unique(values))
        return values.astype(np.uint8)

    def _check_palette(self, path: Path, picture: Any, used: np.ndarray) -> None:
        """Raise DataError if a class has another color in a picture's palette, which is then not of these classes.

        A gray palette says nothing of classes.
        """
        colors = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        if (colors == colors[:, :1]).all():
            return
        for value in used[(used < len(self.palette)) & (used < len(colors)) & (used != self.ignore_index)]:
            if (colors[value] != self.palette[value]).any():
                raise DataError(
                    f"{path}: the palette does not match the classes: class {value} must be "
                    f"{self.palette[value].tolist()}, found {colors[value].tolist()}; data.palette has the colors"
                )

    def _of_colors(self, path: Path, pixels: np.ndarray) -> np.ndarray:
        """Classes of the colors of a mask."""
        codes, known = (colors.astype(np.int64) @ [1 << 16, 1 << 8, 1] for colors in (pixels, self.palette))
        classes = {int(code): value for value, code in enumerate(known[: self.classes].tolist())}
        if self.ignore_index < len(known):
            classes.setdefault(int(known[self.ignore_index]), self.ignore_index)
        found, inverse = np.unique(codes, return_inverse=True)
        if strange := [code for code in found.tolist() if code not in classes]:
            row, column = np.argwhere(codes == strange[0])[0]
            raise DataError(
                f"{path}: the colors must be those of data.palette; found {pixels[row, column].tolist()} "
                f"in row {row}, column {column}"
            )
        return np.array([classes[code] for code in found.tolist()], np.uint8)[inverse.reshape(codes.shape)]


def decoded(source: MaskSource) -> tuple[Arrays, list[str]]:
    """Load a source into memory; returns it without damaged images, and their error messages."""
    images = np.empty([len(source), *source.image_shape], np.uint8)
    own = np.empty([len(source), source.size, source.size], np.uint8)

    def store(index: int) -> None:
        images[index], mask = source[index]
        own[index] = mask.values

    intact, skipped = read_all(source, store)
    return Arrays(images[intact], Mask(own[intact], source.ignore_index)), skipped
