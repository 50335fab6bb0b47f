"""Images beside their reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxconv._base.errors import ShapeError
from jaxconv.viz.palette import GRAY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_reconstructions"]

_ACROSS = 8


def draw_reconstructions(
    images: np.ndarray, reconstructions: np.ndarray, titles: Sequence[str], *, peak: float = 255, title: str = ""
) -> Figure:
    """Draw images in rows, each above its reconstruction.

    Args:
      images: [K, H, W, C] of 1 or 3 channels, in 0..peak.
      reconstructions: of the same shape; values beyond 0..peak are clipped.
      titles: one for each image.
      peak: the value of white.
      title: of the figure.

    Raises:
      ShapeError: if the arrays do not match.

    >>> figure = draw_reconstructions(np.zeros([2, 8, 8, 1]), np.zeros([2, 8, 8, 1]), ["a", "b"])
    >>> [axes.get_title() for axes in figure.axes]
    ['a', 'b', '', '']
    """
    from matplotlib.figure import Figure

    if images.shape != reconstructions.shape or images.ndim != 4 or len(titles) != len(images):
        got = f"images {images.shape}, reconstructions {reconstructions.shape}, {len(titles)} titles"
        raise ShapeError("images and reconstructions must both be [K, H, W, C]", got=got)
    across = min(_ACROSS, len(images))
    down = -(-len(images) // across)
    height = min(max(1.1 * images.shape[1] / images.shape[2], 0.4), 3.0)
    figure = Figure(figsize=(1.15 * across + 0.2, down * (2 * height + 0.35) + 0.4), layout="constrained")
    grid = figure.subplots(2 * down, across, squeeze=False)
    interpolation = "nearest" if max(images.shape[1:3]) <= 96 else "auto"
    for k, name in enumerate(titles):
        for below, pixels in enumerate((images[k], reconstructions[k])):
            axes = grid[2 * (k // across) + below, k % across]
            shown = np.clip(pixels / peak, 0, 1)
            shown = shown[..., 0] if shown.shape[-1] == 1 else shown
            axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation=interpolation)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color=GRAY, linewidth=0.5)
        grid[2 * (k // across), k % across].set_title(name, fontsize=8, pad=3, parse_math=False)
    for k in range(len(images), down * across):
        for below in range(2):
            grid[2 * (k // across) + below, k % across].remove()
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    return figure
