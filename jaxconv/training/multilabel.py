"""Multi-label classification: predictions and evaluation of several labels, each present or absent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.types import Array, ParamsLike, State
from jaxconv.data import Batch
from jaxconv.layers.layer import Layer
from jaxconv.training.ensemble import Members
from jaxconv.training.evaluation import EvalStep, make_log_probabilities
from jaxconv.training.step import Prepare, Sums
from jaxconv.training.tta import Views

__all__ = ["LABELS", "Labels", "average_precision", "labels", "make_label_eval_step", "make_label_log_probabilities"]

LABELS: Sums = {
    "correct": lambda logits, labels, weights: (weights * ((logits > 0) == (labels > 0.5)).mean(-1)).sum(),
    "count": lambda logits, labels, weights: weights.sum(),
}
"""Metrics of a training step on labels, beside its loss; "correct" is the share of the labels of an image."""


def _two_classes(net: Layer) -> Layer:
    """The net with two logits for each of its own, absent and present, whose softmax is the sigmoid: [N, K, 2]."""

    def apply(params: Any, state: Any, x: Any, **words: Any) -> tuple[jax.Array, Any]:
        logits, new = net.apply(params, state, x, **words)
        return jnp.stack([jnp.zeros_like(logits), logits], axis=-1), new

    return dataclasses.replace(net, apply=apply)


def make_label_log_probabilities(
    net: Layer,
    prepare: Prepare | None = None,
    views: Views | None = None,
    *,
    members: Members = False,
    temperature: float = 1.0,
) -> Callable[[ParamsLike, State, Array], jax.Array]:
    """Make the pure function from images to the log-probability that each label is present.

    Args:
      net: the trained layer, to a logit for each label [N, K].
      prepare: `images -> input of the net`.
      views: test-time augmentation, applied to the images before `prepare`; None for none.
      members: whether params and state are those of an ensemble, whose probabilities are averaged.
      temperature: divides the logits.

    Returns:
      `(params, state, images) -> log p` [N, K], in at least float32.
    """
    both = make_log_probabilities(_two_classes(net), prepare, views, members=members, temperature=temperature)
    return lambda params, state, images: both(params, state, images)[..., 1]


def make_label_eval_step(
    net: Layer,
    prepare: Prepare | None = None,
    *,
    members: Members = False,
    views: Views | None = None,
    temperature: float = 1.0,
) -> EvalStep:
    """Make the pure function that evaluates one batch with labels [B, K] of 0 and 1.

    Args:
      net: as in `make_label_log_probabilities`.
      prepare: likewise.
      members: likewise.
      views: likewise.
      temperature: likewise.

    Returns:
      `(params, state, batch) -> arrays`, for `labels`: "log_p" and "label" [B, K], and "loss" and "weight" [B].
    """
    both = make_log_probabilities(_two_classes(net), prepare, views, members=members, temperature=temperature)

    def step(params: ParamsLike, state: State, batch: Batch) -> dict[str, jax.Array]:
        log_p, label = both(params, state, batch.image), jnp.asarray(batch.label)
        own = jnp.take_along_axis(log_p, label[..., None], axis=-1, mode="fill")[..., 0]
        return {"log_p": log_p[..., 1], "label": label, "loss": -own.mean(-1), "weight": batch.weight}

    return step


def average_precision(present: np.ndarray, scores: np.ndarray) -> float:
    """Area under the precision-recall curve, as the sum of the precision at each threshold times the recall it adds.

    Args:
      present: [N], whether each image has the label.
      scores: [N], the higher, the surer; images of equal scores are one threshold.

    Returns:
      The average precision; NaN if no image has the label.

    Source: as scikit-learn's `average_precision_score`, without interpolation.

    >>> average_precision(np.array([1, 0, 1]), np.array([0.9, 0.8, 0.7]))
    0.8333333333333333
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(np.asarray(present)[order] > 0)[last]
    return float((np.diff(hits, prepend=0) * (hits / (last + 1))).sum() / hits[-1]) if hits[-1] else float("nan")


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """Predictions of labels over a set of images, each counted exactly once. A label of p > 0.5 is predicted.

    Args:
      label: integers [N, K], 1 where an image has a label.
      log_p: float [N, K], log-probability of each label.
      loss: float64 [N], mean binary cross-entropy of the labels of each image.
    """

    label: np.ndarray
    log_p: np.ndarray
    loss: np.ndarray

    @property
    def mean_loss(self) -> float:
        """Mean binary cross-entropy over labels and images."""
        return float(self.loss.mean())

    @property
    def predicted(self) -> np.ndarray:
        """Whether each label is predicted, bool [N, K]."""
        found: np.ndarray = self.log_p > np.log(0.5)
        return found

    @property
    def average_precision(self) -> np.ndarray:
        """Average precision of each label, [K]; NaN for one that no image has."""
        return np.array([average_precision(*pair) for pair in zip(self.label.T, self.log_p.T, strict=True)])

    @property
    def hits(self) -> np.ndarray:
        """Number of images of each label for which it is predicted, [K]."""
        return (self.predicted & (self.label > 0)).sum(0)

    @property
    def counts(self) -> np.ndarray:
        """Number of images that have each label, plus the number for which it is predicted, [K]."""
        return (self.label > 0).sum(0) + self.predicted.sum(0)

    @property
    def f1(self) -> np.ndarray:
        """F1 of each label, [K]; NaN for one that no image has and none is predicted to have."""
        return 2 * self.hits / np.where(self.counts > 0, self.counts, np.nan)

    @property
    def micro_f1(self) -> float:
        """F1 of all labels of all images together."""
        return float(2 * self.hits.sum() / max(self.counts.sum(), 1))

    @property
    def exact(self) -> float:
        """Fraction of images all of whose labels are right (subset accuracy)."""
        return float((self.predicted == (self.label > 0)).all(1).mean())


def labels(found: Sequence[dict[str, np.ndarray]]) -> Labels:
    """The predictions of all batches.

    Args:
      found: `jaxconv.training.evaluation.results` of a step from `make_label_eval_step`.
    """
    label, log_p, loss = (
        np.concatenate([each[name][each["weight"] > 0] for each in found]) for name in ("label", "log_p", "loss")
    )
    return Labels(label, log_p, loss.astype(np.float64))
