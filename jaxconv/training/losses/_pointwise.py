"""Losses that are means over examples or pixels."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import optax

from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv._base.types import Array
from jaxconv.training.losses._common import by_class, by_pixel, check_alike, check_pair, smoothed, weighted_mean

__all__ = ["binary_cross_entropy", "cross_entropy", "focal", "mean_squared_error"]


def cross_entropy(
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    smoothing: float = 0.0,
    class_weights: Array | None = None,
    ignore_index: int | None = None,
) -> jax.Array:
    """Mean softmax cross-entropy: `-sum_c q[c] log softmax(logits)[c]`.

    The target q is the one-hot or soft label times `1 - smoothing`, plus `smoothing / C` for every class (label
    smoothing: Szegedy et al. 2016, "Rethinking the Inception architecture"). Computed in at least float32. A class with
    logit -inf is ignored if q is 0.

    Args:
      logits: [N, C], any float type; or [N, *spatial, C], of each pixel.
      labels: [N] or [N, *spatial], integers in 0..C-1 (one outside makes the loss NaN); or soft labels, floating
        [N, C], as from mixup and cutmix.
      weights: [N], weight of each example; None for equal weights.
      smoothing: label smoothing, in [0, 1).
      class_weights: [C], factor of each class's term of the sum. The mean is not divided by them, as in Keras: give
        weights whose mean over the training images is 1.
      ignore_index: label of examples or pixels that are not counted; None for none.

    Returns:
      Scalar: `sum(weights * loss) / sum(weights)`, over all pixels that are counted; 0 if all weights are 0.

    Raises:
      ShapeError: if the shapes or dtypes of logits, labels and weights do not match.

    >>> print(cross_entropy(jnp.zeros([2, 4]), jnp.array([0, 3])))  # log 4: uniform prediction
    1.3862944
    >>> print(cross_entropy(jnp.zeros([1, 4]), jnp.array([[0.5, 0.5, 0, 0]])))
    1.3862944
    """
    logits, labels, weights = by_pixel(logits, labels, weights, ignore_index)
    check_pair(logits, labels, weights)
    log_p = by_class(class_weights, jax.nn.log_softmax(upcast(logits)))
    if labels.ndim == 2:
        hit = jnp.where(labels == 0, 0, labels * log_p).sum(-1)
    else:
        # Without this, a label outside the classes would be clipped, or index from the end.
        known = jnp.where(labels < 0, log_p.shape[-1], labels.astype(jnp.int32))
        hit = jnp.take_along_axis(log_p, known[:, None], axis=-1, mode="fill", fill_value=jnp.nan)[:, 0]
    spread = jnp.where(smoothing == 0, 0, smoothing * log_p.mean(-1))
    return weighted_mean(-(1 - smoothing) * hit - spread, weights)


def focal(
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    gamma: float = 2.0,
    smoothing: float = 0.0,
    class_weights: Array | None = None,
    ignore_index: int | None = None,
) -> jax.Array:
    """Mean focal loss: `-sum_c q[c] (1 - p[c])**gamma log p[c]` of p = softmax(logits), q as in `cross_entropy`.

    Args:
      logits: [N, C], any float type; or [N, *spatial, C], of each pixel.
      labels: [N] or [N, *spatial], integers in 0..C-1 (one outside makes the loss NaN); or soft labels, floating
        [N, C].
      weights: [N], weight of each example; None for equal weights.
      gamma: focus on examples of low probability, at least 0; 0 is the cross-entropy.
      smoothing: label smoothing, in [0, 1).
      class_weights: [C], as in `cross_entropy`: alpha of the paper.
      ignore_index: as in `cross_entropy`.

    Returns:
      Scalar, as in `cross_entropy`.

    Raises:
      ConfigError: if gamma is negative or not finite.
      ShapeError: if the shapes or dtypes of logits, labels and weights do not match.

    Source: Lin et al., Focal loss for dense object detection, 2017; of several classes as in Keras.

    >>> print(focal(jnp.zeros([1, 2]), jnp.array([0])))  # log 2 / 4
    0.1732868
    """
    logits, labels, weights = by_pixel(logits, labels, weights, ignore_index)
    check_pair(logits, labels, weights)
    if not 0 <= gamma < math.inf:
        raise ConfigError(f"gamma must be a number of at least 0, got {gamma}")
    log_p = jax.nn.log_softmax(upcast(logits))
    # Above 0, where the slope of a power below 1 is finite.
    rest = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(log_p.dtype).eps) ** gamma
    target = smoothed(labels, log_p, smoothing)
    terms = by_class(class_weights, jnp.where(target == 0, 0, target * rest * log_p))
    return weighted_mean(-terms.sum(-1), weights)


def binary_cross_entropy(
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    smoothing: float = 0.0,
    class_weights: Array | None = None,
    positive_weights: tuple[float, ...] | None = None,
) -> jax.Array:
    """Mean sigmoid cross-entropy of independent classes, over classes and examples (multi-label classification).

    Of one class for each example it is the loss of Wightman et al. 2021, "ResNet strikes back".

    Args:
      logits: [N, C], any float type.
      labels: [N, C], in [0, 1], a value outside makes the loss NaN; or integers [N], the one class of each example.
      weights: [N], weight of each example; None for equal weights.
      smoothing: label smoothing, in [0, 1), as in `cross_entropy`.
      class_weights: [C], factor of each class's term of the mean.
      positive_weights: [C], factor of each class's term where its label is 1, such as its negative images by its
        positive ones: torch's `pos_weight`.

    Returns:
      Scalar, as in `cross_entropy`.

    Raises:
      ShapeError: if the shapes or dtypes of logits, labels and weights do not match.

    >>> print(binary_cross_entropy(jnp.zeros([1, 3]), jnp.array([[1, 0, 1]])))  # log 2
    0.6931472
    """
    check_alike("logits", logits, labels, weights)
    wide = upcast(logits)
    target = smoothed(labels, wide, smoothing)
    loss = optax.losses.sigmoid_binary_cross_entropy(wide, target)
    if positive_weights is not None:
        positive = jnp.asarray(positive_weights, loss.dtype)
        if positive.shape != loss.shape[-1:]:
            got = f"positive_weights {list(positive.shape)} for {loss.shape[-1]} classes"
            raise ShapeError("positive_weights must be [C], one for each class", got=got)
        loss += (positive - 1) * target * jax.nn.softplus(-wide)
    loss = jnp.where((target >= 0) & (target <= 1), loss, jnp.nan)
    return weighted_mean(by_class(class_weights, loss).mean(-1), weights)


def mean_squared_error(
    outputs: Array,
    targets: Array,
    weights: Array | None = None,
    smoothing: float = 0.0,
    class_weights: Array | None = None,
) -> jax.Array:
    """Mean of `(outputs - targets)**2` over all values of an example, and over examples.

    Args:
      outputs: [N, ...], any float type.
      targets: array of the same shape; or integers [N] where outputs are [N, C], whose targets are one-hot.
      weights: [N], weight of each example; None for equal weights.
      smoothing: label smoothing of such classes, in [0, 1), as in `cross_entropy`.
      class_weights: [C], factor of each class's term of the mean.

    Returns:
      Scalar, as in `cross_entropy`.

    Raises:
      ShapeError: if the shapes of outputs, targets and weights do not match.

    >>> print(mean_squared_error(jnp.array([[1.0, 3.0]]), jnp.array([[1.0, 1.0]])))
    2.0
    """
    check_alike("outputs", outputs, targets, weights)
    wide = upcast(outputs)
    square = by_class(class_weights, optax.losses.squared_error(wide, smoothed(targets, wide, smoothing)))
    return weighted_mean(square.mean(tuple(range(1, square.ndim))), weights)
