"""COCO's segmentations as arrays: polygons and run-length encodings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError

__all__ = ["decode_rle", "fill_polygon", "run_lengths", "segment"]

_FINE = 5  # COCO's outlines are traced on a grid of fifths of a pixel


def segment(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a segmentation, bool [H, W].

    Args:
      segmentation: polygons `[[x0, y0, x1, y1, …], …]`, whose union is taken, or a run-length encoding
        `{"counts": …, "size": [H, W]}` with counts as numbers or as COCO's text.
      size: height and width of the image.

    Raises:
      DataError: if it is neither, or does not fit the image.

    >>> print(1 * segment([[1, 0, 4, 0, 4, 2, 1, 2]], (3, 5)))
    [[0 1 1 1 0]
     [0 1 1 1 0]
     [0 0 0 0 0]]
    """
    if isinstance(segmentation, Mapping):
        return decode_rle(segmentation, size)
    if not isinstance(segmentation, list) or not segmentation:
        raise DataError(f"must have polygons or a run-length encoding, found {_brief(segmentation)}")
    inside = np.zeros(size, bool)
    for polygon in segmentation:
        numbers = isinstance(polygon, list) and all(isinstance(x, int | float) and abs(x) < 1e6 for x in polygon)
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            raise DataError(f"must have polygons [x0, y0, x1, y1, x2, y2, …], found {_brief(polygon)}")
        inside |= fill_polygon(np.array(polygon, np.float64).reshape(-1, 2), size)
    return inside


def fill_polygon(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels inside of a polygon, bool [H, W], by the rule of COCO's own tools.

    The outline is traced on a grid of fifths of a pixel. Where it crosses the center line of a column of pixels, the
    pixels below change sides: what an odd number of crossings lies above is inside.

    Args:
      corners: float64 [K, 2], x and y in pixels; the last one is joined to the first.
      size: height and width of the image.

    Source: the COCO API, `rleFrPoly` of `maskApi.c` (Lin et al. 2014).
    """
    height, width = size
    start = (_FINE * corners + 0.5).astype(np.int64)
    end = np.roll(start, -1, axis=0)
    steps = np.abs(end - start)
    flat = steps[:, 0] >= steps[:, 1]
    length = steps.max(1)
    # Each edge is traced along its longer axis, from the lower end; its points are listed in its own direction.
    along, across = np.where(flat, 0, 1), np.where(flat, 1, 0)
    edge = np.arange(len(start))
    back = start[edge, along] > end[edge, along]
    first, last = np.where(back[:, None], end, start), np.where(back[:, None], start, end)
    slope = (last - first)[edge, across] / np.maximum(length, 1)
    of = np.repeat(edge, length + 1)
    t = np.arange(len(of)) - np.repeat(np.cumsum(length + 1) - length - 1, length + 1)
    t = np.where(back[of], length[of] - t, t)
    major = first[edge, along][of] + t
    minor = (first[edge, across][of] + slope[of] * t + 0.5).astype(np.int64)
    x, y = np.where(flat[of], major, minor), np.where(flat[of], minor, major)
    column, center = np.divmod(np.minimum(x[1:], x[:-1]), _FINE)
    crossing = (x[1:] != x[:-1]) & (center == _FINE // 2) & (column >= 0) & (column < width)
    row = np.ceil((np.minimum(y[1:], y[:-1])[crossing] + 0.5) / _FINE - 0.5)
    inside = np.zeros([width, height], bool)
    if len(crossed := column[crossing]):
        left, right = crossed.min(), crossed.max() + 1
        place = (crossed - left) * height + np.clip(row, 0, height).astype(np.int64)
        crossings = np.bincount(place, minlength=(right - left) * height + 1)[:-1]
        inside[left:right] = (np.cumsum(crossings) % 2 == 1).reshape(-1, height)
    return inside.T


def decode_rle(encoding: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """The pixels of a run-length encoding, bool [H, W].

    Args:
      encoding: `{"counts": …, "size": [H, W]}`: lengths of runs outside and inside in turn, down the columns.
      size: height and width of the image.

    Raises:
      DataError: if it is not an encoding, or not of this size.

    >>> print(1 * decode_rle({"counts": [1, 3, 2], "size": [2, 3]}, (2, 3)))
    [[0 1 0]
     [1 1 0]]
    """
    if encoding.get("size") != list(size):
        found = encoding.get("size")
        raise DataError(f'must have a run-length encoding of "size" {list(size)}, as its image, found {_brief(found)}')
    counts = encoding.get("counts")
    runs = run_lengths(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(isinstance(run, int) and run >= 0 for run in runs):
        raise DataError(f'must have "counts" that are lengths of runs, found {_brief(counts)}')
    if sum(runs) != size[0] * size[1]:
        raise DataError(f"must have runs of {size[0] * size[1]} pixels in all, as its image, found {sum(runs)}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size[1], size[0]).T


def run_lengths(text: str) -> list[int]:
    """The lengths of runs that a text of COCO's compressed encoding holds; [-1] if it is none.

    A number is written in groups of five bits from the lowest, one a character from "0", the sixth bit of which says
    that more follow; from the fourth number on, it is the difference to the one before the last.

    Source: the COCO API, `rleFrString` of `maskApi.c` (Lin et al. 2014).

    >>> run_lengths("13:0")
    [1, 3, 10, 3]
    """
    runs: list[int] = []
    value = shift = 0
    for code in (ord(character) - 48 for character in text):
        if not 0 <= code < 64 or shift > 60:
            return [-1]
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (1 << shift) * (code >> 4 & 1)  # the highest bit is the sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs if shift == 0 else [-1]


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
