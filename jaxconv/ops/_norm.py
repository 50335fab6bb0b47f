"""Normalization, with statistics in f32 or wider for every dtype."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv import geometry
from jaxconv._base.dtypes import cast_back, channelwise, upcast
from jaxconv._base.errors import ShapeError, count
from jaxconv._base.numeric import check_number
from jaxconv._base.types import ArrayLike
from jaxconv.engine.norm import abs_square
from jaxconv.engine.norm_primitive import normalize
from jaxconv.engine.window import assert_shape


def check_eps(eps: float) -> float:
    """`eps`, if it is a number ≥ 0; raises ShapeError otherwise."""
    return check_number(eps, "eps", "eps must be a number ≥ 0", lambda eps: eps >= 0)


def affine(y: jax.Array, scale: Any, bias: Any) -> jax.Array:
    """y * scale + bias along the last axis; None omits either.

    Raises:
      ShapeError: if scale or bias does not have one value per channel.
    """
    scale, bias = per_channel(y, scale, bias)
    y = y if scale is None else y * channelwise(scale, y)
    return y if bias is None else y + channelwise(bias, y)


def per_channel(y: jax.Array, scale: Any, bias: Any) -> list[jax.Array | None]:
    """Scale and bias in y's dtype; None stays.

    Raises:
      ShapeError: if one of them does not have one value per channel.
    """
    for name, value in (("scale", scale), ("bias", bias)):
        if value is not None:
            _check_per_channel(name, value, y)
    return [v if v is None else jnp.asarray(v, y.dtype) for v in (scale, bias)]


def _normalized(x: jax.Array, axes: Sequence[int], eps: float, scale: Any, bias: Any) -> jax.Array:
    y = upcast(x)
    return _restored(normalize(y, axes, check_eps(eps), *per_channel(y, scale, bias))[0], x)


def batch_norm(
    x: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
) -> jax.Array:
    """Normalize each channel with a given mean and variance: (x - mean) / sqrt(var + eps) * scale + bias.

    Args:
      x: [N, ..., C].
      mean, var: [C], of the batch or running averages.
      scale, bias: [C] or None.
      eps: added to the variance.

    Returns:
      [N, ..., C] of x's dtype.

    Raises:
      ShapeError: if mean, var, scale or bias does not have one value per channel.

    Source: Ioffe and Szegedy, Batch Normalization, 2015.

    >>> batch_norm(jnp.array([[3.0]]), jnp.array([1.0]), jnp.array([4.0]), eps=0.0)
    Array([[1.]], dtype=float32)
    """
    x = jnp.asarray(x)
    for name, value in (("mean", mean), ("var", var)):
        _check_per_channel(name, value, x)
    y = upcast(x)
    mean, var = (channelwise(jnp.asarray(v), y) for v in (mean, var))
    y = (y - mean.astype(y.dtype)) * lax.rsqrt(var.real.astype(y.real.dtype) + eps).astype(y.dtype)
    return _scale_and_shift(y, x, scale, bias)


def group_norm(
    x: ArrayLike, groups: int, scale: ArrayLike | None = None, bias: ArrayLike | None = None, *, eps: float = 1e-5
) -> jax.Array:
    """Normalize each example over space and the channels of each group.

    Args:
      x: [N, *spatial, C].
      groups: number of groups of C/groups neighboring channels; 1 normalizes over all channels.
      scale, bias: [C] or None.
      eps: added to the variance.

    Returns:
      [N, *spatial, C] of x's dtype.

    Raises:
      ShapeError: if groups do not divide C.

    Source: Wu and He, Group Normalization, 2018.

    >>> group_norm(jnp.array([[[1.0, 3.0, 10.0, 30.0]]]), 2, eps=0.0).ravel()
    Array([-1.,  1., -1.,  1.], dtype=float32)
    """
    x, groups = _check_rank(x, "group_norm"), geometry.integer(groups, "groups")
    if x.shape[-1] % groups:
        raise ShapeError("groups must divide the channels", got=f"groups={groups}, {count(x.shape[-1], 'channel')}")
    y, split = upcast(x), (groups, x.shape[-1] // groups)
    shaped = (v if v is None else v.reshape(split) for v in per_channel(y, scale, bias))
    axes = (*range(1, x.ndim - 1), x.ndim)
    y, *_ = normalize(y.reshape(*x.shape[:-1], *split), axes, check_eps(eps), *shaped)
    return _restored(y.reshape(x.shape), x)


def layer_norm(
    x: ArrayLike, scale: ArrayLike | None = None, bias: ArrayLike | None = None, *, eps: float = 1e-5
) -> jax.Array:
    """Normalize over the channels of each position (the last axis).

    Args:
      x: [..., C].
      scale, bias: [C] or None.
      eps: added to the variance.

    Returns:
      [..., C] of x's dtype. (To normalize over space and channels, use `group_norm` with one group.)

    Source: Ba et al., Layer Normalization, 2016.

    >>> layer_norm(jnp.array([[1.0, 3.0]]), eps=0.0)
    Array([[-1.,  1.]], dtype=float32)
    """
    x = _check_rank(x, "layer_norm", least=1)
    return _normalized(x, (x.ndim - 1,), eps, scale, bias)


def instance_norm(
    x: ArrayLike, scale: ArrayLike | None = None, bias: ArrayLike | None = None, *, eps: float = 1e-5
) -> jax.Array:
    """Normalize each channel of each example over space.

    Args:
      x: [N, *spatial, C].
      scale, bias: [C] or None.
      eps: added to the variance.

    Returns:
      [N, *spatial, C] of x's dtype.

    Raises:
      ShapeError: if x has no spatial axis.

    Source: Ulyanov et al., Instance Normalization, 2016.

    >>> instance_norm(jnp.array([[[1.0], [3.0]]]), eps=0.0).ravel()
    Array([-1.,  1.], dtype=float32)
    """
    x = _check_rank(x, "instance_norm", least=3)
    return _normalized(x, range(1, x.ndim - 1), eps, scale, bias)


def rms_norm(x: ArrayLike, scale: ArrayLike | None = None, *, eps: float = 1e-6) -> jax.Array:
    """Divide the channels of each position by their root mean square: x / sqrt(mean(x²) + eps) * scale.

    Args:
      x: [..., C].
      scale: [C] or None.
      eps: added to the mean square.

    Returns:
      [..., C] of x's dtype.

    Source: Zhang and Sennrich, Root Mean Square Layer Normalization, 2019.

    >>> rms_norm(jnp.array([[3.0, 3.0]]), eps=0.0)
    Array([[1., 1.]], dtype=float32)
    """
    x = _check_rank(x, "rms_norm", least=1)
    y = upcast(x)
    root = lax.rsqrt(jnp.mean(abs_square(y), axis=-1, keepdims=True) + eps)
    return _scale_and_shift(y * root.astype(y.dtype), x, scale, None)


def local_response_norm(
    x: ArrayLike, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> jax.Array:
    """Normalize each value by the neighboring channels at its position: x / (k + alpha * Σ x²)^beta.

    Args:
      x: [..., C].
      size: channels in the sum, size//2 before the value's own and (size-1)//2 after it.
      alpha: factor of the sum, as in the paper and TensorFlow (torch divides it by size).
      beta, k: as in the formula.

    Returns:
      [..., C] of x's dtype.

    Source: Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, 2012.

    >>> local_response_norm(jnp.array([[1.0, 1.0, 1.0]]), 3, alpha=1.0, beta=1.0, k=0.0)
    Array([[0.5       , 0.33333334, 0.5       ]], dtype=float32)
    """
    x, size = _check_rank(x, "local_response_norm", least=1), geometry.integer(size, "size")
    y = upcast(x)
    padding = [(0, 0)] * (x.ndim - 1) + [(size // 2, (size - 1) // 2)]
    squares = jnp.pad(abs_square(y), padding)
    channels = x.shape[-1]
    total = functools.reduce(jnp.add, (squares[..., i : i + channels] for i in range(size)))
    return _scale_and_shift(y * ((k + alpha * total) ** -beta).astype(y.dtype), x, None, None)


def standardize_kernel(kernel: ArrayLike, *, eps: float = 1e-5) -> jax.Array:
    """Weight standardization: mean 0 and variance 1 / fan-in for the weights of each output channel.

    Args:
      kernel: [*k, C_in/groups, C_out].
      eps: added to the variance.

    Returns:
      A kernel of the same shape and dtype, for `Conv(..., transform=jc.standardize_kernel)`.

    Source: Qiao et al., Weight Standardization, 2019, with the fan-in scaling of Brock et al., 2021.

    >>> k = standardize_kernel(jax.random.normal(jax.random.key(0), (3, 3, 2, 4)))
    >>> bool(jnp.allclose(k.mean((0, 1, 2)), 0, atol=1e-6))
    True
    """
    kernel = jnp.asarray(kernel)
    if kernel.ndim < 2:
        raise ShapeError("standardize_kernel needs a kernel [*k, C_in, C_out]", got=f"{kernel.shape}", kind="rank")
    axes = range(kernel.ndim - 1)
    fan_in = math.prod(kernel.shape[:-1])
    return cast_back(normalize(upcast(kernel), axes, check_eps(eps))[0] / math.sqrt(fan_in), kernel)


def _check_per_channel(name: str, value: Any, x: jax.Array) -> None:
    if jnp.shape(value) != x.shape[-1:]:
        raise ShapeError(
            f"{name} must have one value for each of the {count(x.shape[-1], 'channel')}", got=f"{jnp.shape(value)}"
        )


def _check_rank(x: Any, op: str, least: int = 2) -> jax.Array:
    x = jnp.asarray(x)
    if x.ndim < least:
        shape = {1: "[..., C]", 2: "[N, ..., C]", 3: "[N, *spatial, C]"}[least]
        raise ShapeError(f"{op} needs {shape}", got=f"{x.shape}", kind="rank")
    return x


def _scale_and_shift(y: jax.Array, x: jax.Array, scale: Any, bias: Any) -> jax.Array:
    return _restored(affine(y, scale, bias), x)


def _restored(y: jax.Array, x: jax.Array) -> jax.Array:
    return assert_shape(cast_back(y, x), x.shape)
