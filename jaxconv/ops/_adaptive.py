"""Adaptive pooling to a fixed output size: window i of m over n cells is [floor(i*n/m), ceil((i+1)*n/m))."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.dtypes import cast_back, upcast
from jaxconv._base.types import ArrayLike
from jaxconv.engine.window import assert_shape
from jaxconv.ops._pool import as_feature_maps, first_max

AdaptiveSize: TypeAlias = int | Sequence[int | None]
"""One int for all spatial axes, or for each an int, or None for the input's size."""


def sizes_of(shape: Sequence[int], out: AdaptiveSize, name: str) -> tuple[int, ...]:
    """Output size per spatial axis; None stands for the input's.

    >>> sizes_of((7, 5), (3, None), "out")
    (3, 5)
    """
    if isinstance(out, list | tuple) and len(out) == len(shape):
        out = [n if m is None else m for n, m in zip(shape, out, strict=True)]
    return geometry.per_axis(out, len(shape), name)


def _adaptive(x: jax.Array, out: AdaptiveSize, reduce: Callable[[jax.Array, int], jax.Array]) -> jax.Array:
    """Reduce m slices of each axis to one cell each, last axis first."""
    sizes = sizes_of(x.shape[1:-1], out, "out")
    for axis in reversed(range(1, x.ndim - 1)):
        n, m = x.shape[axis], sizes[axis - 1]
        if n == m:
            continue
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
