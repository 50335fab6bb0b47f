"""Operations as layers, and layers made of layers."""

from jaxconv.layers.combine import branch, chain, residual
from jaxconv.layers.conv import Conv
from jaxconv.layers.dense import Dense
from jaxconv.layers.dropout import Dropout
from jaxconv.layers.norm import BatchNorm
from jaxconv.layers.pool import AvgPool, L2Pool, LpPool, MaxPool

__all__ = [
    "AvgPool",
    "BatchNorm",
    "Conv",
    "Dense",
    "Dropout",
    "L2Pool",
    "LpPool",
    "MaxPool",
    "branch",
    "chain",
    "residual",
]
