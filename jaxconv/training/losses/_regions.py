"""Losses of overlaps: dice and Lovász, over all pixels of a batch."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv._base.types import Array
from jaxconv.training.losses._common import by_pixel, check_pair

__all__ = ["dice", "lovasz"]


def dice(
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    smooth: float = 0.0,
    ignore_index: int | None = None,
) -> jax.Array:
    """Dice loss: 1 minus the mean over classes of `2 sum p g / (sum p + sum g)`, of p = softmax(logits).

    The sums are over all pixels of the batch, g is 1 at a class's pixels, and the mean is over classes that occur in
    the labels.

    Args:
      logits: [N, *spatial, C], any float type.
      labels: [N, *spatial], integers in 0..C-1 (one outside makes the loss NaN).
      weights: [N], weight of each image; None for equal weights.
      smooth: added to numerator and denominator, at least 0.
      ignore_index: label of pixels that are not counted; None for none.

    Returns:
      Scalar in [0, 1]; 0 if all weights are 0.

    Raises:
      ConfigError: if smooth is negative or not finite.
      ShapeError: if the shapes or dtypes of logits, labels and weights do not match.

    Source: Milletari et al., V-Net, 2016; with the sum of the probabilities as in Sudre et al., Generalised Dice, 2017.

    >>> print(f"{dice(jnp.zeros([1, 2, 2, 2]), jnp.array([[[0, 0], [0, 1]]])):.4f}")  # 1 - (3/5 + 1/3) / 2
    0.5333
    """
    if not 0 <= smooth < math.inf:
        raise ConfigError(f"smooth must be a number of at least 0, got {smooth}")
    p, target, weight = _pixels(logits, labels, weights, ignore_index)
    both = (weight * p * target).sum(0)
    either = (weight * (p + target)).sum(0)
    share = (2 * both + smooth) / jnp.maximum(either + smooth, jnp.finfo(p.dtype).tiny)
    return _mean_of_present(1 - share, (weight * target).sum(0))


def lovasz(logits: Array, labels: Array, weights: Array | None = None, ignore_index: int | None = None) -> jax.Array:
    """Lovász-softmax loss: the convex extension of 1 - IoU, a mean over the classes that occur in the labels.

    Args:
      logits: [N, *spatial, C], any float type.
      labels: [N, *spatial], integers in 0..C-1 (one outside makes the loss NaN).
      weights: [N], weight of each image; None for equal weights.
      ignore_index: label of pixels that are not counted; None for none.

    Returns:
      Scalar in [0, 1], over all pixels of the batch; 0 if all weights are 0.

    Raises:
      ShapeError: if the shapes or dtypes of logits, labels and weights do not match.

    Source: Berman et al., The Lovász-Softmax loss, 2018, without `per_image`, with `classes="present"`.

    >>> right = jnp.array([[[0, 1]]])
    >>> print(lovasz(100 * jax.nn.one_hot(right, 2), right), lovasz(100 * jax.nn.one_hot(1 - right, 2), right))
    0.0 1.0
    """
    p, target, weight = _pixels(logits, labels, weights, ignore_index)

    def of_class(p: jax.Array, target: jax.Array) -> jax.Array:
        error = jnp.abs(target - p)
        order = jnp.argsort(-jax.lax.stop_gradient(jnp.where(weight[:, 0] > 0, error, -1.0)))
        w, g = weight[order, 0], target[order]
        total = (w * g).sum()
        union = total + jnp.cumsum(w * (1 - g))
        index = 1 - (total - jnp.cumsum(w * g)) / jnp.where(union > 0, union, 1)
        return (jnp.where(w > 0, error[order], 0) * jnp.diff(index, prepend=0.0)).sum()

    return _mean_of_present(jax.vmap(of_class, in_axes=(1, 1))(p, target), (weight * target).sum(0))


def _pixels(
    logits: Array, labels: Array, weights: Array | None, ignore_index: int | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Probabilities [M, C], one-hot targets [M, C] (NaN outside the classes) and weights [M, 1] of pixels."""
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        must = "labels of a loss of regions must be integers [N, *spatial]"
        raise ShapeError(must, got=f"{labels.dtype} {list(labels.shape)}", fix="cross_entropy, of soft labels")
    flat, hard, weight = by_pixel(logits, labels, weights, ignore_index)
    check_pair(flat, hard, weight)
    wide = upcast(flat)
    counted = jnp.ones([len(wide), 1], wide.dtype) if weight is None else jnp.asarray(weight, wide.dtype)[:, None]
    p = jax.nn.softmax(jnp.where(counted > 0, wide, 0))
    known = ((hard >= 0) & (hard < p.shape[-1]))[:, None]
    target = jnp.where(known, jax.nn.one_hot(hard, p.shape[-1], dtype=p.dtype), jnp.nan)
    return p, jnp.where(counted > 0, target, 0), counted


def _mean_of_present(losses: jax.Array, pixels: jax.Array) -> jax.Array:
    """Mean of losses [C] over the classes with pixels; 0 if there are none."""
    present = ~(pixels <= 0)  # NaN is present, so that the loss becomes NaN
    return jnp.where(present, losses, 0).sum() / jnp.maximum(present.sum(), 1)
