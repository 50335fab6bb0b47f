"""Training curves: loss, accuracy and learning rate of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxconv._base.errors import DataError, count
from jaxconv.viz.palette import BLUE, GREEN, SKY_BLUE, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_lr_range", "training_curves"]

# Lines and markers differ, too.
_TRAIN: dict[str, Any] = {"color": BLUE, "linestyle": "-", "marker": "o"}
_TEST: dict[str, Any] = {"color": VERMILION, "linestyle": "--", "marker": "s", "zorder": 3}
_TOP5: dict[str, Any] = {"color": GREEN, "linestyle": ":", "marker": "^", "zorder": 3}
_RATE: dict[str, Any] = {"color": "#555555", "linestyle": "-", "marker": "o"}
_MARKED_POINTS = 40
# A loss, or a share of errors, that changes by more than this factor has a logarithmic axis.
_WIDE = 10
_LEAST_ERROR = 0.002
_SHARES = (0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1)


def training_curves(
    lines: Sequence[Mapping[str, Any]],
    title: str = "",
    *,
    metric: str = "accuracy",
    smoothing: Sequence[str] = (),
    noise: Sequence[str] = (),
) -> Figure:
    """Plot loss, accuracy and, if logged, the learning rate over the steps of a run.

    Args:
      lines: the objects of a run's `metrics.jsonl`: "step" with "loss" and "accuracy" (training) and
        optionally "learning_rate", or "test_loss" and "test_accuracy" and optionally "test_top5". If a step was
        repeated, as in a resumed run, its last line counts. "validation_loss" and so on if images were held out.
      title: of the figure.
      metric: name of the metric of evaluations, a share; the training accuracy is drawn with it.
      smoothing: names of what raises the training loss alone, for example "label smoothing 0.1".
      noise: names of what makes training images or outputs harder, for example "dropout 0.5". The legend names them
        if training is worse than evaluation at the end.

    Returns:
      A figure of two or three stacked axes. A loss that falls to less than a tenth has a logarithmic axis, and so do
      errors below an accuracy: its axis is stretched towards 100 %.

    Raises:
      DataError: if no line has a step and a value to draw.

    >>> figure = training_curves([{"step": 100, "loss": 0.31, "accuracy": 0.91}])
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['loss', 'accuracy']
    """
    from matplotlib.figure import Figure

    part = "validation" if any("validation_loss" in line for line in lines) else "test"
    names = ("loss", f"{part}_loss", "accuracy", f"{part}_{metric}", f"{part}_top5", "learning_rate")
    curves = {name: _curve(lines, name) for name in names}
    if not any(steps for steps, _ in curves.values()):
        keys = ", ".join(dict.fromkeys(str(key) for line in lines for key in line)) or "nothing"
        raise DataError(
            f"training curves need a line with a step and one of {', '.join(names)}; "
            f"got {count(len(lines), 'line')} of {keys}; give the lines of a run's metrics.jsonl"
        )
    heights = [3.0, 3.0, 1.5] if curves["learning_rate"][0] else [3.0, 3.0]
    figure = Figure(figsize=(8, sum(heights) + 0.6), layout="constrained")
    loss, accuracy, *rate = figure.subplots(
        len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]

    ours, theirs = curves["loss"], curves[f"{part}_loss"]
    train = _because([*smoothing, *noise], ours, theirs, worse=1)
    _draw(loss, {train: (ours, _TRAIN), part: (theirs, _TEST)}, "{:.4g}".format)
    loss.set_ylabel("loss")
    _logarithmic_if_wide(loss)
    ours, theirs = curves["accuracy"], curves[f"{part}_{metric}"]
    if metric == "accuracy":
        train, evaluated = _because(noise, ours, theirs, worse=-1), part
    else:
        train, evaluated = "train, accuracy", f"{part}, {metric}"
    shares = {train: (ours, _TRAIN), evaluated: (theirs, _TEST)}
    top5 = {f"{part}, top 5": (curves[f"{part}_top5"], _TOP5)}
    _draw(accuracy, shares | top5, lambda share: f"{100 * share:.2f} %")
    accuracy.set_ylabel(metric if metric == "accuracy" else "share")
    _percent(accuracy)
    for axes in rate:
        _draw(axes, {"learning rate": (curves["learning_rate"], _RATE)}, None)
        axes.set_ylabel("learning rate")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter("{x:g}")
    lowest = (rate or [accuracy])[0]
    lowest.set_xlabel("step")
    lowest.xaxis.set_major_formatter("{x:,.10g}")
    if title:
        figure.suptitle(title, parse_math=False)
    return figure


def draw_lr_range(
    rates: Sequence[float],
    losses: Sequence[float],
    smooth: Sequence[float],
    marks: Mapping[str, float],
    title: str = "",
) -> Figure:
    """Plot the training loss over a learning rate that rises from step to step.

    Args:
      rates: learning rate of each step.
      losses: training loss of each step.
      smooth: running averages of the losses.
      marks: learning rates to mark, by name.
      title: of the figure.

    Raises:
      DataError: if there are no steps, or lists of several lengths.

    >>> figure = draw_lr_range([0.1, 1.0], [2.3, 2.0], [2.3, 2.1], {"steepest": 0.1})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['loss', 'smoothed', 'steepest: 0.1']
    """
    from matplotlib.figure import Figure

    if not len(rates) == len(losses) == len(smooth) > 0:
        raise DataError(f"expected as many rates as losses, at least one; got {len(rates)} and {len(losses)}")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color=SKY_BLUE, linewidth=1, label="loss")
    axes.plot(rates, smooth, color=BLUE, linewidth=1.5, label="smoothed")
    for (name, rate), color, style in zip(marks.items(), (GREEN, VERMILION), ("--", ":"), strict=False):
        axes.axvline(rate, color=color, linestyle=style, label=f"{name}: {rate:.2g}")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    start, least = smooth[0], min(*losses, *smooth)
    axes.set_ylim(least - 0.1 * (start - least + 0.1), start + (start - least) + 0.1)  # not what explodes
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    if title:
        figure.suptitle(title, parse_math=False)
    return figure


def _curve(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of the lines that have both, by step."""
    points = {line["step"]: line[name] for line in lines if "step" in line and line.get(name) is not None}
    return sorted(points), [points[step] for step in sorted(points)]


def _because(reasons: Sequence[str], ours: Any, theirs: Any, worse: int) -> str:
    """Name of the training curve, with the reasons if it ends worse than the other: higher (1) or lower (-1)."""
    explains = reasons and ours[1] and theirs[1] and worse * (ours[1][-1] - theirs[1][-1]) > 0
    return f"train ({', '.join(reasons)})" if explains else "train"


def _draw(axes: Axes, curves: Mapping[str, Any], number: Callable[[float], str] | None) -> None:
    """Draw curves by name, with the exact last value of each in the legend."""
    for name, ((steps, values), style) in curves.items():
        if steps:
            marked = len(steps) <= _MARKED_POINTS
            label = f"{name}, {number(values[-1])} at the end" if number else name
            axes.plot(steps, values, label=label, linewidth=1.5 if marked else 1, markersize=5 * marked, **style)
    axes.grid(alpha=0.3)
    if number and axes.lines:
        axes.legend(fontsize=9)


def _logarithmic_if_wide(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = axes.dataLim.intervaly
    if 0 < _WIDE * low < high < np.inf:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter("{x:g}")


def _percent(axes: Axes) -> None:
    """Format the axis of an accuracy as 0 to 100 %, logarithmic in the error if errors fall far."""
    from matplotlib.ticker import PercentFormatter

    low, high = axes.dataLim.intervaly
    wide = low >= 0 and high <= 1 and 1 - low > _WIDE * (1 - high + _LEAST_ERROR)
    if wide:
        axes.set_yscale("function", functions=(_stretch, _unstretch))
    # The margin beyond 0 and 100 % stays, but without ticks.
    bottom, top = axes.get_ylim()
    ticks = [tick for tick in (_SHARES if wide else axes.get_yticks()) if max(bottom, 0) <= tick <= min(top, 1)]
    axes.set_yticks(_apart(ticks, 0.06 * (_stretch(top) - _stretch(bottom))) if wide else ticks)
    axes.set_ylim(bottom, top)
    axes.yaxis.set_major_formatter(_tick if wide else PercentFormatter(1, symbol=" %"))


def _apart(shares: Sequence[float], least: float) -> list[float]:
    """The rising shares, last one first, that are far enough apart on a stretched axis."""
    kept: list[float] = []
    for share in reversed(shares):
        if not kept or _stretch(kept[-1]) - _stretch(share) >= least:
            kept.append(share)
    return kept


def _tick(share: float, _: Any) -> str:
    return f"{100 * share:g} %"


def _stretch(share: Any) -> Any:
    """Accuracy to the number of digits of its error."""
    return -np.log10(np.maximum(1 - np.asarray(share), -_LEAST_ERROR / 2) + _LEAST_ERROR)


def _unstretch(digits: Any) -> Any:
    return 1 + _LEAST_ERROR - 10 ** -np.asarray(digits)
