"""Segmentation: predictions and evaluation of a class for each pixel."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.types import ParamsLike, State
from jaxconv.data import Batch, Mask
from jaxconv.layers.layer import Layer
from jaxconv.training.ensemble import Members
from jaxconv.training.evaluation import EvalStep, make_log_probabilities
from jaxconv.training.metrics import count_pairs, iou, mean_iou, per_class
from jaxconv.training.step import Loss, Prepare, Sums
from jaxconv.training.tta import Views

__all__ = ["PIXELS", "Pixels", "make_pixel_eval_step", "make_pixel_log_probabilities", "of_masks", "pixels"]

make_pixel_log_probabilities = functools.partial(make_log_probabilities, dense=True)
"""`make_log_probabilities` of each pixel: `(params, state, images) -> log p` [N, H, W, C]."""


def of_masks(loss: Any) -> Loss:
    """A loss of `Mask` labels from one of integers [N, H, W] with an `ignore_index`.

    Args:
      loss: `(logits, labels, weights, ignore_index=…) -> scalar`.

    >>> from jaxconv.training.losses import cross_entropy
    >>> mask = Mask(jnp.array([[[0, 255]]]))
    >>> print(of_masks(cross_entropy)(jnp.zeros([1, 1, 2, 4]), mask, jnp.ones(1)))  # log 4, of one pixel
    1.3862944
    """
    return lambda logits, mask, weights: loss(logits, mask.values, weights, ignore_index=mask.outside)


def _counted(mask: Mask) -> jax.Array:
    return jnp.asarray(mask.values) != mask.outside


def _total(pixels: jax.Array, weights: jax.Array) -> jax.Array:
    """Weighted number of pixels of bool [N, H, W]."""
    return (weights * pixels.sum((1, 2), dtype=jnp.float32)).sum()


PIXELS: Sums = {
    "correct": lambda logits, mask, weights: _total((jnp.argmax(logits, -1) == mask.values) & _counted(mask), weights),
    "count": lambda logits, mask, weights: _total(_counted(mask), weights),
}
"""Metrics of a training step on pixels, beside its loss."""


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels:
    """Counts over the pixels of a set of images, each counted exactly once.

    Args:
      matrix: confusion matrix of pixels, int64 [C, C]: rows are labels, columns predictions.
      loss: float64 [N], sum of the cross-entropy over the pixels of each image.
      count: int64 [N], number of pixels that have a label.
      iou: float32 [N], mean IoU of each image over its own classes.
    """

    matrix: np.ndarray
    loss: np.ndarray
    count: np.ndarray
    iou: np.ndarray

    @property
    def mean_loss(self) -> float:
        """Mean cross-entropy over pixels."""
        return float(self.loss.sum() / max(self.count.sum(), 1))

    @property
    def accuracy(self) -> float:
        """Fraction of pixels whose class is predicted."""
        return float(np.trace(self.matrix) / max(self.matrix.sum(), 1))

    @property
    def class_iou(self) -> np.ndarray:
        """IoU of each class, [C]; NaN for one in neither labels nor predictions."""
        return np.asarray(iou(self.matrix.astype(np.float64)))

    @property
    def mean_iou(self) -> float:
        """Mean of `class_iou` over the classes that occur."""
        return float(mean_iou(self.matrix.astype(np.float64)))

    @property
    def class_dice(self) -> np.ndarray:
        """Dice coefficient (F1) of each class, [C]; NaN for one in neither labels nor predictions."""
        return np.where(np.isnan(self.class_iou), np.nan, per_class(self.matrix.astype(np.float64)).f1)


def make_pixel_eval_step(
    net: Layer,
    prepare: Prepare | None = None,
    *,
    members: Members = False,
    views: Views | None = None,
    temperature: float = 1.0,
) -> EvalStep:
    """Make the pure function that evaluates one batch of images with a `Mask` as label.

    Args:
      net: the trained layer, to logits [N, H, W, C].
      prepare: `images -> input of the net`.
      members: whether params and state are those of an ensemble, whose mean probability is evaluated.
      views: test-time augmentation by mirror images.
      temperature: divides the logits.

    Returns:
      `(params, state, batch) -> arrays`, for `pixels`: "matrix" [C, C] of the batch, and "loss", "count", "iou" and
      "weight" [B].
    """
    predict = make_pixel_log_probabilities(net, prepare, views, members=members, temperature=temperature)

    def step(params: ParamsLike, state: State, batch: Batch) -> dict[str, jax.Array]:
        log_p, known = predict(params, state, batch.image), _counted(batch.label)
        label = jnp.where(known, batch.label.values, 0).astype(jnp.int32)
        own = jnp.take_along_axis(log_p, label[..., None], axis=-1, mode="fill")[..., 0]
        answer = jnp.argmax(log_p, -1)
        count = functools.partial(count_pairs, classes=log_p.shape[-1])
        flat = (x.reshape(len(x), -1) for x in (jnp.where(known, label, -1), answer))
        matrices = jax.vmap(lambda label, answer: count(label, answer))(*flat)
        return {
            "matrix": jnp.where((batch.weight > 0)[:, None, None], matrices, 0).sum(0),
            "loss": -jnp.where(known, own, 0).sum((1, 2)),
            "count": known.sum((1, 2)),
            "iou": jax.vmap(mean_iou)(matrices),
            "weight": batch.weight,
        }

    return step


def pixels(found: Sequence[dict[str, np.ndarray]]) -> Pixels:
    """The counts of all batches.

    Args:
      found: `jaxconv.training.evaluation.results` of a step from `make_pixel_eval_step`.
    """
    matrix = np.sum([each["matrix"].astype(np.int64) for each in found], axis=0)
    loss, count, each_iou = (
        np.concatenate([each[name][each["weight"] > 0] for each in found]) for name in ("loss", "count", "iou")
    )
    return Pixels(matrix, loss.astype(np.float64), count.astype(np.int64), each_iou)
