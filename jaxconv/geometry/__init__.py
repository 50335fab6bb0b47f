"""Sizes, paddings and receptive fields of windowed operations, on plain ints.

jc.geometry.output_size(28, 5)  # 24, by the output-size formula
jc.geometry.solve(out=14, n=28, kernel_size=3)  # every (stride, padding, dilation) that gives 14, simplest first
"""

from jaxconv._base.types import Padding
from jaxconv.geometry.checkerboard import overlap
from jaxconv.geometry.inverse import Solution, solve
from jaxconv.geometry.sizes import (
    PADDING_MODES,
    PADDINGS,
    Pair,
    ReceptiveField,
    exact_high,
    formula,
    integer,
    is_pair,
    looks_channels_first,
    output_shape,
    output_size,
    padding_mode_of,
    pads,
    per_axis,
    span,
    taps_inside,
)

__all__ = [
    "PADDINGS", "PADDING_MODES", "Padding", "Pair", "ReceptiveField", "Solution", "exact_high", "formula", "integer",
    "is_pair", "looks_channels_first", "output_shape", "output_size", "overlap", "padding_mode_of", "pads", "per_axis",
    "solve", "span", "taps_inside",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
