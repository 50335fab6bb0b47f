"""Photographs of any size as squares of pixels, many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jaxconv._base.limits import cpu_cores
from jaxconv.data.picture import open_picture

__all__ = ["in_threads", "read_square"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_square(path: str | Path, size: int, channels: int = 3, shorter: int | None = None) -> np.ndarray:
    """Read a photograph: the shorter side becomes `size`, and the square in its middle is kept.

    It is turned as the camera was held, resampled by Lanczos' filter with its support widened so
    that nothing aliases, and laid over white where it is transparent.

    Args:
      path: a file in one of `jaxconv.data.picture.FORMATS`, whatever its name.
      size: side of the square, in pixels.
      channels: 3 for color, 1 for luminance.
      shorter: what the shorter side becomes, where more than a square of it is cut off: 256 for
        the usual 224 of ImageNet.

    Returns:
      uint8 [size, size, channels].

    Raises:
      DataError: the file is missing, no picture, damaged, or absurdly large.
    """
    from PIL import Image

    mode = "L" if channels == 1 else "RGB"
    # Twice the size: what a JPEG's own reduction blurs lies beyond what the filter lets through.
    picture = _plain(open_picture(path, near=2 * (shorter or size), mode=mode), mode)
    side = min(picture.size) * size / (shorter or size)
    if picture.size != (size, size) or side != size:
        left, top = ((length - side) / 2 for length in picture.size)
        box = (left, top, left + side, top + side)
        picture = picture.resize((size, size), Image.Resampling.LANCZOS, box=box)
    return np.asarray(picture, np.uint8).reshape(size, size, channels)


def _plain(picture: Any, mode: str) -> Any:
    from PIL import Image

    if picture.mode == "F":
        picture = Image.fromarray(np.round(np.asarray(picture) * 255).astype(np.uint8))
    if "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.new("RGBA", layer.size, "white")
        picture.alpha_composite(layer)
    return picture if picture.mode == mode else picture.convert(mode)


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """Call a function with each item, in as many threads as there are cores; results in order.

    Args:
      function: one that leaves Python's lock while it works, as decoders do.
      items: what to call it with.
      threads: None for one a core.

    >>> list(in_threads(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    with ThreadPoolExecutor(threads or cpu_cores()) as pool:
        try:
            yield from pool.map(function, items)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # what fails must not wait for all the rest
            raise
