"""Losses of regions: overlaps (dice and Lovász) and boundaries, over all pixels of a batch."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jaxconv import geometry, ops
from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv._base.types import Array
from jaxconv.training.losses._common import by_pixel, check_pair

__all__ = ["boundary", "dice", "lovasz"]

_EPS = 1e-7


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


def boundary(
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    tolerance: int = 2,
    ignore_index: int | None = None,
) -> jax.Array:
    """Boundary loss: 1 minus the mean over classes of the F1 score of their boundaries, of p = softmax(logits).

    The boundary of a class is where its probability is above the smallest of the neighboring pixels. Precision and
    recall are over all pixels of the batch, and count a pixel if the other boundary is within the tolerance. It is
    meant as a term beside another loss.

    Args:
      logits: [N, *spatial, C], any float type.
      labels: [N, *spatial], integers in 0..C-1 (one outside makes the loss NaN).
      weights: [N], weight of each image; None for equal weights.
      tolerance: distance along each axis, in pixels.
      ignore_index: label of pixels that are not counted, and that bound nothing; None for none.

    Returns:
      Scalar in [0, 1], over the classes with a boundary in the labels; 0 if there are none.

    Raises:
      ShapeError: if the tolerance is no int ≥ 0, there is no spatial axis, or the shapes or dtypes of logits, labels
        and weights do not match.

    Source: Bokhovkin and Burnaev, Boundary Loss for Remote Sensing Imagery Semantic Segmentation, 2019.

    >>> labels, near, far = ((jnp.arange(10) >= start).astype(int)[None] for start in (5, 6, 9))
    >>> for predicted in (near, far):
    ...     print(f"{boundary(100 * jax.nn.one_hot(predicted, 2), labels, tolerance=1):.3f}")
    0.000
    1.000
    """
    geometry.integer(tolerance, "tolerance", least=0)
    rank = logits.ndim - 2
    if rank < 1:
        raise ShapeError("a boundary loss needs logits of pixels, [N, *spatial, C]", got=f"{list(logits.shape)}")
    p, target, weight = _pixels(logits, labels, weights, ignore_index)
    counted = jnp.broadcast_to(weight, p.shape).reshape(logits.shape)

    def bounds(values: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The boundary of each class [N, *spatial, C], and the same within the tolerance."""
        outside = jnp.where(counted > 0, 1 - values.reshape(logits.shape), 0)
        edge = jnp.where(counted > 0, ops.max_pool(outside, (3,) * rank, stride=1, padding=1) - outside, 0)
        near = ops.max_pool(edge, (2 * tolerance + 1,) * rank, stride=1, padding=tolerance)
        return edge, near

    def share(edge: jax.Array, near: jax.Array) -> jax.Array:
        axes = tuple(range(logits.ndim - 1))
        return (counted * edge * near).sum(axes) / ((counted * edge).sum(axes) + _EPS)

    (edge, near), (true_edge, true_near) = bounds(p), bounds(target)
    precision, recall = share(edge, true_near), share(true_edge, near)
    f1 = 2 * precision * recall / (precision + recall + _EPS)
    return _mean_of_present(1 - f1, true_edge.sum(tuple(range(logits.ndim - 1))))


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
