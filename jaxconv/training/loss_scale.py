"""Dynamic loss scale for float16."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

__all__ = ["LossScale", "first_scale", "rescaled"]

# Steps without overflow before the loss scale doubles (Micikevicius et al. 2018, "Mixed precision training").
_GROWTH = 2000


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LossScale:
    """Dynamic loss scale, which keeps small float16 gradients from underflowing.

    Args:
      scale: float32 scalar, factor of the loss; halved, and the step skipped, if a gradient overflows.
      good: int32 scalar, steps since the last change.
    """

    scale: jax.Array
    good: jax.Array


def first_scale() -> LossScale:
    """The loss scale before the first step."""
    return LossScale(jnp.float32(2.0**15), jnp.zeros([], jnp.int32))


def rescaled(scale: LossScale, good: jax.Array) -> LossScale:
    """Double the scale after many steps without overflow, halve it after an overflow."""
    grown = scale.good + 1 >= _GROWTH
    factor = jnp.where(good, jnp.where(grown, 2.0, 1.0), 0.5)
    return LossScale(jnp.maximum(scale.scale * factor, 1.0), jnp.where(good & ~grown, scale.good + 1, 0))
