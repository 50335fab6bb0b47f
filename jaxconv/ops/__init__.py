"""Functions on arrays: [N, *spatial, C], no state."""

from jaxconv.ops.adaptive import adaptive_avg_pool, adaptive_max_pool
from jaxconv.ops.blur import blur_pool
from jaxconv.ops.conv import conv
from jaxconv.ops.conv_transpose import conv_transpose
from jaxconv.ops.dropout import dropout
from jaxconv.ops.engine import using
from jaxconv.ops.local_conv import local_conv
from jaxconv.ops.norm import (
    batch_norm,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    rms_norm,
    standardise_kernel,
)
from jaxconv.ops.pad import pad
from jaxconv.ops.pool import avg_pool, global_avg_pool, global_max_pool, l2_pool, lp_pool, max_pool
from jaxconv.ops.reshape import flatten
from jaxconv.ops.unpool import max_pool_with_indices, max_unpool

__all__ = [
    "adaptive_avg_pool", "adaptive_max_pool", "avg_pool", "batch_norm", "blur_pool", "conv", "conv_transpose",
    "dropout", "flatten", "global_avg_pool", "global_max_pool", "group_norm", "instance_norm", "l2_pool",
    "layer_norm", "local_conv", "local_response_norm", "lp_pool", "max_pool", "max_pool_with_indices",
    "max_unpool", "pad", "rms_norm", "standardise_kernel", "using",
]  # fmt: skip
