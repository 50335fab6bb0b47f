"""Methods of `jaxconv explain`, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxconv import explain

__all__ = ["METHODS", "Compute", "Method", "Scores", "Subject"]

_WINDOWS = 7  # windows of an occlusion, side by side

Scores = Callable[[jax.Array], jax.Array]


class Subject(NamedTuple):
    """The net and settings that a method explains.

    Args:
      prepare: normalizes images in the data's units.
      scores: normalized images -> scores.
      probe: of the layer of class activation maps.
      peak: largest possible pixel value.
      epsilon: maximum perturbation of a pixel (L∞), as a fraction of the range.
      targeted: whether an attack is towards the class, rather than away from it.
    """

    prepare: Scores
    scores: Scores
    probe: explain.Probe
    peak: float
    epsilon: float
    targeted: bool

    def of_pixels(self, images: jax.Array) -> jax.Array:
        """Scores of images in the data's units."""
        return self.scores(self.prepare(images))


Compute = Callable[[Subject, jax.Array, Any], jax.Array]
"""(subject, x, target) -> map [1, H, W], or for an attack the perturbed image [1, H, W, C]."""


class Method(NamedTuple):
    """A way to explain a prediction: what it computes, whether its values have a sign, whether it is an attack."""

    compute: Compute
    signed: bool = True
    attack: bool = False


def _of_input(method: Callable[..., jax.Array]) -> Compute:
    """A method of the normalized image; a sum over channels."""

    def compute(own: Subject, pixels: jax.Array, target: Any) -> jax.Array:
        found = method(own.scores, own.prepare(pixels), target)
        return found.sum(-1) if found.ndim == 4 else found

    return compute


def _smooth_grad(scores: Scores, x: jax.Array, target: Any) -> jax.Array:
    return explain.smooth_grad(scores, x, target, key=jax.random.key(0))


def _of_layer(method: Callable[..., jax.Array]) -> Compute:
    return lambda own, pixels, target: method(own.probe, own.prepare(pixels), target)


def _occlusion(own: Subject, pixels: jax.Array, target: Any) -> jax.Array:
    windows = [min(max(2, n // _WINDOWS), n) for n in pixels.shape[1:-1]]
    return explain.occlusion(own.scores, own.prepare(pixels), target, window=windows)


def _attack(method: Callable[..., jax.Array]) -> Compute:
    def compute(own: Subject, pixels: jax.Array, target: Any) -> jax.Array:
        size = own.epsilon * own.peak
        return method(own.of_pixels, pixels, target, epsilon=size, high=own.peak, targeted=own.targeted)

    return compute


METHODS: dict[str, Method] = {
    "gradcam": Method(_of_layer(explain.grad_cam), signed=False),
    "gradcam++": Method(_of_layer(explain.grad_cam_plus_plus), signed=False),
    "saliency": Method(_of_input(explain.saliency), signed=False),
    "smoothgrad": Method(_of_input(_smooth_grad)),
    "integrated-gradients": Method(_of_input(explain.integrated_gradients)),
    "guided-backprop": Method(_of_input(explain.guided_backprop)),
    "occlusion": Method(_occlusion),
    "fgsm": Method(_attack(explain.fgsm), attack=True),
    "pgd": Method(_attack(explain.pgd), attack=True),
}
"""Methods by the names that the command line takes."""
