"""Building blocks of MobileNetV2, MobileNetV3 and EfficientNet: inverted residuals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from jaxconv.layers import BatchNorm, Conv, DepthwiseConv
from jaxconv.layers.composition import compose
from jaxconv.layers.initializers import VarianceScaling
from jaxconv.layers.layer import Layer
from jaxconv.models._stages import numbered

__all__ = ["conv_norm", "eighths", "inverted_residual"]

Norm = Callable[[], Layer]
FAN_OUT = VarianceScaling(2, "out")


def eighths(channels: float) -> int:
    """Round a number of channels to a multiple of 8, down by at most 10 %, and to at least 8.

    `make_divisible` of the MobileNet and EfficientNet papers' code.

    Args:
      channels: a number of channels times a width multiplier.

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
    dilation: int = 1,
    activation: Callable[[jax.Array], jax.Array] | None = None,
    norm: Norm = BatchNorm,
) -> Layer:
    """Convolution with "same" padding, norm, and an optional activation.

    Args:
      features: output channels; None for a depthwise convolution, which keeps those of its input.
      size: side of the kernel, odd.
      stride, dilation: of the convolution.
      activation: function from array to array; None for none.
      norm: constructor of the norm.

    Returns:
      Layer: [N, H, W, C] to [N, ceil(H/stride), ceil(W/stride), features], with parts "0", "1" (and "2").

    >>> list(conv_norm(16, 3, stride=2, activation=jax.nn.relu).parts)
    ['0', '1', '2']
    """
    options: dict[str, Any] = {"stride": stride, "dilation": dilation, "padding": size // 2 * dilation}
    options |= {"bias": False, "kernel_init": FAN_OUT}
    conv = DepthwiseConv(size, **options) if features is None else Conv(features, size, **options)
    return numbered(conv, norm(), *([activation] if activation else []))


def inverted_residual(body: Layer, *, adds: bool, name: str = "block", drop: Layer | None = None) -> Layer:
    """A bottleneck body with an optional residual connection.

    Args:
      body: the expansion, depthwise and projection layers.
      adds: whether the input is added: if the body keeps the shape.
      name: name of the body's part, as in the papers' code.
      drop: stochastic depth before the sum, the part `stochastic_depth`.

    Returns:
      Layer: [N, H, W, C] to the body's shape.

    Source: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018.

    >>> inverted_residual(BatchNorm(), adds=True)
    inverted_residual
      block: BatchNorm()
    """
    parts = {name: body, "stochastic_depth": drop} if adds and drop is not None else {name: body}

    def flow(call: Callable[..., Any], x: Any) -> Any:
        y = call(name, x)
        if "stochastic_depth" in parts:
            y = call("stochastic_depth", y)
        return x + y if adds else y

    return compose("inverted_residual", parts, flow)
