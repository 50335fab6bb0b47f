"""Knowledge distillation: a loss towards the probabilities of a teacher."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv._base.types import Array
from jaxconv.training.losses._common import weighted_mean
from jaxconv.training.step import Loss

__all__ = ["distilled", "teacher_divergence"]


def teacher_divergence(
    logits: Array, teacher: Array, weights: Array | None = None, temperature: float = 1.0
) -> jax.Array:
    """Mean Kullback-Leibler divergence of the teacher's probabilities from the student's, times `temperature**2`.

    Args:
      logits: [N, C], the student's.
      teacher: [N, C], logits or log-probabilities of the teacher.
      weights: [N], weight of each example; None for equal weights.
      temperature: that both are divided by.

    Returns:
      Scalar, as in `cross_entropy`.

    Raises:
      ShapeError: if the shapes of logits and teacher differ.

    Source: Hinton et al., Distilling the knowledge in a neural network, 2015.

    >>> print(teacher_divergence(jnp.zeros([1, 2]), jnp.log(jnp.array([[1.0, 0.0]]))))  # log 2
    0.6931472
    """
    if logits.shape != teacher.shape or logits.ndim != 2:
        got = f"student {list(logits.shape)}, teacher {list(teacher.shape)}"
        raise ShapeError("the logits of student and teacher must both be [N, C]", got=got)
    log_q, log_p = (jax.nn.log_softmax(upcast(x) / temperature) for x in (logits, teacher))
    p = jnp.exp(log_p)
    terms = jnp.where(p == 0, 0, p * (jnp.where(p == 0, 0, log_p) - log_q))
    return temperature**2 * weighted_mean(terms.sum(-1), weights)


def distilled(loss: Loss, alpha: float = 0.5, temperature: float = 2.0) -> Loss:
    """A loss with a term towards a teacher, for `make_step(teacher=…)`.

    Args:
      loss: of the labels.
      alpha: share of `teacher_divergence`, in [0, 1]; the loss of the labels has the rest.
      temperature: as in `teacher_divergence`.

    Returns:
      `(logits, (labels, teacher's log-probabilities), weights) -> scalar`.

    Raises:
      ConfigError: if alpha or temperature is outside its range.
    """
    if not 0 <= alpha <= 1 or not temperature > 0:
        raise ConfigError(f"distill.alpha must be in [0, 1] and temperature above 0, got {alpha} and {temperature}")

    def mixed(logits: jax.Array, labels: tuple[Any, jax.Array], weights: jax.Array) -> jax.Array:
        hard, teacher = labels
        soft = alpha * teacher_divergence(logits, teacher, weights, temperature)
        return soft if alpha == 1 else (1 - alpha) * loss(logits, hard, weights) + soft

    return mixed


def __dir__() -> list[str]:
    return sorted(__all__)
