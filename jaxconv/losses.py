"""What training makes small."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxconv.errors import ShapeError

__all__ = ["cross_entropy"]


def cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    weights: jax.Array | None = None,
    smoothing: float = 0.0,
) -> jax.Array:
    """Mean softmax cross-entropy: `-sum_c q[c] log softmax(logits)[c]`.

    The target q is 1 at the label, or `1 - smoothing` there plus `smoothing / C` everywhere
    (Szegedy et al. 2016, "Rethinking the Inception architecture"). Computed in at least float32.

    Args:
      logits: [N, C], any float type.
      labels: [N], integers in 0..C-1; one outside makes the loss NaN.
      weights: [N], how much each example counts; all alike when None.
      smoothing: in [0, 1).

    Returns:
      Scalar: `sum(weights * loss) / sum(weights)`, and 0 where all weights are 0.

    Raises:
      ShapeError: logits, labels and weights do not belong together.

    >>> print(cross_entropy(jnp.zeros([2, 4]), jnp.array([0, 3])))  # log 4: nothing learnt yet
    1.3862944
    """
    check_pair(logits, labels, weights)
    log_p = jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
    # An out-of-range label would otherwise be clamped to a neighbour in silence.
    picked = jnp.take_along_axis(log_p, labels[:, None], axis=-1, mode="fill")[:, 0]
    loss = -(1 - smoothing) * picked - smoothing * log_p.mean(-1)
    if weights is None:
        return loss.mean()
    weights = weights.astype(loss.dtype)
    total = weights.sum()
    return jnp.where(total > 0, (weights * loss).sum() / jnp.where(total > 0, total, 1), 0)


def check_pair(logits: jax.Array, labels: jax.Array, weights: jax.Array | None) -> None:
    """Check that logits are [N, C], and labels and weights [N].

    Raises:
      ShapeError: they are not.
    """
    shapes = f"logits {list(logits.shape)}, labels {list(labels.shape)}"
    if weights is not None:
        shapes += f", weights {list(weights.shape)}"
    sizes = {labels.shape, logits.shape[:1]} | ({weights.shape} if weights is not None else set())
    if logits.ndim != 2 or len(sizes) != 1:
        raise ShapeError(
            "logits must be [N, C] and labels [N], integers and not one-hot",
            got=shapes,
            fix="put flatten or a global pool before the last Dense" if logits.ndim > 2 else "",
        )
