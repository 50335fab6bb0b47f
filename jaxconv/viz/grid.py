"""Draw the cells of an input or output as a grid with indices and hatched padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxconv.viz.palette import BLUE, GRAY, ORANGE

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

__all__ = [
    "COLORS",
    "INPUT",
    "PADDING",
    "PAPER",
    "TAP",
    "TAP_ON_PADDING",
    "UNIT",
    "draw_grid",
    "hatch",
    "rows_and_columns",
]

INPUT, PADDING, TAP, TAP_ON_PADDING, UNIT = range(5)
# Transparent (lines behind show through), gray, orange (lighter on padding) and blue: they differ under any color
# vision, and in grayscale.
COLORS = ("#FFFFFF00", "#E4E4E4", ORANGE, "#F3CF80", BLUE)
_EDGE = "#1A1A1A"
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
"""Background of labels, which keeps them readable over lines."""
_HATCH = "#8A8A8A"
_ROOM = 0.2  # inches needed for an index


def draw_grid(
    axes: Axes, cells: np.ndarray, low: Sequence[int], shape: Sequence[int], cell: float, *, below: bool
) -> tuple[AxesImage, list[Artist]]:
    """Draw cells with lines between them, and indices outside the padding.

    Args:
      axes: with the size of the grid.
      cells: [rows, columns] of INPUT, PADDING, TAP, TAP_ON_PADDING or UNIT.
      low: rows and columns of padding before cell 0.
      shape: cells without padding; one number for a signal.
      cell: width of a cell in inches.
      below: put indices below and on the right instead of above and on the left.

    Returns:
      The image, whose data may be updated, and the lines.
    """
    from matplotlib.colors import ListedColormap

    rows, columns = cells.shape
    image = axes.imshow(cells, cmap=ListedColormap(COLORS), vmin=0, vmax=UNIT, interpolation="nearest", aspect="auto")
    style: dict[str, Any] = {"color": GRAY, "linewidth": 0.6 if cell > _ROOM else 0.35, "zorder": 2, "clip_on": False}
    lines: list[Artist] = [
        axes.vlines(np.arange(columns + 1) - 0.5, -0.5, rows - 0.5, **style),
        axes.hlines(np.arange(rows + 1) - 0.5, -0.5, columns - 0.5, **style),
    ]
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    down, across = rows_and_columns(shape, 1)
    every = next(step for digits in range(9) for step in (10**digits, 2 * 10**digits) if step * cell >= _ROOM)
    axes.set_xticks(np.arange(0, across, every) + low[1], np.arange(0, across, every))
    axes.set_yticks(np.arange(0, down, every) + low[0], np.arange(0, down, every))
    if len(shape) == 1:
        axes.set_yticks([])
    sides: dict[str, Any] = {"labeltop": not below, "labelbottom": below, "labelleft": not below, "labelright": below}
    axes.tick_params("both", length=0, labelsize=7, pad=2, **sides)
    axes.patch.set_visible(False)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_bbox(PAPER)
    return image, lines


def hatch(axes: Axes, low: Sequence[int], shape: Sequence[int], padded: Sequence[int]) -> list[Artist]:
    """Hatch the four strips of padding and draw the edge of the input.

    Args:
      axes: from `draw_grid`.
      low: rows and columns of padding before cell 0.
      shape: rows and columns of the input.
      padded: rows and columns with padding.
    """
    from matplotlib.patches import Rectangle

    (top, left), (rows, columns), (high, wide) = low, shape, padded
    strips = [(0, 0, top, wide), (top + rows, 0, high - top - rows, wide)]
    strips += [(top, 0, rows, left), (top, left + columns, rows, wide - left - columns)]
    boxes: list[Artist] = []
    for row, column, down, across in strips:
        if down and across:
            box = Rectangle((column - 0.5, row - 0.5), across, down, fill=False, hatch="////", linewidth=0)
            box.set(edgecolor=_HATCH, zorder=1.5)
            boxes.append(axes.add_patch(box))
    edge = Rectangle((left - 0.5, top - 0.5), columns, rows, fill=False, edgecolor=_EDGE, linewidth=1.2)
    edge.set(zorder=3, clip_on=False)
    return [*boxes, axes.add_patch(edge)]


def rows_and_columns(values: Sequence[Any], alone: Any) -> tuple[Any, Any]:
    """The values for rows and columns; a signal is one row.

    >>> rows_and_columns((5,), 1), rows_and_columns((5, 7), 1)
    ((1, 5), (5, 7))
    """
    return (alone, values[0]) if len(values) == 1 else (values[0], values[1])
