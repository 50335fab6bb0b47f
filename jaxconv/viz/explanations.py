"""Attribution maps over their image, each with its scale."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxconv._base.errors import ShapeError
from jaxconv.viz.palette import BLUE, GRAY, VERMILION
from jaxconv.viz.style import gray, panels
from jaxconv.viz.training import inches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Map", "Picture", "draw_explanations"]

_CLIPPED = 99.5
"""Percentile of magnitudes at which colors end: single cells of a gradient would leave all others pale."""
_MANY = 1000
"""Cells from which on some are cut off."""
_OPACITY = 0.85
_SHADE = 0.3
_CRISP = 96  # pixels up to which an image is drawn cell by cell
_WIDTH = 2.3  # inches of a panel
_WIDER = 1.2  # of the image: that of a panel with its scale


@dataclasses.dataclass(frozen=True, eq=False)
class Map:
    """A map to draw over the image.

    Args:
      title: of the panel.
      values: [H, W].
      signed: whether values of both signs have a meaning, and 0 is in the middle of the scale.
    """

    title: str
    values: np.ndarray
    signed: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """An image to draw as it is.

    Args:
      title: of the panel.
      pixels: [H, W, C], in 0..peak.
    """

    title: str
    pixels: np.ndarray


def draw_explanations(
    image: np.ndarray, caption: str, shown: Sequence[Map | Picture], *, peak: float = 255, title: str = ""
) -> Figure:
    """Draw an image, and each map over a gray copy of it, of which a map with signs has a shade.

    Args:
      image: [H, W, C] of 1 or 3 channels, in 0..peak.
      caption: title of the image.
      shown: maps of the image's size, and pictures.
      peak: the value of white.
      title: of the figure.

    Returns:
      A figure with an axes for each panel, and one for the scale of each map.

    Raises:
      ShapeError: if a map does not have the size of the image.

    >>> figure = draw_explanations(np.ones([8, 8, 1]), "7", [Map("gradcam", np.eye(8), signed=False)], peak=1)
    >>> [axes.get_title() for axes in figure.axes]
    ['7', 'gradcam', '']
    """
    size = image.shape[:2]
    for each in shown:
        if isinstance(each, Map) and each.values.shape != size:
            raise ShapeError(f"a map must have the size of the image, {size}", got=f"{each.title} {each.values.shape}")
    every = [Picture(caption, image), *shown]
    wide = max(inches(line, 8) for each in every for line in each.title.split("\n"))
    width = max(_WIDTH, _WIDER * (wide + 0.1))
    figure, axes = panels([each.title for each in every], _WIDER * size[1] / size[0], title, width)
    for panel, each in zip(axes, every, strict=True):
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set(color=GRAY, linewidth=0.5)
        panel.set_title(each.title, fontsize=8, pad=3, parse_math=False)
        if isinstance(each, Picture):
            _draw_image(panel, each.pixels, peak)
        else:
            _draw_map(panel, image, each, peak)
    return figure


def _draw_image(axes: Axes, pixels: np.ndarray, peak: float) -> None:
    shown = np.clip(np.asarray(pixels, np.float64) / peak, 0, 1)
    shown = shown if shown.shape[-1] == 3 else shown.mean(-1)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation=_interpolation(pixels))


def _draw_map(axes: Axes, image: np.ndarray, found: Map, peak: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.ticker import MaxNLocator

    values, behind = np.nan_to_num(np.asarray(found.values, np.float64)), gray(np.clip(image, 0, peak))[..., None]
    largest = float(np.abs(values).max())
    top = float(np.percentile(np.abs(values), _CLIPPED)) if values.size >= _MANY else largest
    top = top or largest or 1.0
    # From blue to vermilion, and from dark blue to yellow, differ under any color vision.
    colormap = LinearSegmentedColormap.from_list("signed", [BLUE, "white", VERMILION]) if found.signed else "viridis"
    scale = ScalarMappable(Normalize(-top if found.signed else 0, top), colormap)
    colors = scale.to_rgba(values)[..., :3]
    if found.signed:  # 0 is white: the image is a shade on it
        colors *= 1 - _SHADE * (1 - behind)
    else:
        opacity = _OPACITY * np.minimum(np.abs(values) / top, 1)[..., None]
        colors = opacity * colors + (1 - opacity) * behind
    axes.imshow(colors, interpolation=_interpolation(image))
    extend = "neither" if largest <= top else "both" if found.signed else "max"
    assert axes.figure is not None
    bar = axes.figure.colorbar(scale, ax=axes, extend=extend, fraction=0.05, pad=0.03, ticks=MaxNLocator(3))
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_visible(False)


def _interpolation(pixels: np.ndarray) -> str:
    return "nearest" if max(pixels.shape[:2]) <= _CRISP else "auto"
