"""Dropout as a layer."""

from typing import Any

from jaxconv.layer import Layer, stateless_layer
from jaxconv.ops import dropout
from jaxconv.ops.dropout import check_rate


def Dropout(rate: float) -> Layer:
    """Drops a share `rate` of the values in training; does nothing otherwise.

    Args:
      rate: the share that is dropped, in [0, 1).

    Returns:
      A Layer of any shape. With train=True it needs a key, and the key alone says what is dropped.

    Raises:
      ShapeError: a rate outside [0, 1); at `apply`, train=True without a key.

    >>> import jax.numpy as jnp
    >>> Dropout(0.5).apply({}, {}, jnp.ones(3))[0]
    Array([1., 1., 1.], dtype=float32)
    """
    check_rate(rate)

    def run(x: Any, *, key: Any, train: bool) -> Any:
        return dropout(x, rate, key) if train else x

    return stateless_layer("dropout", run)
