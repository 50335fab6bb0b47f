"""Training images as they are stored, beside what augmentation makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxconv._base.errors import ShapeError
from jaxconv.viz.palette import GRAY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_samples"]

_INCHES = 1.1  # width of an image


def draw_samples(
    images: np.ndarray, draws: np.ndarray, titles: Sequence[Sequence[str]], *, peak: float = 255, title: str = ""
) -> Figure:
    """Draw images, each in a row with its augmented draws.

    Args:
      images: [K, H, W, C] of 1 or 3 channels, in 0..peak.
      draws: [K, D, H', W', C] of them, likewise.
      titles: of each image and its draws, [K][1 + D].
      peak: the value of white.
      title: of the figure.

    Raises:
      ShapeError: if the arrays do not match.

    >>> figure = draw_samples(np.zeros([1, 8, 8, 1]), np.zeros([1, 2, 8, 8, 1]), [["cat", "", "dog"]])
    >>> [axes.get_title() for axes in figure.axes]
    ['cat', '', 'dog']
    """
    from matplotlib.figure import Figure

    fits = images.ndim == 4 and draws.ndim == 5 and len(draws) == len(images) == len(titles) > 0
    if not fits or images.shape[-1] not in (1, 3) or draws.shape[-1] not in (1, 3):
        got = f"images {images.shape}, draws {draws.shape}, {len(titles)} titles"
        raise ShapeError("draws must be [K, D, H, W, C] of images [K, H, W, C], C being 1 or 3", got=got)
    down, across = len(images), 1 + draws.shape[1]
    height = _INCHES * min(max(images.shape[1] / images.shape[2], 0.3), 3.0) + 0.2
    figure = Figure(figsize=(_INCHES * across + 0.3, height * down + 0.5), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    interpolation = "nearest" if max(images.shape[1:3]) <= 96 else "auto"
    for k, row in enumerate(grid):
        for axes, pixels, name in zip(row, (images[k], *draws[k]), titles[k], strict=True):
            shown = np.clip(np.asarray(pixels, np.float32) / peak, 0, 1)
            shown = shown[..., 0] if shown.shape[-1] == 1 else shown
            axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation=interpolation)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color=GRAY, linewidth=0.5)
            axes.set_title(name, fontsize=7, pad=3, parse_math=False)
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    return figure
