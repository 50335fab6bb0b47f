"""Class activation maps: Grad-CAM and Grad-CAM++."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxconv._base.errors import ShapeError
from jaxconv.explain.probes import Probe
from jaxconv.explain.scores import Target, as_input, target_scores
from jaxconv.ops import resize

__all__ = ["grad_cam", "grad_cam_plus_plus"]


def grad_cam(f: Probe, x: ArrayLike, target: Target = None, *, upsample: bool = True) -> jax.Array:
    """Grad-CAM: max(Σ_k w_k A_k, 0), feature maps A weighted by w_k, the mean of ∂s/∂A_k over all cells.

    One forward pass, and one backward pass from the score to the layer.

    Args:
      f: from `at_layer` or `at_split`, with feature maps [N, *spatial', C'].
      x: [N, *spatial, C].
      target: as in `saliency`.
      upsample: whether the map is resized to x's spatial size, linearly.

    Returns:
      [N, *spatial], or [N, *spatial'] without `upsample`; at least 0, in no particular unit.

    Raises:
      ShapeError: if the layer has no feature maps, f returns no class scores, or a class is out of range.

    Source: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks, 2016.

    >>> from jaxconv.explain.probes import at_split
    >>> pooled = at_split(lambda x: x, lambda h: h.mean(1))  # a score for each channel, its mean
    >>> grad_cam(pooled, jnp.array([[[1.0, 0.0], [4.0, 8.0]]]), target=0)
    Array([[0.5, 2. ]], dtype=float32)
    """

    def weights(maps: jax.Array, gradient: jax.Array, axes: tuple[int, ...]) -> jax.Array:
        return gradient.mean(axes, keepdims=True)

    return _weighted_maps(f, x, target, weights, upsample)


def grad_cam_plus_plus(f: Probe, x: ArrayLike, target: Target = None, *, upsample: bool = True) -> jax.Array:
    """Grad-CAM++: as Grad-CAM, with w_k = Σ α·max(g, 0) for the gradient g, α = g² / (2g² + g³ Σ A_k), sums over cells.

    The closed form is that of the score exp(s), up to a factor for each input that scales its map. It covers several
    objects of a class better than Grad-CAM.

    Args:
      f, x, target, upsample: as in `grad_cam`.

    Returns:
      As `grad_cam`.

    Raises:
      ShapeError: as `grad_cam`.

    Source: Chattopadhay et al., Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks, 2017.

    >>> from jaxconv.explain.probes import at_split
    >>> pooled = at_split(lambda x: x, lambda h: h.mean(1))
    >>> grad_cam_plus_plus(pooled, jnp.array([[[1.0, 0.0], [3.0, 8.0]]]), target=0)
    Array([[0.25, 0.75]], dtype=float32)
    """

    def weights(maps: jax.Array, gradient: jax.Array, axes: tuple[int, ...]) -> jax.Array:
        bottom = 2 * gradient**2 + gradient**3 * maps.sum(axes, keepdims=True)
        alpha = jnp.where(bottom == 0, 0, gradient**2 / jnp.where(bottom == 0, 1, bottom))
        return (alpha * jnp.maximum(gradient, 0)).sum(axes, keepdims=True)

    return _weighted_maps(f, x, target, weights, upsample)


Weights = Callable[[jax.Array, jax.Array, tuple[int, ...]], jax.Array]


def _weighted_maps(f: Probe, x: ArrayLike, target: Target, weights: Weights, upsample: bool) -> jax.Array:
    x = as_input(x)
    struct = jax.eval_shape(lambda x: f(x)[1], x)
    rank = len(getattr(struct, "shape", ()))
    if rank < 3 or (upsample and rank != x.ndim):
        raise ShapeError(
            "Grad-CAM needs a layer with feature maps [N, *spatial, C]",
            got=f"{getattr(struct, 'shape', type(struct).__name__)} for x {x.shape}",
            fix="another layer" if rank < 3 else "upsample=False",
            kind="rank",
        )

    def score(shift: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, maps = f(x, shift)
        return target_scores(y, target).sum(), maps

    gradient, maps = jax.grad(score, has_aux=True)(jnp.zeros(struct.shape, struct.dtype))
    axes = tuple(range(1, maps.ndim - 1))
    heat = jnp.maximum((weights(maps, gradient, axes) * maps).sum(-1), 0)
    return resize(heat[..., None], x.shape[1:-1], mode="linear")[..., 0] if upsample else heat
