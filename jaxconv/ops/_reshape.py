"""Flatten."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from jaxconv._base.errors import ShapeError
from jaxconv._base.types import ArrayLike
from jaxconv.engine.placement import RESHARD
from jaxconv.engine.window import assert_shape


def flatten(x: ArrayLike) -> jax.Array:
    """Merge all axes but the first: [N, ...] -> [N, prod(...)], row-major, with the channels of a position adjacent.

    Raises:
      ShapeError: if x is a scalar.

    >>> flatten(jnp.ones((2, 4, 4, 40))).shape
    (2, 640)
    """
    x = jnp.asarray(x)
    if x.ndim < 1:
        raise ShapeError("flatten needs a batch axis: [N, ...]", got="a scalar", kind="rank")
    if any(jax.typeof(x).sharding.spec[1:]):
        raise ShapeError(
            "on an explicit mesh, flatten needs all axes but the batch unsharded",
            got=jax.typeof(x).str_short(),
            fix=RESHARD,
            kind="sharding",
        )
    size = math.prod(x.shape[1:])
    return assert_shape(x.reshape(x.shape[0], size), (x.shape[0], size))
