"""Curves of weight and gradient norms of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv.viz.palette import OKABE_ITO
from jaxconv.viz.training import inches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["norm_curves"]

_LINES = ("-", "--", ":", "-.")
_MARKS = "os^Dvx*"
_MARKED_POINTS = 40
_NAMED = 28


def norm_curves(lines: Sequence[Mapping[str, Any]], title: str = "", order: Sequence[str] = ()) -> Figure:
    """Plot the gradient norm, and the weight norm of each part, over the steps of a run.

    Args:
      lines: the objects of a run's `metrics.jsonl`; those with "gradient_norm" and "weight_norms" are drawn. If a
        step was repeated, as in a resumed run, its last line counts.
      title: of the figure.
      order: order of the parts, if not that of the lines.

    Returns:
      A figure of two stacked logarithmic axes.

    Raises:
      DataError: if no line has norms.

    >>> line = {"step": 100, "gradient_norm": 0.5, "weight_norms": {"conv0": 3.0, "head": 1.5}}
    >>> figure = norm_curves([line])
    >>> [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    ['conv0', 'head']
    """
    from matplotlib.figure import Figure

    found = {line["step"]: line for line in lines if "gradient_norm" in line or "weight_norms" in line}
    if not found:
        raise DataError("this run logged no norms; train with train.log_norms=true to log them")
    steps = sorted(found)
    named = dict.fromkeys(name for step in steps for name in found[step].get("weight_norms", {}))
    parts = [*(name for name in order if name in named), *(name for name in named if name not in order)]
    figure = Figure(figsize=(8, 6 + max(0, 0.2 * (len(parts) - 14))), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    _draw(above, steps, [found[step].get("gradient_norm") for step in steps], "gradient", 0)
    for number, name in enumerate(parts):
        label = name if len(name) <= _NAMED else f"…{name[1 - _NAMED :]}"
        _draw(below, steps, [found[step].get("weight_norms", {}).get(name) for step in steps], label, number)
    above.set_ylabel("norm of the gradient")
    below.set_ylabel("norm of each part's weights")
    below.set_xlabel("step")
    below.xaxis.set_major_formatter("{x:,.10g}")
    for axes in (above, below):
        _logarithmic(axes)
        axes.grid(alpha=0.3)
    if parts:
        below.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), borderaxespad=0)
    if title:
        figure.suptitle(title, parse_math=False)
        figure.set_figwidth(max(8, inches(title, 12) + 0.5))
    return figure


def _draw(axes: Axes, steps: Sequence[int], values: Sequence[float | None], label: str, number: int) -> None:
    """Draw a curve with a unique combination of color and line style."""
    there = [(step, value) for step, value in zip(steps, values, strict=True) if value and np.isfinite(value)]
    color, line = OKABE_ITO[number % len(OKABE_ITO)], _LINES[number // len(OKABE_ITO) % len(_LINES)]
    marked = len(there) <= _MARKED_POINTS
    mark: dict[str, Any] = {"marker": _MARKS[number % len(_MARKS)], "markersize": 4} if marked else {}
    axes.plot(*zip(*there, strict=True) if there else ([], []), color=color, linestyle=line, label=label, **mark)


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    low, high = axes.dataLim.intervaly
    if not 0 < low <= high < np.inf:
        return
    axes.set_yscale("log")
    decades = np.log10(high / low)
    locator = (
        MaxNLocator(6, steps=[1, 2, 5, 10]) if decades < 1.3 else LogLocator(subs=(1, 2, 5) if decades < 3 else (1,))
    )
    axes.yaxis.set_major_locator(locator)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
