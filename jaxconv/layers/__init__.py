"""Operations as layers, and layers made of layers."""

from jaxconv.layers.attention import CBAM, ECA, CoordinateAttention, SqueezeExcite
from jaxconv.layers.attention_pool import AttentionPool
from jaxconv.layers.checks import assume_channels_last
from jaxconv.layers.combine import branch, chain, residual
from jaxconv.layers.conv import Conv, masked
from jaxconv.layers.deform_conv import DeformConv
from jaxconv.layers.dense import Dense
from jaxconv.layers.dropout import Dropout, DropPath, SpatialDropout
from jaxconv.layers.folding import fold_batch_norms
from jaxconv.layers.kernel_norms import spectral_norm, weight_norm
from jaxconv.layers.local_conv import LocalConv
from jaxconv.layers.merging import reparameterize
from jaxconv.layers.norm import BatchNorm, GroupNorm, InstanceNorm, LayerNorm, LocalResponseNorm, RMSNorm
from jaxconv.layers.pool import (
    AdaptiveAvgPool,
    AdaptiveMaxPool,
    AvgPool,
    BlurPool,
    L2Pool,
    LpPool,
    MaxPool,
    StochasticPool,
)
from jaxconv.layers.pyramid import ASPP, PPM, SPP
from jaxconv.layers.resize import Upsample
from jaxconv.layers.separable import DepthwiseConv, SeparableConv, SpatiallySeparableConv
from jaxconv.layers.surgery import backbone, freeze_statistics, ghost_batch_norm, replace
from jaxconv.layers.transpose import ConvTranspose, adjoint
from jaxconv.layers.wrap import cast, remat, repeat, stateless

__all__ = [
    "ASPP", "CBAM", "ECA", "PPM", "SPP", "AdaptiveAvgPool", "AdaptiveMaxPool", "AttentionPool", "AvgPool",
    "BatchNorm", "BlurPool", "Conv", "ConvTranspose", "CoordinateAttention", "DeformConv", "Dense", "DepthwiseConv",
    "DropPath", "Dropout", "GroupNorm", "InstanceNorm", "L2Pool", "LayerNorm", "LocalConv", "LocalResponseNorm",
    "LpPool", "MaxPool", "RMSNorm", "SeparableConv", "SpatialDropout", "SpatiallySeparableConv", "SqueezeExcite",
    "StochasticPool", "Upsample", "adjoint", "assume_channels_last", "backbone", "branch", "cast", "chain",
    "fold_batch_norms", "freeze_statistics", "ghost_batch_norm", "masked", "remat", "reparameterize", "repeat",
    "replace", "residual", "spectral_norm", "stateless", "weight_norm",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
