"""Functions on arrays: [N, *spatial, C], no state."""

from jaxconv.ops.conv import conv
from jaxconv.ops.dropout import dropout
from jaxconv.ops.engine import using
from jaxconv.ops.norm import batch_norm
from jaxconv.ops.pad import pad
from jaxconv.ops.pool import avg_pool, global_avg_pool, global_max_pool, l2_pool, lp_pool, max_pool
from jaxconv.ops.reshape import flatten

__all__ = [
    "avg_pool", "batch_norm", "conv", "dropout", "flatten", "global_avg_pool", "global_max_pool",
    "l2_pool", "lp_pool", "max_pool", "pad", "using",
]  # fmt: skip
