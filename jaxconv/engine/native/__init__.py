"""Convolution kernels in C++, called through XLA's foreign function interface; optional."""

from jaxconv.engine.native.formulation import conv_native, fits
from jaxconv.engine.native.library import ISAS, available, isa, reason, select_isa

__all__ = ["ISAS", "available", "conv_native", "fits", "isa", "reason", "select_isa"]
