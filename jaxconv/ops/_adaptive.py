"""Adaptive pooling to a fixed output size: window i of m over n cells is [floor(i*n/m), ceil((i+1)*n/m))."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.dtypes import cast_back, upcast
from jaxconv._base.types import ArrayLike
from jaxconv.engine.window import assert_shape
from jaxconv.ops._pool import as_feature_maps, first_max

AdaptiveSize: TypeAlias = int | Sequence[int | None]
"""One int for all spatial axes, or for each an int, or None for the input's size."""


def _adaptive(x: jax.Array, out: AdaptiveSize, reduce: Callable[[jax.Array, int], jax.Array]) -> jax.Array:
    """Reduce m slices of each axis to one cell each, last axis first."""
    same = [i for i, m in enumerate(out) if m is None] if isinstance(out, list | tuple) else []
    wanted: Any = tuple(1 if i in same else m for i, m in enumerate(out)) if isinstance(out, list | tuple) else out
    sizes = list(geometry.per_axis(wanted, x.ndim - 2, "out"))
    for i in same:
        sizes[i] = x.shape[i + 1]
    for axis in reversed([axis for axis in range(1, x.ndim - 1) if axis - 1 not in same]):
        n, m = x.shape[axis], sizes[axis - 1]
        bounds = [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
        cells = [reduce(jax.lax.slice_in_dim(x, *pair, axis=axis), axis) for pair in bounds]
        x = jnp.stack(cells, axis=axis)
    return assert_shape(x, (x.shape[0], *sizes, x.shape[-1]))


def adaptive_avg_pool(x: ArrayLike, out: AdaptiveSize) -> jax.Array:
    """Adaptive average pooling: the mean of each of `out` windows that cover the input.

    Args:
      x: [N, *spatial, C].
      out: output size; one int, or one per spatial axis, where None is the input's. May exceed the input size.

    Returns:
      [N, *out, C] of x's dtype (float32 for integers). Window i of m over n cells is
      [floor(i*n/m), ceil((i+1)*n/m)), as in torch.

    Raises:
      ShapeError: if x has no spatial axis, or out < 1.

    >>> adaptive_avg_pool(jnp.arange(5.0).reshape(1, 5, 1), 2).ravel()
    Array([1., 3.], dtype=float32)
    """
    x = as_feature_maps(x, "adaptive_avg_pool")
    return cast_back(_adaptive(upcast(x), out, lambda cells, axis: jnp.mean(cells, axis=axis)), x)


def adaptive_max_pool(x: ArrayLike, out: AdaptiveSize) -> jax.Array:
    """Adaptive max pooling: the maximum of each of `out` windows that cover the input.

    Args and windows as in `adaptive_avg_pool`. The gradient of a tie goes to the first maximum.

    Returns:
      [N, *out, C] of x's dtype.

    Raises:
      ShapeError: if x has no spatial axis, or out < 1.

    >>> adaptive_max_pool(jnp.arange(5.0).reshape(1, 5, 1), 2).ravel()
    Array([2., 4.], dtype=float32)
    """
    return _adaptive(as_feature_maps(x, "adaptive_max_pool"), out, first_max)
