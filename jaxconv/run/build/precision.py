"""Precision of a run: the dtype that the net computes in, and that of matrix products."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base.errors import ConfigError
from jaxconv.layers import cast
from jaxconv.layers.layer import Layer
from jaxconv.run.config import PrecisionConfig

__all__ = ["in_precision", "matmul_precision"]


def in_precision(net: Layer, precision: PrecisionConfig) -> Layer:
    """Cast a net to the config's compute dtype; its parameters stay float32."""
    return net if precision.compute == "float32" else cast(net, jnp.dtype(precision.compute))


def matmul_precision(precision: PrecisionConfig) -> AbstractContextManager[Any]:
    """A context in which matrix products and convolutions have the config's precision.

    Raises:
      ConfigError: if jax knows no such precision.
    """
    try:
        return jax.default_matmul_precision(precision.matmul)
    except ValueError as error:
        raise ConfigError(f"precision.matmul: {error}") from None
