"""Dropout layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jaxconv.layers.layer import Layer, printed, stateless_layer
from jaxconv.ops._dropout import check_rate, dropout


@printed
def Dropout(rate: float) -> Layer:
    """Drops a fraction `rate` of the values in training; the identity otherwise.

    Args:
      rate: fraction dropped, in [0, 1).

    Returns:
      A Layer of any shape. With train=True it needs a key, which determines what is dropped.

    Raises:
      ShapeError: if rate is outside [0, 1); at `apply`, if train=True without a key.

    >>> import jax.numpy as jnp
    >>> Dropout(0.5).apply({}, {}, jnp.ones(3))[0]
    Array([1., 1., 1.], dtype=float32)
    """
    return _shared("dropout", rate, lambda ndim: ())


@printed
def SpatialDropout(rate: float) -> Layer:
    """Drops entire feature maps in training.

    Args:
      rate: fraction of feature maps dropped, in [0, 1).

    Returns:
      A Layer [N, *spatial, C] -> the same; keys and errors as `Dropout`.

    Source: Tompson et al., Efficient Object Localization Using Convolutional Networks, 2015.

    >>> import jax, jax.numpy as jnp
    >>> y, _ = SpatialDropout(0.5).apply({}, {}, jnp.ones((1, 2, 2, 4)), key=jax.random.key(0), train=True)
    >>> bool((y == y[:, :1, :1]).all())
    True
    """
    return _shared("spatial_dropout", rate, lambda ndim: range(1, ndim - 1))


@printed
def DropPath(rate: float) -> Layer:
    """Stochastic depth: drops entire samples in training; put it at the end of the body of a residual.

    Args:
      rate: fraction of samples dropped, in [0, 1).

    Returns:
      A Layer [N, ...] -> the same; keys and errors as `Dropout`.

    Source: Huang et al., Deep Networks with Stochastic Depth, 2016.

    >>> import jax, jax.numpy as jnp
    >>> y, _ = DropPath(0.5).apply({}, {}, jnp.ones((8, 3)), key=jax.random.key(0), train=True)
    >>> bool((y == y[:, :1]).all())
    True
    """
    return _shared("drop_path", rate, lambda ndim: range(1, ndim))


def _shared(name: str, rate: float, axes: Callable[[int], Sequence[int]]) -> Layer:
    check_rate(rate)

    def run(x: Any, *, key: Any, train: bool) -> Any:
        return dropout(x, rate, key, shared=axes(x.ndim)) if train else x

    return stateless_layer(name, run)
