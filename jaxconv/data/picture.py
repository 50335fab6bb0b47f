"""Any picture file as an image that a trained net can take."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv._base.files import open_file

__all__ = ["FORMATS", "Picture", "open_picture", "read_picture"]

_LIGHT = 0.5
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif",),
}
"""Pillow's names of the formats that are read, and how their files end: pixels alone, no format that is a program."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture fitted to a net.

    Args:
      pixels: float32 [H, W, C] in the data set's units.
      inverted: whether light and dark were exchanged.
    """

    pixels: np.ndarray
    inverted: bool


def read_picture(path: str | Path, shape: tuple[int, int, int], peak: float, invert: bool | None = None) -> Picture:
    """Read a picture of any size and color and fit it to a data set's images.

    Its aspect is kept; what is left over is filled with its own background, and it is put in the
    middle. The known one-channel sets draw light on dark, so a picture with a light border is
    inverted unless `invert` says otherwise.

    Args:
      path: a file in one of `FORMATS`, whatever its name.
      shape: height, width and channels wanted; 1 or 3 channels.
      peak: the brightest value of the data set's pixels.
      invert: exchange light and dark; None for "where one channel is wanted and the border is
        light".

    Returns:
      The picture.

    Raises:
      DataError: the file is missing, no picture, damaged, or absurdly large.
    """
    height, width, channels = shape
    values = _to_floats(open_picture(path), channels)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    background = np.median(border, axis=0)
    inverted = (channels == 1 and float(background.mean()) > _LIGHT) if invert is None else invert
    if inverted:
        values, background = 1 - values, 1 - background
    return Picture(_fit(values, background, height, width) * np.float32(peak), inverted)


def open_picture(path: str | Path, near: int | None = None, mode: str = "RGB") -> Any:
    """Open a picture, turned as its camera was held; many threads may do so at once.

    Args:
      path: a file in one of `FORMATS`, whatever its name.
      near: where pixels of about this side are enough, a JPEG is decoded at a half, a quarter or
        an eighth of its size, no smaller than that.
      mode: "L" spares a JPEG its colors.

    Returns:
      A `PIL.Image`, loaded; one of more than 8 bits in mode "F", its values in 0..1.

    Raises:
      DataError: the file is missing, no picture, damaged, or absurdly large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.init()  # left to `open`, a thread may miss formats that another is just registering
    try:
        # Not all that Pillow knows: for EPS, whatever the file is called, it would start Ghostscript.
        formats = [name for name in FORMATS if name in Image.OPEN]
        with open_file(path) as file, Image.open(file, formats=formats) as picture:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and picture.width * picture.height > limit:
                raise DataError(
                    f"{path} is too large a picture: {picture.width}×{picture.height} pixels, at most {limit:,}"
                )
            if near is not None:
                picture.draft(mode, (near, near))
            picture.load()
            ImageOps.exif_transpose(picture, in_place=True)
            # More than 8 bits: Pillow's own conversion would clip everything above 255 to white.
            return Image.fromarray(_shallow(path, picture)) if picture.mode.startswith(("I", "F")) else picture
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{path} is no picture that can be read") from None
    # Where warnings are errors; elsewhere Pillow warns of its own accord.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path} is too large a picture: {error}") from None
    except MemoryError:
        raise
    # A file that ends early or contradicts itself makes a decoder raise nearly anything.
    except Exception as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _shallow(path: str | Path, picture: Any) -> np.ndarray:
    """float32 [h, w] in 0..1 of a picture of 16 or 32 bits; where its mode says nothing, the largest value does."""
    deep = np.asarray(picture, np.float32)
    high = float(deep.max())
    if not (np.isfinite(deep).all() and high <= 65535):
        raise DataError(f"{path} must have pixels of at most 65,535, and none that are NaN or infinite; found {high:g}")
    sixteen = picture.mode.startswith("I;16") or picture.format == "PPM"
    top = 65535 if sixteen or high > 255 else 1 if picture.mode == "F" and high <= 1 else 255
    return np.clip(deep / np.float32(top), 0, 1)


def _to_floats(picture: Any, channels: int) -> np.ndarray:
    """float32 [h, w, channels] in 0..1, transparency laid over the background that contrasts."""
    mode = "L" if channels == 1 else "RGB"
    if picture.mode == "F":
        return np.repeat(np.asarray(picture)[..., None], channels, axis=-1)
    if "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        opacity = np.asarray(layered.getchannel("A"), np.float32)[..., None] / 255
        color = np.asarray(layered.convert("RGB").convert(mode), np.float32).reshape(*opacity.shape[:2], -1) / 255
        drawn = float((color.mean(-1, keepdims=True) * opacity).sum() / max(float(opacity.sum()), 1.0))
        return color * opacity + (1 - opacity) * (0.0 if drawn > _LIGHT else 1.0)
    values = np.asarray(picture.convert(mode), np.float32) / 255
    return values.reshape(*values.shape[:2], -1)


def _fit(values: np.ndarray, background: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize to lie within height × width, then fill up with the background on all sides."""
    from PIL import Image

    scale = min(height / values.shape[0], width / values.shape[1])
    rows, columns = (max(1, round(scale * side)) for side in values.shape[:2])
    rows, columns = min(rows, height), min(columns, width)
    resized = [
        np.asarray(
            Image.fromarray(channel).resize(
                (columns, rows), Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
            )
        )
        for channel in np.ascontiguousarray(np.moveaxis(values, -1, 0), np.float32)
    ]
    result = np.empty([height, width, values.shape[-1]], np.float32)
    result[:] = background
    top, left = (height - rows) // 2, (width - columns) // 2
    result[top : top + rows, left : left + columns] = np.stack(resized, axis=-1)
    return result
