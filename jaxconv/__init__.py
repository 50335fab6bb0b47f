"""Convolutional networks as pure functions on JAX.

import jaxconv as jc
net = jc.chain(jc.Conv(20, 5), jax.nn.relu, jc.MaxPool(2), jc.flatten, head=jc.Dense(10))
params, state = net.init(jax.random.key(0), (1, 28, 28, 1))
logits, state = net.apply(params, state, images)
"""

from jaxconv import errors, geometry, initializers
from jaxconv.errors import ConfigError, DataError, ShapeError
from jaxconv.layer import Layer, stateless, wire
from jaxconv.layers import *  # noqa: F403
from jaxconv.layers import __all__ as _layers
from jaxconv.ops import *  # noqa: F403
from jaxconv.ops import __all__ as _ops
from jaxconv.rewrite import accelerate

__version__ = "0.1.0"
__all__ = [
    "ConfigError", "DataError", "Layer", "ShapeError", "accelerate", "errors", "geometry", "initializers", "stateless",
    "wire", *_layers, *_ops,
]  # fmt: skip
