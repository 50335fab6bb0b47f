"""What is counted to say how good a net is."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxconv.losses import check_pair

__all__ = ["accuracy", "correct"]


def correct(logits: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The (weighted) number of examples whose largest logit is the label's.

    Args:
      logits: [N, C].
      labels: [N], integers.
      weights: [N], how much each example counts; 1 each when None.

    Returns:
      Scalar float32; of equal logits the first counts as largest.

    Raises:
      ShapeError: logits, labels and weights do not belong together.

    >>> print(correct(jnp.array([[1.0, 2.0], [4.0, 3.0]]), jnp.array([1, 1])))
    1.0
    """
    check_pair(logits, labels, weights)
    hits = (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)
    return hits.sum() if weights is None else (hits * weights.astype(jnp.float32)).sum()


def accuracy(logits: jax.Array, labels: jax.Array, weights: jax.Array | None = None) -> jax.Array:
    """The (weighted) share of examples whose largest logit is the label's.

    Args:
      logits: [N, C].
      labels: [N], integers.
      weights: [N], how much each example counts; 1 each when None.

    Returns:
      Scalar float32 in [0, 1]; 0 where all weights are 0.

    Raises:
      ShapeError: logits, labels and weights do not belong together.

    >>> print(accuracy(jnp.array([[1.0, 2.0], [4.0, 3.0]]), jnp.array([1, 1])))
    0.5
    """
    total = jnp.float32(len(labels)) if weights is None else weights.astype(jnp.float32).sum()
    return correct(logits, labels, weights) / jnp.where(total > 0, total, 1)
