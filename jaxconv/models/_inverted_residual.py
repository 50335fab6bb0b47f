"""What MobileNetV2, MobileNetV3 and EfficientNet are made of: wide, depthwise, and narrow again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from jaxconv.layers import AdaptiveAvgPool, BatchNorm, Conv, DepthwiseConv
from jaxconv.layers.initializers import VarianceScaling
from jaxconv.layers.layer import Layer, Part, compose
from jaxconv.models._stages import numbered

__all__ = ["conv_norm", "eighths", "inverted_residual", "squeeze_excite"]

Norm = Callable[[], Layer]
FAN_OUT = VarianceScaling(2, "out")


def eighths(channels: float) -> int:
    """The nearest multiple of 8 that is no less than nine tenths of `channels`, and at least 8.

    The rounding of the MobileNet and EfficientNet papers' code: sizes that hardware likes.

    Args:
      channels: a number of feature maps times a width.

    >>> eighths(32 * 1.1), eighths(24 * 0.75), eighths(3), eighths(11.9)
    (32, 24, 8, 16)
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def conv_norm(
    features: int | None,
    size: int,
    *,
    stride: int = 1,
    activation: Callable[[jax.Array], jax.Array] | None = None,
    norm: Norm = BatchNorm,
) -> Layer:
    """A convolution with half a kernel of padding, its norm, and its activation where it has one.

    Args:
      features: maps of the result; None for a depthwise convolution, which keeps those it gets.
      size: of the kernel, odd.
      stride: of the convolution.
      activation: array to array; None leaves it out.
      norm: makes the norm.

    Returns:
      Layer: [N, H, W, C] to [N, ceil(H/stride), ceil(W/stride), features], with parts "0", "1" (and "2").

    >>> conv_norm(16, 3, stride=2, activation=jax.nn.relu)
    chain
      0: conv
      1: batch_norm
      2: relu
    """
    options: dict[str, Any] = {"stride": stride, "padding": size // 2, "bias": False, "kernel_init": FAN_OUT}
    conv = DepthwiseConv(size, **options) if features is None else Conv(features, size, **options)
    return numbered(conv, norm(), *([activation] if activation else []))


def squeeze_excite(
    features: int,
    squeezed: int,
    activation: Callable[[jax.Array], jax.Array],
    gate: Callable[[jax.Array], jax.Array],
) -> Layer:
    """Multiplies every map by a number in [0, 1] that is worked out from the means of all of them.

    Args:
      features: maps of the input, and of the result.
      squeezed: units between the two 1×1 convolutions.
      activation, gate: after the first and after the second of them.

    Returns:
      Layer: [N, H, W, features] to the same.

    Source: Hu et al., Squeeze-and-Excitation Networks, 2018.

    >>> layer = squeeze_excite(8, 2, jax.nn.relu, jax.nn.sigmoid)
    >>> params, _ = layer.init(jax.random.key(0), (1, 4, 4, 8))
    >>> params["fc1"]["kernel"].shape, params["fc2"]["kernel"].shape
    ((1, 1, 8, 2), (1, 1, 2, 8))
    """
    parts: dict[str, Part] = {
        "avgpool": AdaptiveAvgPool(1),
        "fc1": Conv(squeezed, 1, kernel_init=FAN_OUT),
        "activation": activation,
        "fc2": Conv(features, 1, kernel_init=FAN_OUT),
        "scale_activation": gate,
    }

    def flow(call: Callable[..., Any], x: Any) -> Any:
        h = x
        for name in parts:
            h = call(name, h)
        return x * h

    return compose("squeeze_excite", parts, flow)


def inverted_residual(body: Layer, *, adds: bool, name: str = "block", drop: Layer | None = None) -> Layer:
    """A body that ends with few maps, and its input added to them where the shapes agree.

    Args:
      body: what makes many maps of few, and few of many.
      adds: whether the input is added: with stride 1 and as many maps as came.
      name: of the body among the parts, as in the papers' code.
      drop: what the body's result goes through before the sum, as part `stochastic_depth`.

    Returns:
      Layer: [N, H, W, C] to the body's shape.

    Source: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018.

    >>> inverted_residual(conv_norm(8, 3), adds=True)
    inverted_residual
      block: chain
        0: conv
        1: batch_norm
    """
    parts = {name: body, "stochastic_depth": drop} if adds and drop is not None else {name: body}

    def flow(call: Callable[..., Any], x: Any) -> Any:
        y = call(name, x)
        if "stochastic_depth" in parts:
            y = call("stochastic_depth", y)
        return x + y if adds else y

    return compose("inverted_residual", parts, flow)
