"""Convolutional networks as pure functions on JAX.

import jaxconv as jc
net = jc.chain(jc.Conv(20, 5), jax.nn.relu, jc.MaxPool(2), jc.flatten, head=jc.Dense(10))
params, state = net.init(jax.random.key(0), (1, 28, 28, 1))
logits, state = net.apply(params, state, images)
"""

import importlib
import operator
import sys
import warnings
from typing import TYPE_CHECKING

from jaxconv._base import (
    interrupt,  # noqa: F401  before jax: a command that is still importing ends quietly
    memory,  # noqa: F401  before jax: a command is restarted with huge pages
)

# isort: split
from jaxconv import layers as _layers
from jaxconv import ops as _ops
from jaxconv._accelerate.plain import plain
from jaxconv._accelerate.rewrite import accelerate
from jaxconv._base.errors import ConfigError, DataError, ShapeError
from jaxconv.layers import *  # noqa: F403
from jaxconv.layers.composition import compose
from jaxconv.layers.layer import Layer
from jaxconv.ops import *  # noqa: F403

if TYPE_CHECKING:
    from jaxconv import augment as augment
    from jaxconv import data as data
    from jaxconv import explain as explain
    from jaxconv import export as export
    from jaxconv import geometry as geometry
    from jaxconv import models as models
    from jaxconv import port as port
    from jaxconv import training as training
    from jaxconv import typing as typing
    from jaxconv.analysis.summary import summary as summary
    from jaxconv.layers import initializers as initializers
    from jaxconv.training import losses as losses
    from jaxconv.training import metrics as metrics
    from jaxconv.training import optim as optim

__version__ = "0.1.0"

# Imported when they are first used: name -> the module.
_MODULES = {
    "augment": "jaxconv.augment",
    "data": "jaxconv.data",
    "explain": "jaxconv.explain",
    "export": "jaxconv.export",
    "geometry": "jaxconv.geometry",
    "initializers": "jaxconv.layers.initializers",
    "losses": "jaxconv.training.losses",
    "metrics": "jaxconv.training.metrics",
    "models": "jaxconv.models",
    "optim": "jaxconv.training.optim",
    "port": "jaxconv.port",
    "training": "jaxconv.training",
    "typing": "jaxconv.typing",
}
# Old names, for one release: name -> the new one.
_DEPRECATED = {
    "features": "backbone",
    "freeze": "optim.freeze",
    "partition": "optim.partition",
    "slow": "optim.scale_lr",
    "standardise_kernel": "standardize_kernel",
    "wire": "compose",
}

# Names of layers in torch, Keras and Flax, without their rank: name -> ours.
_ELSEWHERE = {
    "AvgPool": "AvgPool", "BatchNorm": "BatchNorm", "Conv": "Conv", "ConvTranspose": "ConvTranspose",
    "Convolution": "Conv", "Dropout": "SpatialDropout", "InstanceNorm": "InstanceNorm", "Linear": "Dense",
    "MaxPool": "MaxPool", "Sequential": "chain", "sequential": "chain",
}  # fmt: skip

__all__ = [
    "ConfigError", "DataError", "Layer", "ShapeError", "accelerate", "augment", "compose", "data", "explain",
    "export", "geometry", "initializers", "losses", "metrics", "models", "optim", "plain", "port", "summary",
    "training", "typing",
]  # fmt: skip
__all__ += _layers.__all__
__all__ += _ops.__all__


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    if name == "summary":
        return importlib.import_module("jaxconv.analysis.summary").summary
    if name in _DEPRECATED:
        new = _DEPRECATED[name]
        warnings.warn(f"jaxconv.{name} is now jaxconv.{new}", DeprecationWarning, stacklevel=2)
        return operator.attrgetter(new)(sys.modules[__name__])
    ours = _ELSEWHERE.get(name.rstrip("123d"))
    hint = f"; the layer is called {ours} here" if ours else ""
    raise AttributeError(f"module 'jaxconv' has no attribute {name!r}{hint}", name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
