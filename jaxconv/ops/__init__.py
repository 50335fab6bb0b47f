"""Stateless functions on arrays [N, *spatial, C]."""

from jaxconv.engine import using
from jaxconv.ops._adaptive import adaptive_avg_pool, adaptive_max_pool
from jaxconv.ops._blur import blur_pool
from jaxconv.ops._conv import conv
from jaxconv.ops._conv_transpose import conv_transpose
from jaxconv.ops._deform_conv import deform_conv
from jaxconv.ops._dropout import dropout
from jaxconv.ops._local_conv import local_conv
from jaxconv.ops._norm import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    rms_norm,
    standardize_kernel,
)
from jaxconv.ops._pad import pad
from jaxconv.ops._pool import avg_pool, global_avg_pool, global_max_pool, l2_pool, lp_pool, max_pool
from jaxconv.ops._reshape import flatten
from jaxconv.ops._resize import resize
from jaxconv.ops._roi_align import roi_align
from jaxconv.ops._sample import affine_grid, grid_sample
from jaxconv.ops._shuffle import pixel_shuffle, pixel_unshuffle
from jaxconv.ops._stochastic_pool import stochastic_pool
from jaxconv.ops._unfold import fold, unfold
from jaxconv.ops._unpool import max_pool_with_indices, max_unpool

__all__ = [
    "adaptive_avg_pool", "adaptive_max_pool", "affine_grid", "avg_pool", "batch_norm", "blur_pool", "conv",
    "conv_transpose", "deform_conv", "dropout", "flatten", "fold", "global_avg_pool", "global_max_pool",
    "grid_sample", "group_norm", "instance_norm", "l2_pool", "layer_norm", "local_conv", "local_response_norm",
    "lp_pool", "max_pool", "max_pool_with_indices", "max_unpool", "pad", "pixel_shuffle", "pixel_unshuffle",
    "resize", "rms_norm", "roi_align", "standardize_kernel", "stochastic_pool", "unfold", "using",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
