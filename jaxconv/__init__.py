"""Convolutional networks as pure functions on JAX.

import jaxconv as jc
net = jc.chain(jc.Conv(20, 5), jax.nn.relu, jc.MaxPool(2), jc.flatten, head=jc.Dense(10))
params, state = net.init(jax.random.key(0), (1, 28, 28, 1))
logits, state = net.apply(params, state, images)
"""

import importlib
from typing import TYPE_CHECKING, Any

from jaxconv import interrupt  # noqa: F401  before jax: a command that is still importing ends quietly

# isort: split
from jaxconv import errors, geometry, initializers
from jaxconv.errors import ConfigError, DataError, ShapeError
from jaxconv.layer import Layer, wire
from jaxconv.layers import *  # noqa: F403
from jaxconv.layers import __all__ as _layers
from jaxconv.ops import *  # noqa: F403
from jaxconv.ops import __all__ as _ops
from jaxconv.rewrite import accelerate

if TYPE_CHECKING:
    from jaxconv import models as models
    from jaxconv import port as port
    from jaxconv.analysis.summary import summary as summary

__version__ = "0.1.0"
__all__ = [
    "ConfigError", "DataError", "Layer", "ShapeError", "accelerate", "errors", "geometry", "initializers", "summary",
    "wire", *_layers, *_ops,
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """`summary`, `models` and `port`, imported when they are first used."""
    if name in ("models", "port"):
        return importlib.import_module(f"jaxconv.{name}")
    if name == "summary":
        from jaxconv.analysis.summary import summary

        return summary
    raise AttributeError(f"module 'jaxconv' has no attribute {name!r}")
