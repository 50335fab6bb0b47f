"""Resizing inside of exported programs, as prediction resizes image files."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv._base.limits import check_memory
from jaxconv.data.decode import crop_box, to_square, to_whole, whole_size
from jaxconv.data.resampling import resample_weights, resampled

if TYPE_CHECKING:
    import jax

    from jaxconv.run.predict import Predictor

__all__ = ["Size", "resizing"]

Size: TypeAlias = tuple[int, int]
"""Height and width in pixels."""


def resizing(run: Predictor, size: Size) -> Callable[[jax.Array], jax.Array]:
    """The function that resizes images of one size, and crops them, as `Predictor.picture` does with Pillow.

    Args:
      run: of photographs.
      size: height and width of the images.

    Returns:
      `images -> images`, [N, H, W, C] floating with the values of uint8, equal to Pillow's to the bit.

    Raises:
      ConfigError: if the run's images are no photographs, which are padded with their background instead; if the sizes
        are invalid; or if the installed Pillow resizes otherwise.
    """
    height, width = size
    side, filter = run.input.shape[0], run.input.interpolation
    if not (run.task.dense or run.input.squares):
        raise ConfigError(
            "images can be resized inside of an exported program if they are photographs\n"
            "  got: a run whose images are padded with their background, which ONNX cannot measure\n"
            f"  fix: leave out --image-size, and resize images to {side}×{run.input.shape[1]} before"
        )
    if min(size) < 1:
        raise ConfigError(f"--image-size must be at least 1×1, got {height}×{width}")
    what, area = f"--image-size {height}x{width}: a batch of 16 images", height * width * run.input.shape[2]
    check_memory(what, 16 * 4 * area, "a smaller --image-size")
    if run.task.dense:
        columns, rows = whole_size((width, height), min(run.input.shape[:2]))
        box: tuple[float, float, float, float] = (0, 0, width, height)
    else:
        columns = rows = side
        box = crop_box((width, height), side, run.input.shorter)
    left, top, right, bottom = box
    of_rows = resample_weights(height, rows, top, bottom, filter)
    of_columns = resample_weights(width, columns, left, right, filter)
    pixels = np.random.default_rng(0).integers(0, 256, (1, height, width, run.input.shape[2])).astype(np.uint8)
    wrong = {}
    for rows_first in (False, True):
        resize = functools.partial(resampled, rows=of_rows, columns=of_columns, rows_first=rows_first)
        wrong[resize] = int((np.asarray(resize(pixels.astype(np.float32))) != _by_pillow(run, pixels[0])).sum())
    best = min(wrong, key=lambda resize: wrong[resize])
    if wrong[best]:
        raise ConfigError(
            "an exported program must resize images as Pillow does, to the bit\n"
            f"  got: {wrong[best]:,} other values than Pillow {importlib.metadata.version('pillow')}\n"
            "  fix: leave out --image-size, and report this"
        )
    return best


def _by_pillow(run: Predictor, pixels: np.ndarray) -> np.ndarray:
    """An image [H, W, C] resized as `Predictor.picture` does."""
    from PIL import Image

    height, width, channels = run.input.shape
    picture = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
    if run.task.dense:
        return to_whole(picture, min(height, width), channels, run.input.interpolation)
    return to_square(picture, height, channels, run.input.shorter, run.input.interpolation)
