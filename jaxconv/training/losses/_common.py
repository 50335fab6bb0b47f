"""Checks, targets and means that several losses share."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import channelwise
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Array

__all__ = ["by_class", "by_pixel", "check_alike", "check_pair", "smoothed", "weighted_mean"]


def by_pixel(
    logits: Array, labels: Array, weights: Array | None, ignore_index: int | None
) -> tuple[Array, Array, Array | None]:
    """Logits [N, *spatial, C] and labels [N, *spatial] as examples: [M, C] and [M], a pixel with its image's weight.

    Args:
      logits: [N, *spatial, C].
      labels: [N, *spatial], integers; others are left as they are.
      weights: [N], weight of each image; None for equal weights.
      ignore_index: label of pixels that get weight 0; None for none.
    """
    if labels.ndim == 0 or labels.shape != logits.shape[:-1]:
        return logits, labels, weights
    if ignore_index is not None:
        known = labels != ignore_index
        weights = jnp.where(known, _of_pixels(jnp.ones(len(labels)) if weights is None else weights, labels), 0)
        labels = jnp.where(known, labels, 0)
    if logits.ndim == 2:
        return logits, labels, weights
    each = None if weights is None else _of_pixels(weights, labels).ravel()
    return logits.reshape(-1, logits.shape[-1]), labels.ravel(), each


def _of_pixels(weights: Array, labels: Array) -> jax.Array:
    """Weights [N] or [N, *spatial] as those of pixels: [N, *spatial]."""
    each = jnp.asarray(weights)
    return jnp.broadcast_to(each.reshape(*each.shape, *[1] * (labels.ndim - each.ndim)), labels.shape)


def smoothed(labels: Array, outputs: jax.Array, smoothing: float) -> jax.Array:
    """Targets of the shape and dtype of outputs [N, C]: labels [N] one-hot (NaN outside the classes), smoothed."""
    if labels.ndim < outputs.ndim:
        classes = jnp.arange(outputs.shape[-1])[None]
        known = (labels >= 0) & (labels < outputs.shape[-1])
        target = jnp.where(known[:, None], (labels[:, None] == classes).astype(outputs.dtype), jnp.nan)
    else:
        target = jnp.asarray(labels, outputs.dtype)
    return jnp.where(smoothing == 0, target, (1 - smoothing) * target + smoothing / outputs.shape[-1])


def by_class(class_weights: Array | None, terms: jax.Array) -> jax.Array:
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


def check_alike(word: str, outputs: Array, labels: Array, weights: Array | None) -> None:
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
