"""How good a net is on images it has not seen, each counted exactly once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv.data.order import masked_batches
from jaxconv.errors import ConfigError
from jaxconv.layer import Layer
from jaxconv.losses import cross_entropy
from jaxconv.metrics import correct

__all__ = ["evaluate", "make_eval_step"]

Prepare = Callable[[jax.Array], jax.Array]


def make_eval_step(net: Layer, prepare: Prepare | None = None) -> Callable[..., dict[str, jax.Array]]:
    """Make the pure function that evaluates one batch.

    Args:
      net: the trained layer.
      prepare: `images -> input of the net`.

    Returns:
      `(params, state, images, labels, indices [B], weights [B]) -> sums`: "loss" and "correct",
      summed over the batch with the weights.
    """

    def step(
        params: Any, state: Any, images: jax.Array, labels: jax.Array, indices: Any, weights: Any
    ) -> dict[str, jax.Array]:
        batch = images[indices]
        logits, _ = net.apply(params, state, batch if prepare is None else prepare(batch), train=False)
        answers = labels[indices]
        loss = cross_entropy(logits, answers, weights) * weights.sum()
        return {"loss": loss, "correct": correct(logits, answers, weights)}

    return step


def evaluate(
    net: Layer,
    params: Any,
    state: Any,
    images: Any,
    labels: Any,
    batch_size: int = 500,
    *,
    prepare: Prepare | None = None,
    step: Callable[..., dict[str, jax.Array]] | None = None,
) -> tuple[float, float]:
    """Loss and accuracy over all images, each counted exactly once.

    Args:
      net: the layer.
      params: its parameters.
      state: its state.
      images: [N, …].
      labels: [N].
      batch_size: images at a time; the last batch is filled up, and what fills it weighs nothing.
      prepare: `images -> input of the net`.
      step: a compiled `make_eval_step`, for callers that evaluate more than once.

    Returns:
      Mean loss and accuracy.

    Raises:
      ConfigError: there are no images, or batch_size is not positive.
    """
    size = len(images)
    if size == 0 or batch_size < 1:
        raise ConfigError(f"evaluate needs images and a batch_size of at least 1, got {size} and {batch_size}")
    step = step or jax.jit(make_eval_step(net, prepare))
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    sums = [step(params, state, images, labels, *batch) for batch in masked_batches(size, batch_size)]
    total = jax.tree.map(lambda *parts: math.fsum(map(float, parts)), *jax.device_get(sums))
    return total["loss"] / size, total["correct"] / size
