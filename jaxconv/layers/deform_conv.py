"""Deformable convolution layer."""

from __future__ import annotations

import math
from typing import Any

import jax
from jax import lax

from jaxconv import geometry, ops
from jaxconv._base.types import Ints, Padding, Params, State
from jaxconv.layers.checks import check_groups, check_kernel, param_dtype
from jaxconv.layers.composition import compose
from jaxconv.layers.conv import Conv
from jaxconv.layers.initializers import Initializer, draw_kernel, lecun_normal, zeros
from jaxconv.layers.layer import Call, Layer, check_params, fold, printed, shape_of


@printed
def DeformConv(
    features: int,
    kernel_size: Ints,
    *,
    stride: Ints = 1,
    padding: Padding = "valid",
    dilation: Ints = 1,
    groups: int = 1,
    offset_groups: int = 1,
    mask: bool = True,
    bias: bool = True,
    kernel_init: Initializer = lecun_normal,
    bias_init: Initializer = zeros,
    precision: lax.PrecisionLike = None,
) -> Layer:
    """Deformable convolution, version 2: `jaxconv.deform_conv` with offsets and masks from convolutions of its input.

    Args:
      features: number of feature maps, C_out.
      kernel_size, stride, padding, dilation, groups, precision: as in `jaxconv.conv`, on two axes.
      offset_groups: groups of channels with offsets of their own.
      mask: whether taps have a factor, the sigmoid of a convolution (version 2), or none (version 1).
      bias: whether to add a bias to each feature map.
      kernel_init, bias_init: of the deformable convolution; those of offsets and masks begin at zero.

    Returns:
      A Layer [N, H, W, C_in] -> [N, *out, features] with parts `offset`, `mask` and `conv`.

    Raises:
      ShapeError: if sizes, channels or groups are invalid.

    >>> params, _ = DeformConv(8, 3).init(jax.random.key(0), (1, 7, 7, 4))
    >>> {name: part["kernel"].shape for name, part in params.items()}
    {'offset': (3, 3, 4, 18), 'mask': (3, 3, 4, 9), 'conv': (3, 3, 4, 8)}
    """
    features, groups = geometry.integer(features, "features"), geometry.integer(groups, "groups")
    taps = geometry.per_axis(kernel_size, 2, "kernel_size")
    many = math.prod(taps) * geometry.integer(offset_groups, "offset_groups")
    words: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    names = ("kernel", "bias") if bias else ("kernel",)

    def init(key: Any, x: Any) -> tuple[Params, State]:
        x = shape_of(x["x"])
        check_groups(groups, x.shape[-1], features)
        dtype = param_dtype(x)
        kernel = draw_kernel(kernel_init, fold(key, "kernel"), taps, x.shape[-1], features, groups, dtype)
        own = {"bias": bias_init(fold(key, "bias"), (features,), dtype)} if bias else {}
        return {"kernel": kernel, **own}, {}

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params("deform_conv", params, names)
        kernel = params["kernel"]
        check_kernel("deform_conv", kernel.shape, (*taps, kernel.shape[-2], features))
        y = ops.deform_conv(
            x["x"], kernel, x["offset"], x.get("mask"), params.get("bias"), groups=groups, precision=precision, **words
        )
        return y, state

    def still(channels: int) -> Layer:
        return Conv(channels, taps, kernel_init=zeros, **words)

    parts = {"offset": still(2 * many), **({"mask": still(many)} if mask else {}), "conv": Layer("conv", init, apply)}

    def flow(call: Call, x: Any) -> Any:
        inputs = {"x": x, "offset": call("offset", x)}
        if mask:
            inputs["mask"] = jax.nn.sigmoid(call("mask", x))
        return call("conv", inputs)

    return compose("deform_conv", parts, flow)
