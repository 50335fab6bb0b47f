"""Normalisation. Statistics are taken in f32 or wider whatever the compute type."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.errors import ShapeError
from jaxconv.ops.window import promise, wide


def standardise(
    x: jax.Array, axes: Sequence[int], eps: float, axis_name: Any = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(x - mean) / sqrt(var + eps) over `axes`, with the mean and the (biased) variance.

    Two passes: the second corrects the mean by what its rounding left, so that 1e4 ± 1e-2 in f32
    comes out right where E[x²] - E[x]² gives NaN.

    Args:
      x: an array in its summing type (f32 or wider).
      axes: reduced; kept as 1 in the mean and the variance.
      axis_name: of devices or of a vmap to take the statistics over, too.

    Returns:
      y of x's shape; mean and var with 1 on `axes`.
    """

    def mean_of(v: jax.Array) -> jax.Array:
        m = jnp.mean(v, axis=tuple(axes), keepdims=True)
        return m if axis_name is None else lax.pmean(m, axis_name)

    rough = lax.stop_gradient(mean_of(x))
    centred = x - rough
    rest = mean_of(centred)
    var = mean_of(jnp.square(centred - rest))
    return (centred - rest) * lax.rsqrt(var + eps), rough + rest, var


def affine(y: jax.Array, scale: Any, bias: Any) -> jax.Array:
    """y * scale + bias over the last axis; None leaves either out.

    Raises:
      ShapeError: scale or bias without one value a channel.
    """
    for name, value in (("scale", scale), ("bias", bias)):
        if value is not None and jnp.shape(value) != y.shape[-1:]:
            raise ShapeError(
                f"{name} must have one value for each of the {y.shape[-1]} channels",
                got=f"{jnp.shape(value)}",
            )
    y = y if scale is None else y * jnp.asarray(scale, y.dtype)
    return y if bias is None else y + jnp.asarray(bias, y.dtype)


def batch_norm(x: Any, mean: Any, var: Any, scale: Any = None, bias: Any = None, *, eps: float = 1e-5) -> jax.Array:
    """Normalises every channel by a given mean and variance: (x - mean) / sqrt(var + eps) * scale + bias.

    Args:
      x: [N, ..., C].
      mean, var: [C]; of the batch (`batch_stats`) or running ones.
      scale, bias: [C] or None.
      eps: added to the variance.

    Returns:
      [N, ..., C] of x's dtype.

    Raises:
      ShapeError: statistics without one value a channel.

    Source: Ioffe and Szegedy, Batch Normalization, 2015.

    >>> batch_norm(jnp.array([[3.0]]), jnp.array([1.0]), jnp.array([4.0]), eps=0.0)
    Array([[1.]], dtype=float32)
    """
    x = jnp.asarray(x)
    for name, value in (("mean", mean), ("var", var)):
        if jnp.shape(value) != x.shape[-1:]:
            raise ShapeError(
                f"{name} must have one value for each of the {x.shape[-1]} channels",
                got=f"{jnp.shape(value)}",
            )
    y = wide(x)
    y = affine((y - mean) * lax.rsqrt(jnp.asarray(var, y.dtype) + eps), scale, bias)
    return promise(y.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.inexact) else y, x.shape)
