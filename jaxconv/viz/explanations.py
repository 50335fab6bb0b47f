"""Attribution maps over their image, each with its scale."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxconv._base.errors import ShapeError
from jaxconv.viz.palette import BLUE, GRAY, VERMILION
from jaxconv.viz.style import gray, panels
from jaxconv.viz.training import inches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Map", "Picture", "draw_explanations", "map_colors"]

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
    image: np.ndarray,
    caption: str,
    shown: Sequence[Map | Picture],
    *,
    peak: float = 255,
    title: str = "",
    outline: np.ndarray | None = None,
) -> Figure:
    """Draw an image, and each map over a gray copy of it, of which a map with signs has a shade.

    Args:
      image: [H, W, C] of 1 or 3 channels, in 0..peak.
      caption: title of the image.
      shown: maps of the image's size, and pictures.
      peak: the value of white.
      title: of the figure.
      outline: bool [H, W], pixels whose outline is drawn on every panel.

    Returns:
      A figure with an axes for each panel, and one for the scale of each map.

    Raises:
      ShapeError: if a map or the outline does not have the size of the image.

    >>> figure = draw_explanations(np.ones([8, 8, 1]), "7", [Map("gradcam", np.eye(8), signed=False)], peak=1)
    >>> [axes.get_title() for axes in figure.axes]
    ['7', 'gradcam', '']
    """
    size = image.shape[:2]
    for each in shown:
        if isinstance(each, Map) and each.values.shape != size:
            raise ShapeError(f"a map must have the size of the image, {size}", got=f"{each.title} {each.values.shape}")
    if outline is not None and outline.shape != size:
        raise ShapeError(f"the outline must have the size of the image, {size}", got=f"{outline.shape}")
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
        if outline is not None:
            _draw_outline(panel, outline)
    return figure


def _draw_image(axes: Axes, pixels: np.ndarray, peak: float) -> None:
    shown = np.clip(np.asarray(pixels, np.float64) / peak, 0, 1)
    shown = shown if shown.shape[-1] == 3 else shown.mean(-1)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation=_interpolation(pixels))


def _draw_map(axes: Axes, image: np.ndarray, found: Map, peak: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    top, largest = _top(found)
    scale = ScalarMappable(Normalize(-top if found.signed else 0, top), _colormap(found.signed))
    axes.imshow(map_colors(image, found, peak), interpolation=_interpolation(image))
    extend = "neither" if largest <= top else "both" if found.signed else "max"
    assert axes.figure is not None
    bar = axes.figure.colorbar(scale, ax=axes, extend=extend, fraction=0.05, pad=0.03, ticks=MaxNLocator(3))
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_visible(False)


def map_colors(image: np.ndarray, found: Map, peak: float) -> np.ndarray:
    """A map over a gray copy of its image, as colors.

    Args:
      image: [H, W, C] of 1 or 3 channels, in 0..peak.
      found: of the image's size.
      peak: the value of white.

    Returns:
      [H, W, 3] in 0..1.

    >>> map_colors(np.zeros([1, 2, 1]), Map("", np.array([[0.0, 1.0]]), signed=False), 255).round(2).tolist()
    [[[0.0, 0.0, 0.0], [0.84, 0.77, 0.12]]]
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    values, behind = np.nan_to_num(np.asarray(found.values, np.float64)), gray(np.clip(image, 0, peak))[..., None]
    top, _ = _top(found)
    scale = ScalarMappable(Normalize(-top if found.signed else 0, top), _colormap(found.signed))
    colors: np.ndarray = np.asarray(scale.to_rgba(values))[..., :3]
    if found.signed:  # 0 is white: the image is a shade on it
        return colors * (1 - _SHADE * (1 - behind))
    opacity = _OPACITY * np.minimum(np.abs(values) / top, 1)[..., None]
    return opacity * colors + (1 - opacity) * behind


def _top(found: Map) -> tuple[float, float]:
    """The magnitude at which colors end, and the largest one."""
    values = np.abs(np.nan_to_num(np.asarray(found.values, np.float64)))
    largest = float(values.max(initial=0))
    top = float(np.percentile(values, _CLIPPED)) if values.size >= _MANY else largest
    return top or largest or 1.0, largest


def _colormap(signed: bool) -> Any:
    """From blue to vermilion, or from dark blue to yellow: they differ under any color vision."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signed", [BLUE, "white", VERMILION]) if signed else "viridis"


def _draw_outline(axes: Axes, inside: np.ndarray) -> None:
    """The edges between pixels inside and outside, black on white, to be seen on any color."""
    from matplotlib.collections import LineCollection

    padded = np.pad(inside, 1)
    rows, columns = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    edges = [[(c - 0.5, r - 0.5), (c + 0.5, r - 0.5)] for r, c in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    edges += [[(c - 0.5, r - 0.5), (c - 0.5, r + 0.5)] for r, c in zip(rows, columns, strict=True)]
    for color, width in (("white", 2.4), ("black", 1.0)):
        axes.add_collection(LineCollection(edges, colors=color, linewidths=width, capstyle="projecting", clip_on=False))


def _interpolation(pixels: np.ndarray) -> str:
    return "nearest" if max(pixels.shape[:2]) <= _CRISP else "auto"
