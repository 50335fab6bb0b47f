"""Sizes, paddings and receptive fields of windowed operations, on plain ints: the formula, and it backwards."""

from jaxconv.geometry.inverse import Solution, solve
from jaxconv.geometry.sizes import (
    PAD_MODES,
    PADDINGS,
    Padding,
    Pair,
    ReceptiveField,
    exact_high,
    formula,
    integer,
    is_pair,
    output_shape,
    output_size,
    pad_mode_of,
    pads,
    per_axis,
    span,
    taps_inside,
)

__all__ = [
    "PADDINGS", "PAD_MODES", "Padding", "Pair", "ReceptiveField", "Solution", "exact_high", "formula", "integer",
    "is_pair", "output_shape", "output_size", "pad_mode_of", "pads", "per_axis", "solve", "span", "taps_inside",
]  # fmt: skip
