"""Regions of an image by their pixels: "30,40" or "10:40,20:60"."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from jaxconv._base.errors import ConfigError

__all__ = ["Region", "parse_region", "region_mask"]

_AXIS = r"(\d{1,9})(?::(\d{1,9}))?"


class Region(NamedTuple):
    """Rows and columns of an image, each from a start up to a stop that is not included."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    def __str__(self) -> str:
        return ",".join(f"{a}" if b == a + 1 else f"{a}:{b}" for a, b in self)


def parse_region(text: str) -> Region:
    """The region that a text names: a row and a column, or ranges of them, in NumPy's notation.

    Raises:
      ConfigError: if the text is invalid.

    >>> parse_region("30,40"), str(parse_region("10:40, 20:60"))
    (Region(rows=(30, 31), columns=(40, 41)), '10:40,20:60')
    """
    found = re.fullmatch(rf"\s*{_AXIS}\s*,\s*{_AXIS}\s*", text)
    region = None
    if found:
        top, bottom, left, right = (None if part is None else int(part) for part in found.groups())
        assert top is not None
        assert left is not None
        region = Region((top, top + 1 if bottom is None else bottom), (left, left + 1 if right is None else right))
    if region is None or any(stop <= start for start, stop in region):
        raise ConfigError(f"--pixels must be ROW,COLUMN or ranges of them, as 30,40 or 10:40,20:60; got {text!r}")
    return region


def region_mask(region: Region, size: tuple[int, int], shape: tuple[int, int], name: str) -> np.ndarray:
    """A region of an image file as a mask of the image that the net gets, which may have another size.

    Args:
      region: in pixels of the file.
      size: rows and columns of the file.
      shape: those of the net's image.
      name: of the file.

    Returns:
      bool [*shape], with at least one pixel.

    Raises:
      ConfigError: if the region is not within the file's image.

    >>> region_mask(parse_region("4:8,0"), (8, 8), (4, 2), "a.png").astype(int).tolist()
    [[0, 0], [0, 0], [1, 0], [1, 0]]
    """
    if any(stop > n for (_, stop), n in zip(region, size, strict=True)):
        last = f"0,0 to {size[0] - 1},{size[1] - 1}"
        raise ConfigError(f"--pixels must be within the image; {name} has pixels {last}, got {region}")
    mask = np.ones(shape, bool)
    for axis, ((start, stop), n, cells) in enumerate(zip(region, size, shape, strict=True)):
        first = start * cells // n
        place = np.arange(cells)
        inside = (place >= first) & (place < max(-(-stop * cells // n), first + 1))
        mask &= inside[:, None] if axis == 0 else inside
    return mask
