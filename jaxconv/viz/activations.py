"""Activation statistics of each layer: mean, standard deviation, dead units, saturation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Params, State
from jaxconv.explain.outputs import kinds, output_structs, outputs, spread
from jaxconv.layers.layer import Layer
from jaxconv.viz.palette import BLUE, GRAY, PINK, SKY_BLUE, VERMILION
from jaxconv.viz.training import inches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Activation", "activations", "draw_activations"]

# An S-shaped function is saturated where its slope is below 1/20 of its maximum.
_FLAT = 0.05
_LAYERS = 60
_SLOPES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "sigmoid": lambda y: 4 * y * (1 - y),
    "tanh": lambda y: 1 - y * y,
}


@dataclasses.dataclass(frozen=True)
class Activation:
    """The output of one layer over some images.

    Attributes:
      layer: its path.
      kind: "relu".
      mean, std: of all its values.
      low, high: minimum and maximum.
      zeros: share of values that are exactly 0.
      dead: share of units (channels of a feature map) that are 0 everywhere in every image.
      saturated: for a sigmoid or tanh, share of values where the slope is below 1/20 of its maximum; else None.
      finite: whether all values are finite.
    """

    layer: str
    kind: str
    mean: float
    std: float
    low: float
    high: float
    zeros: float
    dead: float
    saturated: float | None
    finite: bool


def activations(net: Layer | Callable[..., Any], params: Params, state: State, x: Any) -> list[Activation]:
    """Statistics of every layer's output, in evaluation mode.

    Args:
      net: a Layer or callable.
      params, state: its own.
      x: [N, ..., C], a batch of inputs.

    Returns:
      One Activation for each layer with floating-point output, in execution order.

    Raises:
      ShapeError: if there is no such layer, or no image.

    >>> from jaxconv.layers import chain
    >>> (found,) = activations(chain(jax.nn.relu), {"relu0": {}}, {"relu0": {}}, jnp.array([[1.0, -1.0], [3.0, -2.0]]))
    >>> found.layer, found.mean, found.zeros, found.dead
    ('relu0', 1.0, 0.5, 0.5)
    """
    structs = output_structs(net, params, state, x)
    names = [n for n, y in structs.items() if jnp.issubdtype(getattr(y, "dtype", bool), jnp.floating) and y.size]
    if not names:
        raise ShapeError(
            "at least one layer must have floating-point output", got=f"{len(structs)} layers, none of them"
        )
    of = kinds(net)
    named = {name: of.get(name.split("#")[0], "") for name in names}

    def run(params: Params, state: State, x: Any) -> list[dict[str, jax.Array]]:
        found = outputs(net, params, state, x)
        return [_measure(found[name].astype(jnp.float32), named[name]) for name in names]

    measured = jax.device_get(jax.jit(run)(params, state, x))
    found = []
    for name, numbers in zip(names, measured, strict=True):
        plain = {word: value.item() for word, value in numbers.items()}
        found.append(Activation(name, named[name], **({"saturated": None} | plain)))
    return found


def _measure(y: jax.Array, kind: str) -> dict[str, jax.Array]:
    """Statistics of one layer."""
    none = y == 0
    units = none.reshape(-1, y.shape[-1]) if y.ndim > 1 else none.reshape(-1, 1)
    numbers = {"mean": y.mean(), "std": y.std(), "low": y.min(), "high": y.max(), "zeros": none.mean()}
    numbers |= {"dead": units.all(0).mean(), "finite": jnp.isfinite(y).all()}
    slope = _SLOPES.get(kind)
    return numbers | ({"saturated": (slope(y) < _FLAT).mean()} if slope else {})


def draw_activations(found: Sequence[Activation], title: str = "") -> Figure:
    """Plot mean and standard deviation, zeros and dead units and, for S-shaped functions, saturation, per layer.

    Args:
      found: from `activations`; of more than 60 layers, 60 evenly spaced ones are drawn.
      title: of the figure.

    Returns:
      A figure of two or three axes side by side, the first layer on top.

    Raises:
      ShapeError: if there are no activations.

    >>> one = Activation("tanh0", "tanh", 0.1, 0.5, -1.0, 1.0, 0.0, 0.0, 0.25, True)
    >>> [axes.get_title() for axes in draw_activations([one]).axes]
    ['mean ± standard deviation', 'zeros and dead units', 'saturated']
    """
    from matplotlib.figure import Figure
    from matplotlib.transforms import ScaledTranslation

    if not found:
        raise ShapeError("draw_activations needs the activations of at least one layer", got="none")
    if len(found) > _LAYERS:
        title = f"{title}, {_LAYERS} of {len(found)} layers".removeprefix(", ")
        found = spread(found, _LAYERS)
    flat = any(row.saturated is not None for row in found)
    names = [row.layer if len(row.layer) <= 32 else f"…{row.layer[-31:]}" for row in found]
    beside = max(inches(name, 8) for name in names) + 0.3
    wide = beside + (2.9 * (3 if flat else 2)) + 0.3
    figure = Figure(figsize=(max(wide, inches(title, 10) + 0.4), 0.24 * len(found) + 1.75), layout="constrained")
    moments, zeros, *more = figure.subplots(1, 3 if flat else 2, sharey=True)
    places = np.arange(len(found))
    means, stds = (np.array([getattr(row, word) for row in found]) for word in ("mean", "std"))
    sure = np.isfinite(means) & np.isfinite(stds)
    style: dict[str, Any] = {"fmt": "o", "markersize": 4, "capsize": 2.5, "linewidth": 1.2}
    moments.errorbar(means[sure], places[sure], xerr=stds[sure], color=BLUE, **style)
    moments.axvline(0, color=GRAY, linewidth=0.8, zorder=0)
    for place in places[~sure]:
        moments.text(
            0.5, place, "NaN or infinity", transform=moments.get_yaxis_transform(), ha="center", va="center", fontsize=8
        )
    moments.tick_params(axis="x", labelsize=8)
    moments.set_title("mean ± standard deviation", fontsize=9)
    moments.set_yticks(places, names, fontsize=8, parse_math=False)
    moments.set_ylim(len(found) - 0.4, -0.6)

    _bars(zeros, places, [row.zeros for row in found], SKY_BLUE, "0, share of all numbers", 0.7)
    _bars(zeros, places, [row.dead for row in found], VERMILION, "dead: 0 in every image, share of units", 0.3)
    zeros.set_title("zeros and dead units", fontsize=9)
    for axes in more:
        shares = [row.saturated if row.saturated is not None else np.nan for row in found]
        _bars(axes, places, shares, PINK, f"slope below {_FLAT:.0%} of the steepest", 0.7)
        axes.set_title("saturated", fontsize=9)
    for axes in (zeros, *more):
        below = axes.transAxes + ScaledTranslation(0, -0.25, figure.dpi_scale_trans)
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below, frameon=False)
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    return figure


def _bars(axes: Axes, places: np.ndarray, shares: Sequence[float], color: str, label: str, height: float) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.barh(places, shares, height, color=color, label=label)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
