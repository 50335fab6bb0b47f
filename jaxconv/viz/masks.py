"""Masks beside their images: classes in colors, and a figure of the worst predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxconv._base.errors import ShapeError
from jaxconv.data.mask_files import voc_colors
from jaxconv.viz.palette import BLACK, BLUE, GRAY, GREEN, ORANGE, PINK, SKY_BLUE, VERMILION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_masks", "overlay"]

_OPACITY = 0.55
_LEGEND = 24  # most classes that are named
_FEW = (BLACK, ORANGE, SKY_BLUE, GREEN, "#F0E442", BLUE, VERMILION, PINK)  # Okabe and Ito 2008


def overlay(image: np.ndarray, mask: np.ndarray, peak: float = 255) -> np.ndarray:
    """An image with the classes of its mask in color; class 0, the background, is left as it is.

    Args:
      image: [H, W, C] of 1 or 3 channels, in 0..peak.
      mask: integers [H, W], 0 to 255.
      peak: the value of white.

    Returns:
      uint8 [H, W, 3].

    >>> overlay(np.full([1, 2, 1], 100), np.array([[0, 1]])).tolist()
    [[[100, 100, 100], [115, 45, 45]]]
    """
    pixels = np.clip(255 / peak * np.broadcast_to(image, (*image.shape[:2], 3)), 0, 255)
    mixed = np.where((mask > 0)[..., None], (1 - _OPACITY) * pixels + _OPACITY * voc_colors()[mask], pixels)
    return np.round(mixed).astype(np.uint8)


def _colors(classes: int) -> np.ndarray:
    """uint8 [256, 3]: VOC's colors; of few classes, black and such as differ under any color vision."""
    colors = voc_colors().copy()
    if classes <= len(_FEW):
        colors[: len(_FEW)] = [[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in _FEW]
    return colors


def draw_masks(
    images: np.ndarray,
    truths: np.ndarray,
    answers: np.ndarray,
    titles: Sequence[str],
    classes: Sequence[str],
    *,
    peak: float = 255,
    outside: int = 255,
    title: str = "",
) -> Figure:
    """Draw images, each beside its true mask, the predicted one, and the pixels where they differ.

    Args:
      images: [K, H, W, C] of 1 or 3 channels, in 0..peak.
      truths: integers [K, H, W].
      answers: integers [K, H, W].
      titles: one for each image.
      classes: the names.
      peak: the value of white.
      outside: label of pixels without a class; they are gray.
      title: of the figure.

    Raises:
      ShapeError: if the arrays do not match.

    >>> figure = draw_masks(np.zeros([1, 8, 8, 3]), np.zeros([1, 8, 8], int), np.ones([1, 8, 8], int), ["a"], "xy")
    >>> [axes.get_title() for axes in figure.axes]
    ['a', 'truth', 'answer', 'wrong']
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if not images.shape[:3] == truths.shape == answers.shape or len(titles) != len(images):
        got = f"images {images.shape}, truths {truths.shape}, answers {answers.shape}, {len(titles)} titles"
        raise ShapeError("masks must be [K, H, W] for images [K, H, W, C]", got=got)
    colors = _colors(len(classes))
    across = 2 if len(images) > 3 else 1
    down = -(-len(images) // across)
    height = min(max(1.3 * images.shape[1] / images.shape[2], 0.5), 3.0)
    shown = sorted({*np.unique(truths).tolist(), *np.unique(answers).tolist()} - {outside})
    names = [Patch(facecolor=colors[k] / 255, edgecolor=GRAY, label=classes[k]) for k in shown[:_LEGEND]]
    if (truths == outside).any():
        names.append(Patch(facecolor="#b0b0b0", edgecolor=GRAY, label="no class"))
    rows = -(-len(names) // 6)
    figure = Figure(figsize=(across * 4 * 1.4 + 0.3, down * (height + 0.25) + 0.22 * rows + 0.6), layout="constrained")
    grid = figure.subplots(down, across * 4, squeeze=False)
    interpolation = "nearest" if max(images.shape[1:3]) <= 96 else "auto"
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=GRAY, linewidth=0.5)
    for k, name in enumerate(titles):
        row = grid[k // across, 4 * (k % across) : 4 * (k % across) + 4]
        wrong = (truths[k] != answers[k]) & (truths[k] != outside)
        truth = np.where((truths[k] == outside)[..., None], 176, colors[truths[k]])
        pixels = np.clip(np.broadcast_to(images[k], (*images.shape[1:3], 3)) / peak, 0, 1)
        row[0].imshow(pixels, interpolation=interpolation)
        row[1].imshow(truth, interpolation="nearest")
        row[2].imshow(colors[answers[k]], interpolation="nearest")
        row[3].imshow(np.where(wrong, 0.0, 1.0), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        for axes, word in zip(row, (name, "truth", "answer", "wrong"), strict=True):
            axes.set_title(word, fontsize=8, pad=3, parse_math=False)
    for axes in list(grid.flat)[len(images) * 4 :]:
        axes.remove()
    figure.legend(handles=names, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    return figure
