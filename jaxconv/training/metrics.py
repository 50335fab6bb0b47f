"""Classification metrics."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Array
from jaxconv.training.losses._common import check_pair, weighted_mean

__all__ = [
    "PerClass",
    "accuracy",
    "calibration_error",
    "calibration_gap",
    "confusion_matrix",
    "correct",
    "count_pairs",
    "iou",
    "label_rank",
    "mean_iou",
    "per_class",
    "top_k",
]


def correct(logits: Array, labels: Array, weights: Array | None = None) -> jax.Array:
    """(Weighted) number of correct predictions: examples whose largest logit is the label's.

    Args:
      logits: [N, C].
      labels: [N], integers; or soft labels [N, C], whose argmax counts.
      weights: [N], weight of each example; None for equal weights.

    Returns:
      Scalar float32; ties go to the first class.

    Raises:
      ShapeError: if the shapes or dtypes of logits, labels and weights do not match.

    >>> print(correct(jnp.array([[1.0, 2.0], [4.0, 3.0]]), jnp.array([1, 1])))
    1.0
    """
    check_pair(logits, labels, weights)
    hits = (jnp.argmax(logits, axis=-1) == _hard(labels)).astype(jnp.float32)
    return hits.sum() if weights is None else (hits * weights.astype(jnp.float32)).sum()


def accuracy(logits: Array, labels: Array, weights: Array | None = None) -> jax.Array:
    """(Weighted) accuracy: fraction of examples whose largest logit is the label's.

    Args:
      logits: [N, C].
      labels: [N], integers; or soft labels [N, C], whose argmax counts.
      weights: [N], weight of each example; None for equal weights.

    Returns:
      Scalar float32 in [0, 1]; 0 if all weights are 0.

    Raises:
      ShapeError: if the shapes or dtypes of logits, labels and weights do not match.

    >>> print(accuracy(jnp.array([[1.0, 2.0], [4.0, 3.0]]), jnp.array([1, 1])))
    0.5
    """
    return top_k(logits, labels, 1, weights)


def top_k(logits: Array, labels: Array, k: int = 5, weights: Array | None = None) -> jax.Array:
    """(Weighted) top-k accuracy: fraction of examples whose label is among the k largest logits.

    Args:
      logits: [N, C].
      labels: [N], integers; or soft labels [N, C], whose argmax counts.
      k: number of classes, at least 1.
      weights: [N], weight of each example; None for equal weights.

    Returns:
      Scalar float32 in [0, 1]; ties go to the first class; 0 if all weights are 0.

    Raises:
      ShapeError: if the shapes or dtypes of logits, labels and weights do not match, or k is below 1.

    >>> print(top_k(jnp.array([[1.0, 3.0, 2.0], [5.0, 4.0, 3.0]]), jnp.array([2, 2]), k=2))
    0.5
    """
    check_pair(logits, labels, weights)
    if k < 1:
        raise ShapeError("k must be 1 or more", got=f"k={k}")
    hits = label_rank(logits, _hard(labels)) < min(k, logits.shape[-1])
    return weighted_mean(hits.astype(jnp.float32), weights)


def label_rank(scores: Array, labels: Array) -> jax.Array:
    """Number of classes with a higher score than the label.

    Args:
      scores: [N, C], logits or any increasing function of them.
      labels: [N], integers.

    Returns:
      int32 [N]; ties go to the first class. C if a score is NaN, or the label is not in 0..C-1.

    >>> print(label_rank(jnp.array([[1.0, 3.0, 2.0], [5.0, 4.0, 4.0]]), jnp.array([1, 2])))
    [0 2]
    """
    classes = scores.shape[-1]
    label = labels[:, None]
    own = jnp.take_along_axis(scores, label, axis=-1, mode="fill")
    higher = (scores > own) | ((scores == own) & (jnp.arange(classes)[None] < label))
    valid = (labels >= 0) & (labels < classes) & ~jnp.isnan(scores).any(-1)
    return jnp.where(valid, higher.sum(-1, dtype=jnp.int32), classes)


def confusion_matrix(logits: Array, labels: Array, weights: Array | None = None) -> jax.Array:
    """Confusion matrix: counts by label and prediction.

    Args:
      logits: [N, C].
      labels: [N], integers (one outside the classes is not counted); or soft labels [N, C], whose argmax counts.
      weights: [N]; examples of weight 0 are not counted, all others once.

    Returns:
      int32 [C, C]: rows are labels, columns predictions. Matrices of batches can be summed.

    Raises:
      ShapeError: if the shapes or dtypes of logits, labels and weights do not match, or there are over 46,340 classes.

    >>> print(confusion_matrix(jnp.array([[1.0, 2.0], [4.0, 3.0]]), jnp.array([1, 1])))
    [[0 0]
     [1 1]]
    """
    check_pair(logits, labels, weights)
    classes = logits.shape[-1]
    return count_pairs(_hard(labels), jnp.argmax(logits, axis=-1), classes, weights)


def count_pairs(labels: Array, answers: Array, classes: int, weights: Array | None = None) -> jax.Array:
    """`confusion_matrix` from predicted classes.

    Args:
      labels: [N], integers; one outside the classes is not counted.
      answers: [N] or [members, N], integers below `classes`.
      classes: C.
      weights: [N]; examples of weight 0 are not counted, all others once.

    Returns:
      int32 [C, C]: rows are labels, columns predictions.

    Raises:
      ShapeError: if there are more than 46,340 classes.

    >>> print(count_pairs(jnp.array([1, 1]), jnp.array([1, 0]), 2))
    [[0 0]
     [1 1]]
    """
    if classes**2 >= 2**31:  # cells are numbered in int32
        fix = (
            "count pairs of label and answer: numpy.unique(numpy.stack([labels, answers]), axis=1, return_counts=True)"
        )
        raise ShapeError("a confusion matrix has at most 46,340 classes", got=f"{classes:,} classes", fix=fix)
    counted = (labels >= 0) & (labels < classes)
    if weights is not None:
        counted &= weights != 0
    cell = jnp.where(counted, labels * classes + answers, classes * classes)
    return jnp.zeros(classes * classes, jnp.int32).at[cell].add(1, mode="drop").reshape(classes, classes)


class PerClass(NamedTuple):
    """Metrics of each class, float32 [C]; 0 if a denominator is 0.

    Args:
      recall: fraction of the class's images that were predicted correctly.
      precision: fraction of the predictions of the class that were correct.
      f1: their harmonic mean.
    """

    recall: jax.Array
    precision: jax.Array
    f1: jax.Array


def per_class(matrix: Array) -> PerClass:
    """Recall, precision and F1 of each class.

    Args:
      matrix: [C, C], from `confusion_matrix`.

    Returns:
      A PerClass.

    Raises:
      ShapeError: if the matrix is not square.

    >>> print(per_class(jnp.array([[3, 1], [0, 4]])).recall)
    [0.75 1.  ]
    """
    matrix = _square(matrix)
    right, true, answered = jnp.diagonal(matrix), matrix.sum(1), matrix.sum(0)

    def share(part: jax.Array, whole: jax.Array) -> jax.Array:
        return part.astype(jnp.float32) / jnp.maximum(whole, 1).astype(jnp.float32)

    return PerClass(share(right, true), share(right, answered), share(2 * right, true + answered))


def iou(matrix: Array) -> jax.Array:
    """Intersection over union (Jaccard index) of each class: `hits / (labels + predictions - hits)`.

    Args:
      matrix: [C, C], from `confusion_matrix`, of pixels for example.

    Returns:
      float32 [C]; NaN for a class in neither labels nor predictions.

    Raises:
      ShapeError: if the matrix is not square.

    >>> print(iou(jnp.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])))
    [0.75 0.8   nan]
    """
    matrix = _square(matrix)
    hits = jnp.diagonal(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hits
    return jnp.where(union > 0, hits / jnp.maximum(union, 1), jnp.nan).astype(jnp.float32)


def mean_iou(matrix: Array) -> jax.Array:
    """Mean of `iou` over the classes that occur in labels or predictions (mIoU).

    Args:
      matrix: [C, C], from `confusion_matrix`.

    Returns:
      Scalar float32 in [0, 1]; 0 if no pixel was counted.

    Raises:
      ShapeError: if the matrix is not square.

    >>> print(mean_iou(jnp.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])))
    0.775
    """
    each = iou(matrix)
    known = ~jnp.isnan(each)
    return jnp.where(known, each, 0).sum() / jnp.maximum(known.sum(), 1)


def _square(matrix: Array) -> jax.Array:
    matrix = jnp.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ShapeError("a confusion matrix must be [C, C]", got=str(list(matrix.shape)))
    return matrix


def calibration_error(probabilities: Array, labels: Array, bins: int = 15, weights: Array | None = None) -> jax.Array:
    """Expected calibration error (ECE): the gap between confidence and accuracy.

    Examples are binned by their largest probability into ((b - 1) / bins, b / bins]; the result is the mean over
    examples of |accuracy - mean confidence| of their bin.

    Args:
      probabilities: [N, C], softmax of the logits; one above 1 makes the result NaN.
      labels: [N], integers; or soft labels [N, C], whose argmax counts.
      bins: number of bins of equal width.
      weights: [N], weight of each example; None for equal weights.

    Returns:
      Scalar float32 in [0, 1]; 0 if all weights are 0.

    Raises:
      ShapeError: if the shapes or dtypes of probabilities, labels and weights do not match, or bins < 1.

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017.

    >>> print(calibration_error(jnp.array([[0.25, 0.75], [0.25, 0.75]]), jnp.array([1, 0])))
    0.25
    """
    check_pair(probabilities, labels, weights)
    if bins < 1:
        raise ShapeError("bins must be 1 or more", got=f"bins={bins}")
    right = jnp.argmax(probabilities, axis=-1) == _hard(labels)
    return calibration_gap(probabilities.max(-1), right, bins, weights)


@functools.partial(jax.jit, static_argnames="bins")
def calibration_gap(
    confidence: jax.typing.ArrayLike,
    right: jax.typing.ArrayLike,
    bins: int = 15,
    weights: Array | None = None,
) -> jax.Array:
    """`calibration_error` from confidences and correctness of predictions.

    Args:
      confidence: [N], probability of each prediction; one above 1 makes the result NaN.
      right: [N], whether each prediction is correct.
      bins: number of bins of equal width.
      weights: [N], weight of each example; None for equal weights.

    Returns:
      Scalar float32 in [0, 1]; 0 if all weights are 0.

    >>> print(calibration_gap(jnp.array([0.75, 0.75]), jnp.array([True, False])))
    0.25
    """
    sure, hits = jnp.asarray(confidence, jnp.float32), jnp.asarray(right, jnp.float32)
    place = jnp.clip(jnp.ceil(sure * bins).astype(jnp.int32) - 1, 0, bins - 1)
    # A bin's part of the mean, |B| |accuracy - probability| / N, is |sum over it of (right - sure)| / N.
    weight = jnp.ones_like(sure) if weights is None else weights.astype(jnp.float32)
    gaps = jnp.zeros(bins, jnp.float32).at[place].add(weight * (hits - sure))
    total = weight.sum()
    error = jnp.abs(gaps).sum() / jnp.where(total > 0, total, 1)
    return jnp.where((sure <= 1.001).all(), error, jnp.nan)  # probably logits


def _hard(labels: Array) -> jax.Array:
    """Integer labels [N]; the argmax of soft labels [N, C]."""
    return jnp.asarray(jnp.argmax(labels, axis=-1) if labels.ndim == 2 else labels, jnp.int32)


def __dir__() -> list[str]:
    return sorted(__all__)
