"""Dropout."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxconv._base.errors import ShapeError
from jaxconv._base.keys import check_key
from jaxconv._base.numeric import check_number
from jaxconv._base.types import ArrayLike, Ints


def dropout(x: ArrayLike, rate: float, key: jax.Array, *, shared: Ints = ()) -> jax.Array:
    """Set each value to zero with probability `rate`, and divide the others by 1 - rate.

    Args:
      x: any shape.
      rate: probability of dropping a value, in [0, 1).
      key: a jax.random key; the same key drops the same values.
      shared: axes along which values are dropped together: the spatial axes drop complete feature maps, all axes but
        the first complete examples.

    Returns:
      x's shape and dtype; the expected value is x.

    Raises:
      ShapeError: if rate is not in [0, 1), x does not have an axis of `shared`, or there is no key.

    Source: Srivastava et al., Dropout, 2014; Tompson et al., Efficient Object Localization, 2015 (maps).

    >>> kept = dropout(jnp.ones(1000), 0.25, jax.random.key(0)) > 0
    >>> bool(abs(kept.mean() - 0.75) < 0.05)
    True
    """
    x = jnp.asarray(x)
    check_rate(rate)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise ShapeError("dropout needs a floating type", got=str(x.dtype), fix="x.astype(jnp.float32)", kind="dtype")
    shared = (shared,) if isinstance(shared, int) else shared
    if not all(-x.ndim <= axis < x.ndim for axis in shared):
        raise ShapeError("shared must name axes of x", got=f"shared={tuple(shared)}, x {x.shape}")
    if key is None:
        raise ShapeError(
            "dropout needs a key when train=True",
            got="key=None",
            fix="net.apply(params, state, x, key=jax.random.fold_in(key, step), train=True)",
            kind="key",
        )
    check_key(key)
    if rate == 0:
        return x
    together = {axis % x.ndim for axis in shared}
    kept = jax.random.bernoulli(key, 1 - rate, [1 if a in together else n for a, n in enumerate(x.shape)])
    return jnp.where(kept, x / jnp.asarray(1 - rate, x.dtype), jnp.zeros((), x.dtype))


def check_rate(rate: float) -> float:
    """`rate`, if it is a number in [0, 1); raises ShapeError otherwise."""
    return check_number(rate, "rate", "rate must be a number in [0, 1)", lambda rate: 0 <= rate < 1)
