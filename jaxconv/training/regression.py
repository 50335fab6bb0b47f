"""Regression: predictions and evaluation of numbers for each image, or of an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ConfigError
from jaxconv._base.types import Array, ParamsLike, State
from jaxconv.data import Batch
from jaxconv.layers.layer import Layer
from jaxconv.training.ensemble import Members, over_members
from jaxconv.training.evaluation import EvalStep
from jaxconv.training.step import Prepare, Sums
from jaxconv.training.tta import Views

__all__ = ["NUMBERS", "Residuals", "make_number_eval_step", "make_numbers", "residuals"]

NUMBERS: Sums = {"count": lambda outputs, targets, weights: weights.sum()}
"""Metrics of a training step on numbers, beside its loss."""


def make_numbers(
    net: Layer,
    prepare: Prepare | None = None,
    views: Views | None = None,
    *,
    members: Members = False,
    temperature: float = 1.0,
) -> Callable[[ParamsLike, State, Array], jax.Array]:
    """Make the pure function from images to the numbers that a net predicts.

    Args:
      net: the trained layer.
      prepare: `images -> input of the net`.
      views: of one view.
      members: whether params and state are those of an ensemble, whose predictions are averaged.
      temperature: 1, since numbers are no logits.

    Returns:
      `(params, state, images) -> numbers` [N, …], in at least float32.

    Raises:
      ConfigError: if there are several views, or a temperature.
    """
    if (views is not None and views.count > 1) or temperature != 1:
        raise ConfigError("predictions of numbers have neither test-time augmentation nor a temperature; unset [tta]")

    def one(params: ParamsLike, state: State, images: Any) -> jax.Array:
        x = images if prepare is None else prepare(images)
        return upcast(net.apply(params, state, x, train=False)[0])

    mapped = over_members(one, members, (0, 0, None))
    return (lambda *inputs: mapped(*inputs).mean(0)) if members else mapped


def make_number_eval_step(
    net: Layer,
    prepare: Prepare | None = None,
    *,
    members: Members = False,
    views: Views | None = None,
    temperature: float = 1.0,
    targets: Callable[[Batch], Any] | None = None,
) -> EvalStep:
    """Make the pure function that evaluates one batch.

    Args:
      net: the trained layer.
      prepare: `images -> input of the net`.
      members: as in `make_numbers`.
      views: as in `make_numbers`.
      temperature: as in `make_numbers`.
      targets: `prepared batch -> true values` [B, …, T]; its labels [B, T] if None.

    Returns:
      `(params, state, batch) -> arrays`, for `residuals`: "error" [B], the mean squared error of each image, "weight"
      [B], and sums over the batch of each target [T].
    """
    predict = make_numbers(net, prepare, views, members=members, temperature=temperature)

    def step(params: ParamsLike, state: State, batch: Batch) -> dict[str, jax.Array]:
        prepared = batch if prepare is None else batch._replace(image=prepare(batch.image))
        true = upcast(batch.label if targets is None else targets(prepared))
        error = predict(params, state, batch.image) - true
        each = (batch.weight > 0).reshape(-1, *[1] * (error.ndim - 1))
        axes = tuple(range(error.ndim - 1))
        sums = {"squared": error**2, "absolute": jnp.abs(error), "true": true, "spread": true**2}
        return {
            "error": (error**2).mean(tuple(range(1, error.ndim))),
            "weight": batch.weight,
            "count": jnp.broadcast_to(each, error.shape).sum(axes),
            **{name: jnp.where(each, value, 0).sum(axes) for name, value in sums.items()},
        }

    return step


@dataclasses.dataclass(frozen=True, eq=False)
class Residuals:
    """Errors of predicted numbers over a set of images, each counted exactly once.

    A target is a place of the last axis of the predictions, such as a channel.

    Args:
      error: float64 [N], mean squared error of each image.
      count: float64 [T], number of true values of each target.
      squared: float64 [T], sum of the squared errors of each target.
      absolute: float64 [T], sum of the absolute errors.
      true: float64 [T], sum of the true values.
      spread: float64 [T], sum of the squares of the true values.
    """

    error: np.ndarray
    count: np.ndarray
    squared: np.ndarray
    absolute: np.ndarray
    true: np.ndarray
    spread: np.ndarray

    @property
    def mean_squared(self) -> float:
        """Mean squared error over all values."""
        return float(self.squared.sum() / self.count.sum())

    @property
    def r2(self) -> np.ndarray:
        """Coefficient of determination of each target: 1 - squared errors / squared deviations from the mean, [T].

        NaN for a target of one value alone.
        """
        around = self.spread - self.true**2 / self.count
        return 1 - self.squared / np.where(around > 0, around, np.nan)


def residuals(found: Sequence[dict[str, np.ndarray]]) -> Residuals:
    """The errors of all batches.

    Args:
      found: `jaxconv.training.evaluation.results` of a step from `make_number_eval_step`.
    """
    error = np.concatenate([each["error"][each["weight"] > 0] for each in found]).astype(np.float64)
    names = ("count", "squared", "absolute", "true", "spread")
    return Residuals(error, *(np.sum([each[name].astype(np.float64) for each in found], axis=0) for name in names))
