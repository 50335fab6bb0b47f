"""Draw the overlap of the windows of a transposed convolution, the cause of checkerboard artifacts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from jaxconv import geometry
from jaxconv._base.types import Ints
from jaxconv.geometry import overlap
from jaxconv.viz.palette import BLACK, BLUE, GRAY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_overlap"]

_PERIODS = 3
"""Periods of the pattern that are shown between the borders, at least."""


def draw_overlap(kernel: Ints, stride: Ints = 2, dilation: Ints = 1) -> Figure:
    """Draw the windows of a transposed convolution over its output, and how many of them cover each cell.

    Args:
      kernel, stride, dilation: as in `jaxconv.conv_transpose` on two axes.

    Returns:
      A figure of three axes: the windows along one axis, the one that is uneven if any; the number of windows over each
      cell of that axis; and over each cell of both.

    Raises:
      ShapeError: if a number is invalid.

    Source: Odena et al., Deconvolution and Checkerboard Artifacts, 2016.

    >>> figure = draw_overlap(3, 2)
    >>> figure.axes[2].get_title(), figure.get_supxlabel()
    ('1 to 4 windows over a cell', 'uneven: a kernel of 4 covers every cell equally often')
    """
    from matplotlib.figure import Figure

    words = ((kernel, "kernel"), (stride, "stride"), (dilation, "dilation"))
    axes = list(zip(*(geometry.per_axis(value, 2, name) for value, name in words), strict=True))
    covers = [_cover(*axis) for axis in axes]
    both = np.outer(*covers)
    shown = next((axis for axis in (1, 0) if len(set(overlap(*axes[axis]))) > 1), 1)
    figure = Figure(figsize=(9.0, 4.6), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.5, 1), height_ratios=(1, 1))
    windows = figure.add_subplot(grid[0, 0])
    windows.set_title(f"windows along the {'columns' if shown else 'rows'}")
    _draw_windows(windows, *axes[shown])
    _draw_counts(figure.add_subplot(grid[1, 0]), covers[shown], axes[shown])
    counts = [
        math.prod(column) for column in zip(*((min(o), max(o)) for o in (overlap(*a) for a in axes)), strict=True)
    ]
    _draw_map(figure.add_subplot(grid[:, 1]), both, *counts)
    k, s, d = (" × ".join(dict.fromkeys(map(str, column))) for column in zip(*axes, strict=True))
    dilated = f", dilation {d}" if d != "1" else ""
    figure.suptitle(f"transposed convolution, kernel {k}, stride {s}{dilated}", fontsize=11)
    figure.supxlabel(_verdict(axes), fontsize=10)
    return figure


def _cover(k: int, s: int, d: int) -> np.ndarray:
    """Windows over each output cell of as many inputs as show the pattern."""
    taps = np.arange(k) * d
    inputs = -(-(taps[-1] + 1) // s) + _PERIODS
    return np.bincount((np.arange(inputs)[:, None] * s + taps).ravel(), minlength=(inputs - 1) * s + taps[-1] + 1)


def _draw_windows(axes: Axes, k: int, s: int, d: int) -> None:
    """A row for each input: the output cells that its window covers."""
    cells = len(_cover(k, s, d))
    inputs = (cells - (k - 1) * d - 1) // s + 1
    for i in range(inputs):
        at = i * s + np.arange(k) * d
        axes.barh([i] * k, [0.9] * k, left=at - 0.45, height=0.62, color=BLUE if i % 2 else ORANGE)
    axes.set(xlim=(-0.7, cells - 0.3), ylim=(inputs - 0.4, -0.6), ylabel="input cell")
    axes.set_yticks(range(inputs) if inputs <= 10 else range(0, inputs, 5))
    axes.set_xticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _draw_counts(axes: Axes, cover: np.ndarray, axis: tuple[int, int, int]) -> None:
    axes.bar(range(len(cover)), cover, width=0.9, color=GRAY)
    low, high = min(overlap(*axis)), max(overlap(*axis))
    for value in {low, high} if low != high else ():
        axes.axhline(value, color=BLACK, linewidth=0.8, linestyle=":")
    axes.set(xlim=(-0.7, len(cover) - 0.3), ylim=(0, high + 0.4), xlabel="output cell", ylabel="windows")
    axes.set_yticks(range(high + 1) if high <= 8 else range(0, high + 1, 4))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_map(axes: Axes, both: np.ndarray, low: int, high: int) -> None:
    axes.imshow(both, cmap="gray", vmin=0, vmax=both.max(), interpolation="nearest")
    axes.set_title(f"{low} to {high} windows over a cell" if low != high else f"{high} windows over each inner cell")
    axes.set_xticks([])
    axes.set_yticks([])


def _verdict(axes: list[tuple[int, int, int]]) -> str:
    """Whether cells are covered equally often, and the nearest kernel that does so."""
    if all(len(set(overlap(*axis))) == 1 for axis in axes):
        return "even: every cell is covered equally often, but for the borders"
    nearest = [-(-k // s) * s for k, s, _ in axes]
    if any(d > 1 for *_, d in axes):
        return "uneven: dilation 1 with a kernel that is a multiple of the stride covers every cell equally often"
    return f"uneven: a kernel of {'×'.join(dict.fromkeys(map(str, nearest)))} covers every cell equally often"
