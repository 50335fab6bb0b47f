"""Layout and image scaling for figures of many small pictures."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxconv.viz.training import inches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["encoded", "gray", "panels", "rgb", "unit_range"]

_WIDEST = 10.0


def unit_range(pixels: np.ndarray) -> np.ndarray:
    """Rescale values to [0, 1], minimum to maximum.

    >>> unit_range(np.array([-1, 0, 3])).tolist()
    [0.0, 0.25, 1.0]
    """
    pixels = np.asarray(pixels, np.float64)
    low, high = float(pixels.min()), float(pixels.max())
    return (pixels - low) / (high - low) if high > low else np.zeros_like(pixels)


def encoded(picture: Any) -> bytes:
    """A `PIL.Image` as the content of a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def rgb(pixels: np.ndarray, peak: float) -> Any:
    """A `PIL.Image` in color of an image [H, W, C] of 1 or 3 channels in 0..peak."""
    from PIL import Image

    scaled = np.clip(np.asarray(pixels, np.float64) * (255 / peak), 0, 255).astype(np.uint8)
    return Image.fromarray(scaled[..., 0] if scaled.shape[-1] == 1 else scaled).convert("RGB")


def gray(image: np.ndarray) -> np.ndarray:
    """Convert an image [H, W, C] or [H, W] of any scale to [H, W] in [0, 1]: luminance, or the mean of all channels.

    >>> gray(np.zeros([2, 3, 3])).shape
    (2, 3)
    """
    image = np.asarray(image, np.float64)
    if image.ndim == 3:
        image = image @ [0.299, 0.587, 0.114] if image.shape[-1] == 3 else image.mean(-1)
    return unit_range(image)


def panels(titles: Sequence[str], aspect: float, title: str = "", width: float = 1.7) -> tuple[Figure, list[Axes]]:
    """Create a figure with an axes for each title, in rows about as wide as a page.

    Args:
      titles: of each axes, at 8 points; their width sets the distance of the axes.
      aspect: width / height of the content.
      title: of the figure.
      width: minimum width of each axes in inches.
    """
    from matplotlib.figure import Figure

    cell = max([width, *(inches(line, 8) + 0.25 for text in titles for line in text.split("\n"))])
    height = min(max(cell / aspect, 0.5), 3.0)
    across = min(len(titles), max(int(_WIDEST / cell), 1))
    down = math.ceil(len(titles) / across)
    across = math.ceil(len(titles) / down)
    text = 0.16 * max(text.count("\n") + 1 for text in titles) + 0.15
    wide = max(across * cell + 0.9, inches(title, 10) + 0.4)
    figure = Figure(figsize=(wide, max(down * (height + text), 1.8) + 0.5), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes in grid[len(titles) :]:
        axes.remove()
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    return figure, list(grid[: len(titles)])
