"""Reading image files, and fitting them to a network's input."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv._base.files import open_file

__all__ = ["FORMATS", "Picture", "has_alpha", "open_picture", "read_picture"]

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
"""File extensions by Pillow's format name; without formats that can execute code, such as EPS."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture fitted to a network's input.

    Args:
      pixels: float32 [H, W, C] in the dataset's units.
      inverted: whether light and dark were swapped.
    """

    pixels: np.ndarray
    inverted: bool


def read_picture(path: str | Path, shape: tuple[int, int, int], peak: float, invert: bool | None = None) -> Picture:
    """Read a picture of any size and color and letterbox it to the shape of a dataset's images.

    The picture is centered and padded with its own background color. One-channel datasets are light on dark, so a
    picture with a light border is inverted by default.

    Args:
      path: a file in one of `FORMATS`, with any extension.
      shape: target height, width and channels (1 or 3).
      peak: maximum pixel value of the dataset.
      invert: whether to swap light and dark; None for pictures with a light border and one channel.

    Returns:
      The picture.

    Raises:
      DataError: if the file is missing, not an image, damaged, or too large.
    """
    height, width, channels = shape
    values = _to_floats(open_picture(path), channels)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    background = np.median(border, axis=0)
    inverted = (channels == 1 and float(background.mean()) > _LIGHT) if invert is None else invert
    if inverted:
        values, background = 1 - values, 1 - background
    return Picture(_fit(values, background, height, width) * np.float32(peak), inverted)


def open_picture(
    path: str | Path,
    near: int | None = None,
    mode: str = "RGB",
    *,
    raw: bool = False,
    content: bytes | None = None,
) -> Any:
    """Open a picture and apply its EXIF orientation. Thread-safe.

    Args:
      path: a file in one of `FORMATS`, with any extension.
      near: side that suffices; a JPEG is decoded at 1/2, 1/4 or 1/8 of its size, but no smaller than this.
      mode: "L" decodes only the luminance of a JPEG.
      raw: whether to leave orientation and pixels as they are stored, as those of a mask.
      content: bytes of the file, if they were read already; `path` then is its name in messages.

    Returns:
      A loaded `PIL.Image`; of mode "F" with values in 0..1 if it has more than 8 bits.

    Raises:
      DataError: if the file is missing, not an image, damaged, or too large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.init()  # in `open`, a thread could miss formats that another is registering
    try:
        # Restricted formats: for EPS, Pillow would start Ghostscript.
        formats = [name for name in FORMATS if name in Image.OPEN]
        opened = open_file(path) if content is None else io.BytesIO(content)
        with opened as file, Image.open(file, formats=formats) as picture:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and picture.width * picture.height > limit:
                raise DataError(
                    f"{path} is too large a picture: {picture.width}×{picture.height} pixels, at most {limit:,}"
                )
            if near is not None:
                picture.draft(mode, (near, near))
            picture.load()
            if raw:
                return picture
            ImageOps.exif_transpose(picture, in_place=True)
            # More than 8 bits: Pillow's conversion would clip values above 255.
            return Image.fromarray(_to_unit_range(path, picture)) if picture.mode.startswith(("I", "F")) else picture
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{path} is not a readable picture") from None
    # The warning, if warnings are errors.
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path} is too large a picture: {error}") from None
    except MemoryError:
        raise
    # Decoders raise nearly anything on a truncated or corrupt file.
    except Exception as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def _to_unit_range(path: str | Path, picture: Any) -> np.ndarray:
    """float32 [h, w] in 0..1 of a 16- or 32-bit picture; if its mode does not imply the range, its maximum does."""
    deep = np.asarray(picture, np.float32)
    high = float(deep.max())
    if not (np.isfinite(deep).all() and high <= 65535):
        raise DataError(f"{path} must have pixels of at most 65,535, and none that are NaN or infinite; found {high:g}")
    sixteen = picture.mode.startswith("I;16") or picture.format == "PPM"
    top = 65535 if sixteen or high > 255 else 1 if picture.mode == "F" and high <= 1 else 255
    scaled: np.ndarray = np.clip(deep / np.float32(top), 0, 1)
    return scaled


def has_alpha(picture: Any) -> bool:
    """Whether a `PIL.Image` has transparency."""
    return "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info


def _to_floats(picture: Any, channels: int) -> np.ndarray:
    """float32 [h, w, channels] in 0..1, composited on black or white, whichever contrasts."""
    mode = "L" if channels == 1 else "RGB"
    if picture.mode == "F":
        return np.repeat(np.asarray(picture)[..., None], channels, axis=-1)
    if has_alpha(picture):
        layered = picture.convert("RGBA")
        opacity = np.asarray(layered.getchannel("A"), np.float32)[..., None] / 255
        color = np.asarray(layered.convert("RGB").convert(mode), np.float32).reshape(*opacity.shape[:2], -1) / 255
        drawn = float((color.mean(-1, keepdims=True) * opacity).sum() / max(float(opacity.sum()), 1.0))
        return color * opacity + (1 - opacity) * (0.0 if drawn > _LIGHT else 1.0)
    values = np.asarray(picture.convert(mode), np.float32) / 255
    return values.reshape(*values.shape[:2], -1)


def _fit(values: np.ndarray, background: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize to fit into height × width, then pad with the background."""
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
