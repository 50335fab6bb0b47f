"""Convolution kernels in C++, called through XLA's foreign function interface; optional."""

from jaxconv.engine.native.formulation import conv_native, conv_winograd, fits, fits_winograd
from jaxconv.engine.native.library import ISAS, available, isa, reason, select_isa, winograd_enabled

__all__ = [
    "ISAS", "available", "conv_native", "conv_winograd", "fits", "fits_winograd", "isa", "reason", "select_isa",
    "winograd_enabled",
]  # fmt: skip
