"""Mask files: classes as numbers, colors of a palette, or colors."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv.data.picture import open_picture

__all__ = ["MaskFiles", "voc_colors"]


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
class MaskFiles:
    """Reads the classes of a mask's pixels from a file.

    Args:
      classes: number of classes.
      palette: uint8 [colors, 3], the color of each class.
      ignore_index: label of pixels without a class.
    """

    classes: int
    palette: np.ndarray
    ignore_index: int

    def __call__(self, path: Path) -> np.ndarray:
        """The classes, uint8 [H, W].

        Raises:
          DataError: if the file is damaged, or has a value or color of no class.
        """
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
