"""Explanations of predictions, as pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import explain
from jaxconv._base.errors import ConfigError, count, did_you_mean, either
from jaxconv.explain.probes import map_layers
from jaxconv.run.finished import Member, Run, first_member
from jaxconv.run.methods import METHODS, Compute, Subject
from jaxconv.run.predict import Predictor
from jaxconv.run.readings import NOUNS, READINGS, Asked, Reading
from jaxconv.viz.explanations import Map, Picture, draw_explanations
from jaxconv.viz.training import default_style, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Explained", "Explainer", "explainer", "last_maps"]

_LISTED = 24  # most layers and classes in a message


class Explained(NamedTuple):
    """An explained prediction.

    Args:
      lines: names and values of the prediction, to print.
      figure: the picture.
    """

    lines: list[tuple[str, str]]
    figure: Figure


class Explainer(NamedTuple):
    """What is explained, and how.

    Args:
      subject: the net.
      read: scores of an image -> their reading.
      asked: what is asked of each image.
      programs: of the scores of images, and of each method, compiled once for all images.
      methods: keys of `METHODS`.
      layer: path of the layer of class activation maps; empty if there is none.
      title: of the net.
    """

    subject: Subject
    read: Callable[[np.ndarray, Asked], Reading]
    asked: Asked
    programs: Mapping[str, Callable[..., jax.Array]]
    methods: Sequence[str]
    layer: str
    title: str

    def __call__(self, pixels: np.ndarray, name: str, where: np.ndarray | None = None) -> Explained:
        """Explain the prediction of one image.

        Args:
          pixels: [H, W, C] in the data's units.
          name: of the image, for the title.
          where: bool [H, W], pixels of a segmentation that are explained; None for the predicted mask.

        Raises:
          ConfigError: if the class to explain is predicted at no pixel.
        """
        found = self.reading(pixels, name, where)
        x = jnp.asarray(pixels, jnp.float32)[None]
        shown: list[Map | Picture] = []
        for label in found.labels:
            of = f"\n{short(self.asked.classes[label])}" if len(found.labels) > 1 else ""
            for method in self.methods:
                values = np.asarray(self.programs[method](x, jnp.int32(label), found.where))[0]
                shown += self._panels(method, of, values, pixels)
        with default_style():
            title, outline = f"{self.title}, {name}", found.where
            figure = draw_explanations(
                pixels, found.caption, shown, peak=self.subject.peak, title=title, outline=outline
            )
        return Explained(found.lines, figure)

    def reading(self, pixels: np.ndarray, name: str = "the image", where: np.ndarray | None = None) -> Reading:
        """The prediction of one image [H, W, C], see `__call__`."""
        scores = np.asarray(self.programs["scores"](jnp.asarray(pixels, jnp.float32)[None]))[0]
        return self.read(scores, self.asked._replace(name=name, where=where))

    def _panels(self, method: str, of: str, values: np.ndarray, pixels: np.ndarray) -> list[Map | Picture]:
        if not METHODS[method].attack:
            at = f"\n{self.layer}" if method.startswith("gradcam") else ""
            return [Map(f"{method}{at}{of}", values, METHODS[method].signed)]
        scores = np.asarray(self.programs["scores"](values[None]))[0]
        now = self.read(scores, self.asked._replace(label=None)).caption
        change = _signed_largest((values - pixels) / self.subject.peak)
        bound = f"ε = {self.subject.epsilon:.3g} of the range"
        return [Picture(f"{method}\n{now}", values), Map(f"{method}: perturbation\n{bound}", change, True)]


def explainer(
    predictor: Predictor,
    methods: Sequence[str],
    *,
    layer: str | None = None,
    label: str | None = None,
    epsilon: float = 8 / 255,
    title: str = "",
) -> Explainer:
    """Check what is to be explained.

    Args:
      predictor: a finished run or a net with pretrained weights; of an ensemble, the first member is explained, in
        float32 and without augmentation.
      methods: keys of `METHODS`.
      layer: path of the layer of class activation maps; if None, the last one with maps, and of a segmentation the
        last one with the most channels.
      label: name or index of the class, label or target to explain, and to be predicted after an attack; if None, what
        is predicted, and any other.
      epsilon: largest change of a pixel by an attack, as a fraction of the range.
      title: of the net, if it is not a run.

    Raises:
      ConfigError: if nothing of the task can be explained, or there is no such method, layer or class.
    """
    task, wanted = predictor.task_name, predictor.input
    if task not in READINGS:
        tasks = either(*READINGS)
        raise ConfigError(f"explain needs a net for {tasks}; {_named(predictor, title)} is one for {task}")
    _check_methods(methods, task)
    if not 0 < epsilon <= 1:
        raise ConfigError(f"--epsilon must be a fraction of the range of pixels, above 0 and at most 1; got {epsilon}")
    own = first_member(predictor) if isinstance(predictor, Run) else Member(*_weights(predictor), title)
    net, params, state, title = own
    known = map_layers(net, params, state, jax.ShapeDtypeStruct((1, *wanted.shape), jnp.float32))
    if any(method.startswith("gradcam") for method in methods) and not known:
        raise ConfigError("gradcam needs a layer with feature maps; this net has none: --method saliency")
    if layer is not None and layer not in known:
        raise ConfigError(f"no layer {layer!r} with feature maps; expected one of {_listed(list(known))}"
                          f"{did_you_mean(layer, list(known))}")  # fmt: skip
    where = layer or last_maps(known, dense=predictor.task.dense)
    index = None if label is None else _class_index(label, wanted.classes, NOUNS.get(task, "class"))
    subject = Subject(
        predictor.prepare,
        lambda x: net.apply(params, state, x)[0],
        explain.at_layer(net, params, state, where) if where else explain.at_split(lambda x: x, lambda h: h),
        wanted.peak,
        epsilon,
        index is not None,
    )
    programs = {method: _program(METHODS[method].compute, subject) for method in methods}
    temperature = 1.0 if predictor.members else predictor.temperature
    asked = Asked(wanted.classes, index, temperature=temperature)
    return Explainer(
        subject, READINGS[task], asked, programs | {"scores": jax.jit(subject.of_pixels)}, methods, where, title
    )


def last_maps(known: Mapping[str, tuple[int, ...]], *, dense: bool) -> str:
    """The layer of class activation maps, of those of `map_layers`: the last one; empty if there is none.

    Of predictions of pixels it is the last one with the most channels, the end of the encoder: later ones are those
    scores themselves.

    >>> known = {"stem": (1, 8, 8, 4), "bottom": (1, 4, 4, 16), "head": (1, 8, 8, 2)}
    >>> last_maps(known, dense=False), last_maps(known, dense=True)
    ('head', 'bottom')
    """
    most = max((shape[-1] for shape in known.values()), default=0)
    return next((name for name in reversed(list(known)) if not dense or known[name][-1] == most), "")


def _program(compute: Compute, subject: Subject) -> Callable[..., jax.Array]:
    """A method as a program whose class and pixels are arguments: all images of a size share it."""

    def run(x: jax.Array, label: jax.Array, where: jax.Array | None) -> jax.Array:
        return compute(subject, x, label if where is None else explain.pixel_score(label, where))

    return jax.jit(run)


def _check_methods(methods: Sequence[str], task: str) -> None:
    for method in methods:
        if method not in METHODS:
            raise ConfigError(
                f"unknown method {method!r}; expected one of {', '.join(METHODS)}{did_you_mean(method, METHODS)}"
            )
        if METHODS[method].attack and task != "classification":
            others = ", ".join(name for name in METHODS if not METHODS[name].attack)
            raise ConfigError(f"{method} attacks the class of an image, which {task} has not; expected one of {others}")


def _weights(predictor: Predictor) -> tuple[Any, Any, Any]:
    return predictor.net, predictor.params, predictor.state


def _named(predictor: Predictor, title: str) -> str:
    return str(predictor.folder) if isinstance(predictor, Run) else title


def _class_index(label: str, classes: Sequence[str], noun: str) -> int:
    if label in classes:
        return classes.index(label)
    if label.isdecimal() and int(label) < len(classes):
        return int(label)
    known = f"one of {_listed(classes)}, or an index from 0 to {len(classes) - 1}"
    raise ConfigError(f"no {noun} {label!r} of {count(len(classes), noun)}; expected {known}"
                      f"{did_you_mean(label, classes)}")  # fmt: skip


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:_LISTED], *["…"] * (len(names) > _LISTED)])


def _signed_largest(values: np.ndarray) -> np.ndarray:
    """Of each cell [H, W, C], the value with the largest magnitude."""
    found: np.ndarray = np.take_along_axis(values, np.abs(values).argmax(-1)[..., None], -1)[..., 0]
    return found
