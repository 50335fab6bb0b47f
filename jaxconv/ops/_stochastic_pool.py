"""Stochastic pooling."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp

from jaxconv._base.dtypes import cast_back, upcast
from jaxconv._base.keys import check_key
from jaxconv._base.types import ArrayLike, Ints, Padding
from jaxconv.engine.select import tap_cells
from jaxconv.ops._pool import check_inside, pool_input, pool_output


def stochastic_pool(
    x: ArrayLike,
    kernel_size: Ints,
    key: jax.Array | None = None,
    *,
    stride: Ints | None = None,
    padding: Padding = "valid",
    dilation: Ints = 1,
) -> jax.Array:
    """Stochastic pooling: a random cell of each window, drawn with a probability proportional to its value.

    Args:
      x: [N, *spatial, C], non-negative, as after a ReLU: cells of 0 or less are never drawn. May be unbatched if
        `kernel_size` is a tuple.
      kernel_size, stride, padding, dilation: as in `max_pool`; padded cells are never drawn.
      key: a jax.random key; None for the expectation Σ x² / Σ x, for inference.

    Returns:
      [N, *out, C] of x's dtype (float32 for integers); 0 in a window without a positive cell.

    Raises:
      ShapeError: if a window does not fit, or contains only padding.

    Source: Zeiler and Fergus, Stochastic Pooling for Regularization of Deep Convolutional Neural Networks, 2013.

    >>> stochastic_pool(jnp.array([[[1.0], [3.0]]]), (2,))
    Array([[[2.5]]], dtype=float32)
    """
    x, win, unbatched = pool_input(x, kernel_size, "stochastic_pool", stride=stride, padding=padding, dilation=dilation)
    check_inside(x.shape, win, "stochastic_pool")
    padded = win.padded(upcast(x), 0)
    cells = [tap_cells(padded, win, tap) for tap in itertools.product(*map(range, win.kernel_size))]
    chances = [jnp.maximum(cell, 0) for cell in cells]
    total = functools.reduce(jnp.add, chances)
    if key is None:
        mean = functools.reduce(jnp.add, (chance * chance for chance in chances))
        y = mean / jnp.where(total > 0, total, 1)
    else:
        share = jax.random.uniform(check_key(key), total.shape, jnp.float32)  # of every dtype the same cells
        level = share.astype(total.dtype) * jax.lax.stop_gradient(total)
        y, reached, drawn = jnp.zeros_like(total), jnp.zeros_like(total), jnp.zeros(total.shape, bool)
        for cell, chance in zip(cells, chances, strict=True):
            reached = reached + jax.lax.stop_gradient(chance)
            now = ~drawn & (chance > 0) & (reached >= level)
            y, drawn = jnp.where(now, cell, y), drawn | now
    return pool_output(cast_back(y, x), x, win, unbatched)
