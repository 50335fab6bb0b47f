"""Loss functions: (weighted) means over examples."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import optax

from jaxconv._base.dtypes import channelwise, upcast
from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv._base.types import Array

__all__ = ["binary_cross_entropy", "cross_entropy", "focal", "mean_squared_error"]


def cross_entropy(
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    smoothing: float = 0.0,
    class_weights: Array | None = None,
) -> jax.Array:
    """Mean softmax cross-entropy: `-sum_c q[c] log softmax(logits)[c]`.

    The target q is the one-hot or soft label times `1 - smoothing`, plus `smoothing / C` for every class (label
    smoothing: Szegedy et al. 2016, "Rethinking the Inception architecture"). Computed in at least float32. A class with
    logit -inf is ignored if q is 0.

    Args:
      logits: [N, C], any float type.
      labels: [N], integers in 0..C-1 (one outside makes the loss NaN); or soft labels, floating [N, C], as from mixup
        and cutmix.
      weights: [N], weight of each example; None for equal weights.
      smoothing: label smoothing, in [0, 1).
      class_weights: [C], factor of each class's term of the sum. The mean is not divided by them, as in Keras: give
        weights whose mean over the training images is 1.

    Returns:
      Scalar: `sum(weights * loss) / sum(weights)`; 0 if all weights are 0.

    Raises:
      ShapeError: if the shapes or dtypes of logits, labels and weights do not match.

    >>> print(cross_entropy(jnp.zeros([2, 4]), jnp.array([0, 3])))  # log 4: uniform prediction
    1.3862944
    >>> print(cross_entropy(jnp.zeros([1, 4]), jnp.array([[0.5, 0.5, 0, 0]])))
    1.3862944
    """
    check_pair(logits, labels, weights)
    log_p = _by_class(class_weights, jax.nn.log_softmax(upcast(logits)))
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
) -> jax.Array:
    """Mean focal loss: `-sum_c q[c] (1 - p[c])**gamma log p[c]` of p = softmax(logits), q as in `cross_entropy`.

    Args:
      logits: [N, C], any float type.
      labels: [N], integers in 0..C-1 (one outside makes the loss NaN); or soft labels, floating [N, C].
      weights: [N], weight of each example; None for equal weights.
      gamma: focus on examples of low probability, at least 0; 0 is the cross-entropy.
      smoothing: label smoothing, in [0, 1).
      class_weights: [C], as in `cross_entropy`: alpha of the paper.

    Returns:
      Scalar, as in `cross_entropy`.

    Raises:
      ConfigError: if gamma is negative or not finite.
      ShapeError: if the shapes or dtypes of logits, labels and weights do not match.

    Source: Lin et al., Focal loss for dense object detection, 2017; of several classes as in Keras.

    >>> print(focal(jnp.zeros([1, 2]), jnp.array([0])))  # log 2 / 4
    0.1732868
    """
    check_pair(logits, labels, weights)
    if not 0 <= gamma < math.inf:
        raise ConfigError(f"gamma must be a number of at least 0, got {gamma}")
    log_p = jax.nn.log_softmax(upcast(logits))
    # Above 0, where the slope of a power below 1 is finite.
    rest = jnp.maximum(-jnp.expm1(log_p), jnp.finfo(log_p.dtype).eps) ** gamma
    target = _smoothed(labels, log_p, smoothing)
    terms = _by_class(class_weights, jnp.where(target == 0, 0, target * rest * log_p))
    return weighted_mean(-terms.sum(-1), weights)


def binary_cross_entropy(
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    smoothing: float = 0.0,
    class_weights: Array | None = None,
) -> jax.Array:
    """Mean sigmoid cross-entropy of independent classes, over classes and examples (multi-label classification).

    Of one class for each example it is the loss of Wightman et al. 2021, "ResNet strikes back".

    Args:
      logits: [N, C], any float type.
      labels: [N, C], in [0, 1], a value outside makes the loss NaN; or integers [N], the one class of each example.
      weights: [N], weight of each example; None for equal weights.
      smoothing: label smoothing, in [0, 1), as in `cross_entropy`.
      class_weights: [C], factor of each class's term of the mean.

    Returns:
      Scalar, as in `cross_entropy`.

    Raises:
      ShapeError: if the shapes or dtypes of logits, labels and weights do not match.

    >>> print(binary_cross_entropy(jnp.zeros([1, 3]), jnp.array([[1, 0, 1]])))  # log 2
    0.6931472
    """
    _check_alike("logits", logits, labels, weights)
    wide = upcast(logits)
    target = _smoothed(labels, wide, smoothing)
    loss = optax.losses.sigmoid_binary_cross_entropy(wide, target)
    loss = jnp.where((target >= 0) & (target <= 1), loss, jnp.nan)
    return weighted_mean(_by_class(class_weights, loss).mean(-1), weights)


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
    _check_alike("outputs", outputs, targets, weights)
    wide = upcast(outputs)
    square = _by_class(class_weights, optax.losses.squared_error(wide, _smoothed(targets, wide, smoothing)))
    return weighted_mean(square.mean(tuple(range(1, square.ndim))), weights)


def _smoothed(labels: Array, outputs: jax.Array, smoothing: float) -> jax.Array:
    """Targets of the shape and dtype of outputs [N, C]: labels [N] one-hot (NaN outside the classes), smoothed."""
    if labels.ndim < outputs.ndim:
        classes = jnp.arange(outputs.shape[-1])[None]
        known = (labels >= 0) & (labels < outputs.shape[-1])
        target = jnp.where(known[:, None], (labels[:, None] == classes).astype(outputs.dtype), jnp.nan)
    else:
        target = jnp.asarray(labels, outputs.dtype)
    return jnp.where(smoothing == 0, target, (1 - smoothing) * target + smoothing / outputs.shape[-1])


def _by_class(class_weights: Array | None, terms: jax.Array) -> jax.Array:
    """Terms [..., C] times the weights of their classes, if there are any.

    Raises:
      ShapeError: if there is not one for each class.
    """
    if class_weights is None:
        return terms
    if class_weights.shape != terms.shape[-1:]:
        got = f"class_weights {list(class_weights.shape)} for {terms.shape[-1]} classes"
        raise ShapeError("class_weights must be [C], one for each class", got=got)
    return channelwise(jnp.asarray(class_weights, terms.dtype), terms) * terms


def weighted_mean(values: jax.Array, weights: Array | None) -> jax.Array:
    """Weighted mean of values [N]; values of weight 0 are ignored, even if NaN. 0 if all weights are 0."""
    if weights is None:
        return values.sum() / max(len(values), 1)
    weights = weights.astype(values.dtype)
    total = weights.sum()
    part = jnp.where(weights == 0, 0, weights * values).sum()
    return jnp.where(total > 0, part / jnp.where(total > 0, total, 1), 0)


def check_pair(logits: Array, labels: Array, weights: Array | None) -> None:
    """Check that logits are [N, C], labels integers [N] or floating [N, C], and weights [N].

    Raises:
      ShapeError: if they are not.
    """
    soft = labels.ndim == 2
    kind = jnp.floating if soft else jnp.integer
    fits = logits.ndim == 2 and labels.shape == (logits.shape if soft else logits.shape[:1])
    if fits and (weights is None or weights.shape == logits.shape[:1]) and jnp.issubdtype(labels.dtype, kind):
        return
    fix = ""
    if logits.ndim > 2:
        fix = "put flatten or a global pool before the last Dense"
    elif fits and not jnp.issubdtype(labels.dtype, kind):
        fix = "labels.astype(jnp.float32), or labels.argmax(-1)" if soft else "labels.astype(jnp.int32)"
    elif labels.shape == (len(logits), 1):
        fix = "labels[:, 0]"
    must = "logits must be [N, C], and labels integers [N] or floating [N, C]"
    raise ShapeError(must, got=_shapes("logits", logits, labels, weights), fix=fix)


def _check_alike(word: str, outputs: Array, labels: Array, weights: Array | None) -> None:
    targets = "labels" if word == "logits" else "targets"
    fits = outputs.shape == labels.shape and outputs.ndim >= (2 if word == "logits" else 1)
    if outputs.ndim == 2 and labels.shape == outputs.shape[:1] and jnp.issubdtype(labels.dtype, jnp.integer):
        fits = True  # of one class each
    if not fits or (weights is not None and weights.shape != outputs.shape[:1]):
        shape = "[N, C]" if word == "logits" else "[N, ...]"
        must = f"{word} and {targets} must both be {shape}, and weights [N]"
        raise ShapeError(must, got=_shapes(word, outputs, labels, weights, targets))


def _shapes(word: str, outputs: Array, labels: Array, weights: Array | None, targets: str = "labels") -> str:
    shown = {word: outputs, targets: labels} | ({} if weights is None else {"weights": weights})
    return ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in shown.items())


def __dir__() -> list[str]:
    return sorted(__all__)
