"""MobileNetV2: residuals between narrow maps, with wide depthwise convolutions inside."""

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

# Table 2 of the paper: expansion t, maps c, blocks n, stride s of the first.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def mobilenet_v2(
    num_classes: int = 1000,
    *,
    width: float = 1.0,
    dropout: float = 0.2,
    stages: Sequence[tuple[int, int, int, int]] = STAGES,
    upto: str | None = None,
) -> Layer:
    """Inverted residuals: 1×1 to more maps, 3×3 on each by itself, 1×1 to few again with no activation.

    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018), with torchvision's names
    of parts: `features/0` (stem), `features/1` … `features/17` (blocks), `features/18`, `classifier`.

    Args:
      num_classes: units of the last layer; 0 for the net without it, which gives the mean of each map.
      width: what every number of maps is multiplied by; the last layer before the head has no fewer than 1280.
      dropout: share of values dropped before the last layer while training.
      stages: expansion, maps, blocks and first stride of each stage.
      upto: path of the last part, for a backbone ("features/13": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes].

    Raises:
      ShapeError: numbers that cannot be, or a path that is not there.

    >>> net = mobilenet_v2(upto="features/13")
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 96, 96, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 96, 96, 3), "float32"))[0].shape
    (1, 6, 6, 96)
    """
    came = eighths(32 * width)
    layers = [conv_norm(came, 3, stride=2, activation=jax.nn.relu6)]
    for expansion, maps, blocks, stride in stages:
        maps = eighths(maps * width)
        for block in range(blocks):
            layers.append(_block(came, expansion, maps, stride if block == 0 else 1))
            came = maps
    layers.append(conv_norm(eighths(1280 * max(width, 1.0)), 1, activation=jax.nn.relu6))

    def head(num_classes: int) -> Mapping[str, Any]:
        return {"classifier": numbered(Dropout(dropout), Dense(num_classes, kernel_init=Normal(0.01)))}

    return ending({"features": numbered(*layers)}, head, num_classes=num_classes, upto=upto)


def _block(came: int, expansion: int, maps: int, stride: int) -> Layer:
    """One line of table 1: `came` maps become expansion * came, and then `maps`."""
    wide = [conv_norm(came * expansion, 1, activation=jax.nn.relu6)] if expansion != 1 else []
    depthwise = conv_norm(None, 3, stride=stride, activation=jax.nn.relu6)
    narrow = [Conv(maps, 1, bias=False, kernel_init=FAN_OUT), BatchNorm()]
    return inverted_residual(numbered(*wide, depthwise, *narrow), adds=stride == 1 and came == maps, name="conv")
