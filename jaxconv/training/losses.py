"""Loss functions: (weighted) means over examples."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Array

__all__ = ["binary_cross_entropy", "cross_entropy", "mean_squared_error"]


def cross_entropy(
    logits: Array,
    labels: Array,
    weights: Array | None = None,
    smoothing: float = 0.0,
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
    log_p = jax.nn.log_softmax(upcast(logits))
    if labels.ndim == 2:
        hit = jnp.where(labels == 0, 0, labels * log_p).sum(-1)
    else:
        # Without this, a label outside the classes would be clipped, or index from the end.
        known = jnp.where(labels < 0, log_p.shape[-1], labels.astype(jnp.int32))
        hit = jnp.take_along_axis(log_p, known[:, None], axis=-1, mode="fill", fill_value=jnp.nan)[:, 0]
    spread = jnp.where(smoothing == 0, 0, smoothing * log_p.mean(-1))
    return weighted_mean(-(1 - smoothing) * hit - spread, weights)


def binary_cross_entropy(logits: Array, labels: Array, weights: Array | None = None) -> jax.Array:
    """Mean sigmoid cross-entropy of independent classes (multi-label classification).

    Args:
      logits: [N, C], any float type.
      labels: [N, C], in [0, 1]; a value outside makes the loss NaN.
      weights: [N], weight of each example; None for equal weights.

    Returns:
      Scalar, as in `cross_entropy`.

    Raises:
      ShapeError: if the shapes or dtypes of logits, labels and weights do not match.

    >>> print(binary_cross_entropy(jnp.zeros([1, 3]), jnp.array([[1, 0, 1]])))  # log 2
    0.6931472
    """
    _check_alike("logits", logits, labels, weights)
    logits = upcast(logits)
    labels = labels.astype(logits.dtype)
    loss = optax.losses.sigmoid_binary_cross_entropy(logits, labels)
    loss = jnp.where((labels >= 0) & (labels <= 1), loss, jnp.nan)
    return weighted_mean(loss.mean(-1), weights)


def mean_squared_error(outputs: Array, targets: Array, weights: Array | None = None) -> jax.Array:
    """Mean of `(outputs - targets)**2` over all values of an example, and over examples.

    Args:
      outputs: [N, ...], any float type.
      targets: array of the same shape.
      weights: [N], weight of each example; None for equal weights.

    Returns:
      Scalar, as in `cross_entropy`.

    Raises:
      ShapeError: if the shapes of outputs, targets and weights do not match.

    >>> print(mean_squared_error(jnp.array([[1.0, 3.0]]), jnp.array([[1.0, 1.0]])))
    2.0
    """
    _check_alike("outputs", outputs, targets, weights)
    square = optax.losses.squared_error(upcast(outputs), upcast(targets))
    return weighted_mean(square.mean(tuple(range(1, square.ndim))), weights)


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
    if not fits or (weights is not None and weights.shape != outputs.shape[:1]):
        shape = "[N, C]" if word == "logits" else "[N, ...]"
        must = f"{word} and {targets} must both be {shape}, and weights [N]"
        raise ShapeError(must, got=_shapes(word, outputs, labels, weights, targets))


def _shapes(word: str, outputs: Array, labels: Array, weights: Array | None, targets: str = "labels") -> str:
    shown = {word: outputs, targets: labels} | ({} if weights is None else {"weights": weights})
    return ", ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in shown.items())


def __dir__() -> list[str]:
    return sorted(__all__)
