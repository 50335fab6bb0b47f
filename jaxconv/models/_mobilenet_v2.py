"""MobileNetV2: inverted residuals with linear bottlenecks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxconv.layers import BatchNorm, Conv, Dense, Dropout
from jaxconv.layers.initializers import Normal
from jaxconv.layers.layer import Layer
from jaxconv.models._inverted_residual import FAN_OUT, conv_norm, eighths, inverted_residual
from jaxconv.models._stages import ending, numbered

__all__ = ["mobilenet_v2"]

# Table 2 of the paper: expansion t, output channels c, blocks n, stride s of the first block.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v2(
    num_classes: int = 1000,
    *,
    width: float = 1.0,
    dropout: float = 0.2,
    stages: Sequence[tuple[int, int, int, int]] = STAGES,
    upto: str | None = None,
) -> Layer:
    """MobileNetV2 of any width: blocks of 1×1 expansion, 3×3 depthwise and linear 1×1 projection.

    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018), with torchvision's part
    names: `features/0` (stem), `features/1` … `features/17` (blocks), `features/18`, `classifier`.

    Args:
      num_classes: units of the last layer; 0 for pooled features, [N, C].
      width: width multiplier of every number of channels; the last convolution has at least 1280.
      dropout: dropout rate before the last layer.
      stages: expansion, output channels, blocks and first stride of each stage.
      upto: path of the last part, for a backbone ("features/13": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes].

    Raises:
      ShapeError: if an argument is invalid, or no part has the path `upto`.

    >>> net = mobilenet_v2(upto="features/13")
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 96, 96, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 96, 96, 3), "float32"))[0].shape
    (1, 6, 6, 96)
    """
    inputs = eighths(32 * width)
    layers = [conv_norm(inputs, 3, stride=2, activation=jax.nn.relu6)]
    for expansion, outputs, blocks, stride in stages:
        outputs = eighths(outputs * width)
        for block in range(blocks):
            layers.append(_block(inputs, expansion, outputs, stride if block == 0 else 1))
            inputs = outputs
    layers.append(conv_norm(eighths(1280 * max(width, 1.0)), 1, activation=jax.nn.relu6))

    def head(num_classes: int) -> Mapping[str, Any]:
        return {"classifier": numbered(Dropout(dropout), Dense(num_classes, kernel_init=Normal(0.01)))}

    return ending({"features": numbered(*layers)}, head, num_classes=num_classes, upto=upto)


def _block(inputs: int, expansion: int, outputs: int, stride: int) -> Layer:
    """Table 1 of the paper: `inputs` channels to expansion * inputs, then to `outputs`."""
    expand = [conv_norm(inputs * expansion, 1, activation=jax.nn.relu6)] if expansion != 1 else []
    depthwise = conv_norm(None, 3, stride=stride, activation=jax.nn.relu6)
    project = [Conv(outputs, 1, bias=False, kernel_init=FAN_OUT), BatchNorm()]
    return inverted_residual(
        numbered(*expand, depthwise, *project), adds=stride == 1 and inputs == outputs, name="conv"
    )
