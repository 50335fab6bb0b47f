"""Feature maps of a net for one image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxconv._base.errors import ShapeError, count
from jaxconv.explain.outputs import spread
from jaxconv.viz.style import gray, unit_range
from jaxconv.viz.training import inches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = ["draw_features"]

_LAYERS = 12
_MAPS = 10
_CELL = 0.82  # inches of a map
_GAP = 0.06  # of a map's width
_BETWEEN = 0.17  # inches from one row to the next


def draw_features(image: np.ndarray, found: Mapping[str, Any], title: str = "") -> Figure:
    """Draw the first feature maps of each layer, a row per layer, each row with its own scale.

    Args:
      image: [H, W, C] or [H, W], on any scale; drawn on top.
      found: from `outputs`, for that image: arrays [1, h, w, C] by path. Others are skipped, and of more than 12
        layers, 12 evenly spaced ones are drawn.
      title: of the figure.

    Returns:
      A figure with an axes for the image, and in each row one for the maps and one for their scale.

    Raises:
      ShapeError: if nothing in `found` is a feature map of one image.

    >>> figure = draw_features(np.eye(8), {"conv0": np.random.default_rng(0).normal(size=(1, 6, 6, 3))})
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['image\\n8×8', 'conv0\\n6×6×3', '']
    """
    from matplotlib.figure import Figure

    maps = {name: np.asarray(y, np.float32)[0] for name, y in found.items() if getattr(y, "ndim", 0) == 4}
    if not maps or any(len(found[name]) != 1 for name in maps):
        shapes = ", ".join(f"{name} {getattr(y, 'shape', ())}" for name, y in list(found.items())[:4]) or "nothing"
        raise ShapeError("draw_features needs feature maps [1, h, w, C] of one image", got=shapes)
    every, image = len(maps), np.asarray(image)
    maps = {name: maps[name] for name in spread(list(maps), _LAYERS)}
    across = min(_MAPS, max(y.shape[-1] for y in maps.values()))
    labels = {name: f"{_short(name)}\n{'×'.join(map(str, y.shape))}" for name, y in maps.items()}
    top = f"image\n{'×'.join(map(str, image.shape))}"
    beside = max(inches(line, 8) for text in (top, *labels.values()) for line in text.split("\n")) + 0.25
    notes = [f"{len(maps)} of {count(every, 'layer')}"] * (len(maps) < every)
    notes += [f"the first {across} maps"] * (max(y.shape[-1] for y in maps.values()) > across)
    words = ", ".join([title, *notes] if title else notes)

    height = _CELL * min(max(image.shape[0] / image.shape[1], 0.4), 2.5)
    row_width = _CELL * (across * (1 + _GAP) - _GAP)
    wide = max(beside + row_width + 0.8, inches(words, 10) + 0.4)
    tall = (len(maps) + 1) * (height + _BETWEEN) + (0.45 if words else 0.1)
    figure = Figure(figsize=(wide, tall))

    def place(row: int, start: float, width: float) -> Axes:
        above = (0.45 if words else 0.1) + row * (height + _BETWEEN)
        return figure.add_axes((start / wide, 1 - (above + height) / tall, width / wide, height / tall))

    axes = _row(place(0, beside, row_width), top, across)
    colors = image.ndim == 3 and image.shape[-1] == 3
    _show(axes, unit_range(image) if colors else gray(image), 0, cmap="gray", vmin=0, vmax=1)
    for row, (name, y) in enumerate(maps.items(), 1):
        low, high = _limits(y[..., :across])
        axes = _row(place(row, beside, row_width), labels[name], across)
        for number in range(min(across, y.shape[-1])):
            shown = _show(axes, y[..., number], number, cmap="viridis", vmin=low, vmax=high)
        bar = figure.colorbar(shown, cax=place(row, beside + row_width + 0.08, 0.12), ticks=[low, high])
        bar.ax.set_yticklabels([f"{low:.2g}", f"{high:.2g}"], fontsize=7)
        bar.ax.tick_params(length=2)
        bar.outline.set_visible(False)
    if words:
        figure.suptitle(words, fontsize=10, y=1 - 0.12 / tall, va="top", parse_math=False)
    return figure


def _row(axes: Axes, text: str, across: int) -> Axes:
    """Set up axes for `across` unit-sized maps, with a text on the left in place of ticks."""
    axes.set(xticks=[], yticks=[], xlim=(0, across * (1 + _GAP) - _GAP), ylim=(0, 1))
    axes.spines[:].set_visible(False)
    axes.set_ylabel(text, fontsize=8, rotation=0, ha="right", va="center", parse_math=False)
    return axes


def _show(axes: Axes, pixels: np.ndarray, place: int, **scale: Any) -> AxesImage:
    left = place * (1 + _GAP)
    return axes.imshow(pixels, extent=(left, left + 1, 0, 1), aspect="auto", interpolation="nearest", **scale)


def _limits(y: np.ndarray) -> tuple[float, float]:
    """The range of the finite values, never empty."""
    finite = y[np.isfinite(y)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return (low, high) if high > low else (low, low + 1.0)


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"…{name[-23:]}"
