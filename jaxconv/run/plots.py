"""Plots of a finished run: kernels, features, receptive fields, activations, norms."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.errors import ConfigError, did_you_mean
from jaxconv.explain.outputs import output_structs, outputs
from jaxconv.run.build import load_dataset
from jaxconv.run.finished import Run, first_member, load
from jaxconv.run.records import read_lines
from jaxconv.viz.activations import activations, draw_activations
from jaxconv.viz.features import draw_features
from jaxconv.viz.field import effective_fields
from jaxconv.viz.field_pictures import draw_fields
from jaxconv.viz.kernels import draw_kernels, first_kernel
from jaxconv.viz.norms import norm_curves
from jaxconv.viz.training import default_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["KINDS", "Unsuited", "draw", "drawings"]

_FIELDS = 8
_IMAGES = 64


class Unsuited(ConfigError):
    """Raised if a run has nothing to show in a plot."""


def draw(folder: str | Path, kinds: Sequence[str], image: int = 0, root: str | None = None) -> dict[str, Figure | str]:
    """Draw plots of a finished run; see `drawings`.

    Returns:
      {kind: figure, or the reason why there is none}.
    """
    return dict(drawings(folder, kinds, image, root))


def drawings(
    folder: str | Path, kinds: Sequence[str], image: int = 0, root: str | None = None
) -> Iterator[tuple[str, Figure | str]]:
    """Draw plots of a finished run one by one; of an ensemble, its first member.

    Args:
      folder: the run's.
      kinds: of plots, from `KINDS`.
      image: index of the test image for features and receptive fields.
      root: data directory; the run's if None.

    Yields:
      The kind, and its figure or the reason why there is none.

    Raises:
      ConfigError: if there is no such kind or image.
      DataError: if the run or its data is missing or damaged.
    """
    for kind in kinds:
        if kind not in KINDS:
            known = ", ".join(KINDS)
            raise ConfigError(f"unknown plot {kind!r}; expected one of {known}{did_you_mean(kind, KINDS)}")
    shown = _Shown(load(folder), image, root)
    for kind in kinds:
        try:
            with default_style():
                figure = KINDS[kind](shown)
        except Unsuited as reason:
            yield kind, str(reason)
        else:
            yield kind, figure


class _Shown:
    """A run's net in float32, its parameters, and test images."""

    def __init__(self, run: Run, image: int, root: str | None) -> None:
        self.run, self.root = run, root
        self.net, self.params, self.state, self.title = first_member(run)
        self.number = image

    @functools.cached_property
    def dataset(self) -> Any:
        return load_dataset(self.run.settings, self.root)

    @functools.cached_property
    def image(self) -> np.ndarray:
        """The chosen test image, unnormalized."""
        count = len(self.dataset.test)
        if not 0 <= self.number < count:
            raise ConfigError(f"there is no test image {self.number}; there are {count:,}: 0 to {count - 1}")
        return np.asarray(self.dataset.test[self.number][0])

    @functools.cached_property
    def named(self) -> str:
        """The title with the image's index and class."""
        word = self.run.task.words(self.dataset.test[self.number][1], self.dataset.classes)
        return f"{self.title}, test image {self.number}" + (f" ({word})" if word else "")

    @functools.cached_property
    def images(self) -> Any:
        """Normalized test images, spread over the test set."""
        test = self.dataset.test
        numbers = np.unique(np.linspace(0, len(test) - 1, _IMAGES).astype(int))
        return self.run.prepare(jnp.asarray(np.stack([test[int(number)][0] for number in numbers])))


def _kernels(shown: _Shown) -> Figure:
    found = first_kernel(shown.net, shown.params)
    if found is None:
        raise Unsuited("this net has no convolution over images")
    return draw_kernels(found[1], f"{shown.title}: {found[0]}")


def _features(shown: _Shown) -> Figure:
    x = shown.run.prepare(jnp.asarray(shown.image)[None])
    own = shown.net, shown.params, shown.state
    maps = [name for name, y in output_structs(*own, x).items() if len(getattr(y, "shape", ())) == 4]
    if not maps:
        raise Unsuited("no layer of this net returns feature maps")
    run = jax.jit(lambda params, state, x: outputs(shown.net, params, state, x))
    found = run(shown.params, shown.state, x)
    return draw_features(shown.image, {name: found[name] for name in maps}, shown.named)


def _field(shown: _Shown) -> Figure:
    words = {"params": shown.params, "state": shown.state}
    found = effective_fields(shown.net, shown.images, most=_FIELDS, **words)
    if not found:
        raise Unsuited("no layer of this net has a receptive field smaller than the image")
    return draw_fields(shown.image, found, f"{shown.named}; gradients: a mean over {len(shown.images)} test images")


def _activations(shown: _Shown) -> Figure:
    found = activations(shown.net, shown.params, shown.state, shown.images)
    return draw_activations(found, f"{shown.title}, {len(shown.images)} test images")


def _norms(shown: _Shown) -> Figure:
    measured = read_lines(shown.run.folder)
    if not any("gradient_norm" in line for line in measured):
        raise Unsuited("this run logged no norms; train it with train.log_norms=true")
    return norm_curves(measured, shown.title, list(shown.net.parts))


KINDS: dict[str, Callable[[_Shown], Figure]] = {
    "kernels": _kernels,
    "features": _features,
    "field": _field,
    "activations": _activations,
    "norms": _norms,
}
"""Plots of a run by name."""
