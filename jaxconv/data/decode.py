"""Decoding of photographs to squares, in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv._base.limits import cpu_cores
from jaxconv.data.picture import has_alpha, open_picture

__all__ = [
    "INTERPOLATIONS", "Interpolation", "crop_box", "in_threads", "mask_to_square", "pixmap_header", "read_all",
    "read_square", "read_whole", "stored_square", "to_square", "to_whole", "whole_size",
]  # fmt: skip

Interpolation: TypeAlias = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
"""Filters of Pillow, by its names and torchvision's; all but the nearest pixel are widened where an image shrinks."""
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_square(
    path: str | Path,
    size: int,
    channels: int = 3,
    shorter: int | None = None,
    *,
    interpolation: Interpolation = "lanczos",
    content: bytes | None = None,
) -> np.ndarray:
    """Read a photograph: resize the shorter side to `size` and center-crop.

    EXIF orientation is applied, and transparency is composited on white.

    Args:
      path: a file in one of `jaxconv.data.picture.FORMATS`, with any extension.
      size: side of the square, in pixels.
      channels: 3 for color, 1 for luminance.
      shorter: size of the shorter side before the crop, `size` by default: 256 for ImageNet's usual 224.
      interpolation: filter of the resizing.
      content: as of `jaxconv.data.picture.open_picture`.

    Returns:
      uint8 [size, size, channels].

    Raises:
      DataError: if the file is missing, not an image, damaged, or too large.
    """
    mode = "L" if channels == 1 else "RGB"
    # JPEG draft mode at twice the size: its blur is beyond the pass band of the filters, but for the nearest pixel.
    near = None if interpolation == "nearest" else 2 * (shorter or size)
    picture = open_picture(path, near=near, mode=mode, content=content)
    return to_square(picture, size, channels, shorter, interpolation)


def stored_square(content: bytes, size: int, channels: int) -> np.ndarray | None:
    """The pixels of a PPM or PGM file of just this size, as `jaxconv pack` writes them, without decoding; else None."""
    header = pixmap_header(size, size, channels)
    if not content.startswith(header) or len(content) != len(header) + size * size * channels:
        return None
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(size, size, channels)


def pixmap_header(width: int, height: int, channels: int) -> bytes:
    """Header of a PPM (3 channels) or PGM file (1) of 8 bits.

    >>> pixmap_header(32, 24, 3)
    b'P6 32 24 255\\n'
    """
    return f"P{6 if channels == 3 else 5} {width} {height} 255\n".encode()


def to_square(
    picture: Any,
    size: int,
    channels: int = 3,
    shorter: int | None = None,
    interpolation: Interpolation = "lanczos",
) -> np.ndarray:
    """A picture resized and center-cropped as by `read_square`, uint8 [size, size, channels].

    Args:
      picture: from `jaxconv.data.picture.open_picture`.
      size: side of the square, in pixels.
      channels: 3 for color, 1 for luminance.
      shorter: size of the shorter side before the crop, `size` by default.
      interpolation: filter of the resizing.
    """
    squared = _squared(_to_mode(picture, "L" if channels == 1 else "RGB"), size, shorter, interpolation)
    return np.asarray(squared, np.uint8).reshape(size, size, channels)


def read_whole(
    path: str | Path, shorter: int | None, channels: int = 3, interpolation: Interpolation = "lanczos"
) -> np.ndarray:
    """Read a picture whose shorter side becomes `shorter` pixels, without a crop: uint8 [H, W, channels].

    Args:
      path: as of `read_square`.
      shorter: size of the shorter side; None for the picture's own.
      channels: 3 for color, 1 for luminance.
      interpolation: filter of the resizing.

    Raises:
      DataError: as `read_square`.
    """
    return to_whole(open_picture(path), shorter, channels, interpolation)


def to_whole(picture: Any, shorter: int | None, channels: int = 3, interpolation: Interpolation = "lanczos") -> Any:
    """A picture resized as by `read_whole`, uint8 [H, W, channels].

    Args:
      picture: from `jaxconv.data.picture.open_picture`.
      shorter, channels, interpolation: as of `read_whole`.
    """
    picture = _to_mode(picture, "L" if channels == 1 else "RGB")
    width, height = whole_size(picture.size, shorter)
    if picture.size != (width, height):
        picture = picture.resize((width, height), _filter(interpolation))
    return np.asarray(picture, np.uint8).reshape(height, width, channels)


def whole_size(picture: tuple[int, int], shorter: int | None) -> tuple[int, int]:
    """Width and height of a picture whose shorter side becomes `shorter` pixels.

    Args:
      picture: its width and height.
      shorter: size of the shorter side; None for the picture's own.

    >>> whole_size((500, 375), 224)
    (299, 224)
    """
    shorter = shorter or min(picture)
    width, height = (max(shorter, round(length * shorter / min(picture))) for length in picture)
    return width, height


def mask_to_square(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask uint8 [H, W] resized by the nearest pixel and cropped as its image by `to_square`: uint8 [size, size]."""
    from PIL import Image

    return np.asarray(_squared(Image.fromarray(mask), size, None, "nearest"), np.uint8)


def crop_box(picture: tuple[int, int], size: int, shorter: int | None = None) -> tuple[float, float, float, float]:
    """The square in the middle of a picture that `read_square` resizes: left, top, right and bottom in pixels.

    Args:
      picture: its width and height.
      size: side of the result.
      shorter: what the picture's shorter side is resized to, `size` by default.

    >>> crop_box((500, 375), 224)
    (62.5, 0.0, 437.5, 375.0)
    """
    side = min(picture) * size / (shorter or size)
    left, top = ((length - side) / 2 for length in picture)
    return left, top, left + side, top + side


def _squared(picture: Any, size: int, shorter: int | None, interpolation: Interpolation) -> Any:
    box = crop_box(picture.size, size, shorter)
    if picture.size == (size, size) and box == (0, 0, size, size):
        return picture
    return picture.resize((size, size), _filter(interpolation), box=box)


def _filter(interpolation: Interpolation) -> Any:
    from PIL import Image

    return Image.Resampling[interpolation.upper()]


def _to_mode(picture: Any, mode: str) -> Any:
    from PIL import Image

    if picture.mode == "F":
        picture = Image.fromarray(np.round(np.asarray(picture) * 255).astype(np.uint8))
    if has_alpha(picture):
        layer = picture.convert("RGBA")
        picture = Image.new("RGBA", layer.size, "white")
        picture.alpha_composite(layer)
    return picture if picture.mode == mode else picture.convert(mode)


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """Map a function over items in threads; results are in order.

    Args:
      function: a function that releases the GIL, as decoders do.
      items: its arguments.
      threads: number of threads; None for one per core.

    >>> list(in_threads(abs, [-1, 2, -3]))
    [1, 2, 3]
    """
    with ThreadPoolExecutor(threads or cpu_cores()) as pool:
        try:
            yield from pool.map(function, items)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # do not wait for the rest after a failure
            raise


def read_all(source: Any, store: Callable[[int], None]) -> tuple[Any, list[str]]:
    """Read all images of a source in threads.

    Args:
      source: has a length, a folder `base`, and `corrupt`: "fail" or "skip" at a damaged image.
      store: reads the image of an index and keeps it.

    Returns:
      An index of the intact images, and the error messages of the others.

    Raises:
      DataError: of the first damaged image, if it is not skipped; if all are damaged.
    """

    def read(index: int) -> str:
        try:
            store(index)
        except DataError as error:
            if source.corrupt == "fail":
                raise
            return str(error)
        return ""

    messages = list(in_threads(read, range(len(source))))
    skipped = [message for message in messages if message]
    if not skipped:
        return slice(None), []
    if len(skipped) == len(messages):
        raise DataError(f"none of the {len(source):,} images in {source.base} can be read; the first: {skipped[0]}")
    return np.array([not message for message in messages]), skipped
