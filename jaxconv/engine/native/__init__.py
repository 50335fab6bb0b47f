"""Kernels in C++, called through XLA's foreign function interface; optional."""

from jaxconv.engine.native.formulation import conv_native, conv_winograd, fits, fits_winograd
from jaxconv.engine.native.library import ISAS, available, isa, reason, select_isa, winograd_enabled
from jaxconv.engine.native.norms import (
    layer_norm_gradient_native,
    layer_norm_native,
    moments_native,
    norm_sizes,
    sums_native,
)  # fmt: skip
from jaxconv.engine.native.pools import first_maximum_native, fits_pool, window_sum_native
from jaxconv.engine.native.resampling import fits_resample, resample_native

__all__ = [
    "ISAS", "available", "conv_native", "conv_winograd", "first_maximum_native", "fits", "fits_pool", "fits_resample",
    "fits_winograd", "isa", "layer_norm_gradient_native", "layer_norm_native", "moments_native", "norm_sizes",
    "reason", "resample_native", "select_isa", "sums_native", "window_sum_native", "winograd_enabled",
]  # fmt: skip
