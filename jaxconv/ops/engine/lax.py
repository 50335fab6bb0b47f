"""Convolution by XLA's own operation."""

import jax
from jax import lax

from jaxconv.geometry import Pair
from jaxconv.ops.pad import pad_pairs


def conv_lax(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: tuple[int, ...],
    padding: tuple[Pair, ...],
    dilation: tuple[int, ...],
    groups: int,
    precision: lax.PrecisionLike = None,
) -> jax.Array:
    """`lax.conv_general_dilated`, kept away from the arguments whose gradient it gets wrong.

    Padding wider than d(k-1) becomes a negative low padding in the input gradient, which XLA's CPU
    code reads out of bounds (openxla/xla#48713): such an input is padded first.
    """
    reach = [d * (k - 1) for d, k in zip(dilation, kernel.shape[:-2], strict=True)]
    if any(max(pair) > r for pair, r in zip(padding, reach, strict=True)):
        x, padding = pad_pairs(x, padding), ((0, 0),) * len(padding)
    spatial = "DHW"[-len(stride) :]
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=stride,
        padding=padding,
        rhs_dilation=dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
        feature_group_count=groups,
        precision=precision,
    )
