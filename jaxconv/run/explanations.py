"""Explanations of a finished run's predictions, as pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import explain
from jaxconv._base.errors import ConfigError, count, did_you_mean
from jaxconv.explain.probes import map_layers
from jaxconv.run.finished import Run, first_member
from jaxconv.viz.explanations import Map, Picture, draw_explanations
from jaxconv.viz.training import default_style, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["METHODS", "Explained", "Explainer", "explainer"]

_LISTED = 24  # most layers and classes in a message
_WINDOWS = 7  # windows of an occlusion, side by side

Logits = Callable[[jax.Array], jax.Array]
Compute = Callable[["Explainer", jax.Array, jax.Array], jax.Array]
"""(explainer, x, class) -> map [1, H, W], or for an attack the perturbed image [1, H, W, C]."""


class Method(NamedTuple):
    """A way to explain a prediction: what it computes, whether its values have a sign, whether it is an attack."""

    compute: Compute
    signed: bool = True
    attack: bool = False


class Explained(NamedTuple):
    """An explained prediction.

    Args:
      name: of the predicted class.
      probability: of that class.
      figure: the picture.
    """

    name: str
    probability: float
    figure: Figure


class Explainer(NamedTuple):
    """What is explained, and how.

    Args:
      run: a finished run.
      methods: keys of `METHODS`.
      layer: path of the layer of class activation maps; empty if there is none.
      wanted: index of the explained class; None for the predicted one.
      epsilon: largest change of a pixel by an attack, as a fraction of the range.
      logits: normalized images -> class scores of the first member.
      probe: of that layer.
      title: of the run.
    """

    run: Run
    methods: Sequence[str]
    layer: str
    wanted: int | None
    epsilon: float
    logits: Logits
    probe: explain.Probe
    title: str

    def __call__(self, pixels: np.ndarray, name: str) -> Explained:
        """Explain the prediction of one image.

        Args:
          pixels: [H, W, C] in the data's units.
          name: of the image, for the title.
        """
        wanted, classes = self.run.input, self.run.input.classes
        chances = jax.jit(self.chances)
        probabilities = np.asarray(chances(pixels))
        best = int(probabilities.argmax())
        target = best if self.wanted is None else self.wanted

        def words(chances: np.ndarray, number: int) -> str:
            return f"{short(classes[number])}, {chances[number]:.1%}"

        caption = words(probabilities, best)
        caption += "" if target == best else f"\nexplained: {words(probabilities, target)}"
        shown: list[Map | Picture] = []
        for method in self.methods:
            # Under jit the class is an argument: all images share the program.
            compute = jax.jit(lambda x, target, run=METHODS[method].compute: run(self, x, target))
            values = np.asarray(compute(jnp.asarray(pixels, jnp.float32)[None], jnp.int32(target)))[0]
            if METHODS[method].attack:
                found = np.asarray(chances(values))
                shown.append(Picture(f"{method}\n{words(found, int(found.argmax()))}", values))
                change = (values - pixels) / wanted.peak
                shown.append(
                    Map(f"{method}: perturbation\nε = {self.epsilon:.3g} of the range", _signed_largest(change), True)
                )
            else:
                at = f"\n{self.layer}" if method.startswith("gradcam") else ""
                shown.append(Map(f"{method}{at}", values, METHODS[method].signed))
        with default_style():
            figure = draw_explanations(pixels, caption, shown, peak=wanted.peak, title=f"{self.title}, {name}")
        return Explained(classes[best], float(probabilities[best]), figure)

    def chances(self, pixels: jax.Array) -> jax.Array:
        """Class probabilities [K] of one image in the data's units."""
        temperature = 1.0 if self.run.members else self.run.temperature
        return jax.nn.softmax(self.of_pixels(jnp.asarray(pixels)[None])[0] / temperature)

    def of_pixels(self, images: jax.Array) -> jax.Array:
        """Class scores of images in the data's units."""
        return self.logits(self.run.prepare(images))


def explainer(
    run: Run, methods: Sequence[str], *, layer: str | None = None, label: str | None = None, epsilon: float = 8 / 255
) -> Explainer:
    """Check what is to be explained.

    Args:
      run: a finished run; of an ensemble, its first member is explained, in float32 and without augmentation.
      methods: keys of `METHODS`.
      layer: path of the layer of class activation maps; the last one with maps if None.
      label: name or index of the class to explain, and to be predicted after an attack; if None, the predicted one, and
        any other.
      epsilon: largest change of a pixel by an attack, as a fraction of the range.

    Raises:
      ConfigError: if the run is no classification, or there is no such method, layer or class.
    """
    if run.task_name != "classification":
        raise ConfigError(f"explain needs a run of classification; {run.folder} is one of {run.task_name}")
    for method in methods:
        if method not in METHODS:
            raise ConfigError(
                f"unknown method {method!r}; expected one of {', '.join(METHODS)}{did_you_mean(method, METHODS)}"
            )
    if not 0 < epsilon <= 1:
        raise ConfigError(f"--epsilon must be a fraction of the range of pixels, above 0 and at most 1; got {epsilon}")
    net, params, state, title = first_member(run)
    known = list(map_layers(net, params, state, jax.ShapeDtypeStruct((1, *run.input.shape), jnp.float32)))
    if any(method.startswith("gradcam") for method in methods) and not known:
        raise ConfigError("gradcam needs a layer with feature maps; this net has none: --method saliency")
    if layer is not None and layer not in known:
        raise ConfigError(f"no layer {layer!r} with feature maps; expected one of {_listed(known)}"
                          f"{did_you_mean(layer, known)}")  # fmt: skip
    where = layer or (known[-1] if known else "")
    return Explainer(
        run,
        methods,
        where,
        None if label is None else _class_index(label, run.input.classes),
        epsilon,
        lambda x: net.apply(params, state, x)[0],
        explain.at_layer(net, params, state, where) if where else explain.at_split(lambda x: x, lambda h: h),
        title,
    )


def _class_index(label: str, classes: Sequence[str]) -> int:
    if label in classes:
        return classes.index(label)
    if label.isdecimal() and int(label) < len(classes):
        return int(label)
    known = f"one of {_listed(classes)}, or an index from 0 to {len(classes) - 1}"
    raise ConfigError(f"no class {label!r} of {count(len(classes), 'class')}; expected {known}"
                      f"{did_you_mean(label, classes)}")  # fmt: skip


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:_LISTED], *["…"] * (len(names) > _LISTED)])


def _signed_largest(values: np.ndarray) -> np.ndarray:
    """Of each cell [H, W, C], the value with the largest magnitude."""
    found: np.ndarray = np.take_along_axis(values, np.abs(values).argmax(-1)[..., None], -1)[..., 0]
    return found


def _of_input(method: Callable[..., jax.Array], **words: Any) -> Compute:
    """A method of the normalized image; a sum over channels."""

    def compute(own: Explainer, pixels: jax.Array, target: jax.Array) -> jax.Array:
        found = method(own.logits, own.run.prepare(pixels), target, **words)
        return found.sum(-1) if found.ndim == 4 else found

    return compute


def _of_layer(method: Callable[..., jax.Array]) -> Compute:
    return lambda own, pixels, target: method(own.probe, own.run.prepare(pixels), target)


def _occlusion(own: Explainer, pixels: jax.Array, target: jax.Array) -> jax.Array:
    windows = [min(max(2, n // _WINDOWS), n) for n in pixels.shape[1:-1]]
    return explain.occlusion(own.logits, own.run.prepare(pixels), target, window=windows)


def _attack(method: Callable[..., jax.Array]) -> Compute:
    def compute(own: Explainer, pixels: jax.Array, target: jax.Array) -> jax.Array:
        peak, toward = own.run.input.peak, own.wanted is not None
        return method(own.of_pixels, pixels, target, epsilon=own.epsilon * peak, high=peak, targeted=toward)

    return compute


METHODS: dict[str, Method] = {
    "gradcam": Method(_of_layer(explain.grad_cam), signed=False),
    "gradcam++": Method(_of_layer(explain.grad_cam_plus_plus), signed=False),
    "saliency": Method(_of_input(explain.saliency), signed=False),
    "smoothgrad": Method(_of_input(explain.smooth_grad, key=jax.random.key(0))),
    "integrated-gradients": Method(_of_input(explain.integrated_gradients)),
    "guided-backprop": Method(_of_input(explain.guided_backprop)),
    "occlusion": Method(_occlusion),
    "fgsm": Method(_attack(explain.fgsm), attack=True),
    "pgd": Method(_attack(explain.pgd), attack=True),
}
"""Methods by the names that the command line takes."""
