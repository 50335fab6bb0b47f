"""EfficientNet B0 to B7: one architecture scaled in width, depth and image size."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from jaxconv.layers import BatchNorm, Dense, Dropout, DropPath, SqueezeExcite
from jaxconv.layers.initializers import VarianceScaling
from jaxconv.layers.layer import Layer
from jaxconv.models._inverted_residual import FAN_OUT, Norm, conv_norm, eighths, inverted_residual
from jaxconv.models._stages import ending, numbered

__all__ = [
    "efficientnet", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4",
    "efficientnet_b5", "efficientnet_b6", "efficientnet_b7",
]  # fmt: skip

# Table 1 of the paper: expansion, kernel size, output channels, blocks, stride of the first block.
STAGES = (
    (1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1), (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)  # fmt: skip


def efficientnet(
    num_classes: int = 1000,
    *,
    width: float = 1.0,
    depth: float = 1.0,
    dropout: float = 0.2,
    drop_path: float = 0.2,
    momentum: float = 0.9,
    eps: float = 1e-5,
    stages: Sequence[tuple[int, int, int, int, int]] = STAGES,
    upto: str | None = None,
) -> Layer:
    """EfficientNet of any width and depth.

    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019), with
    torchvision's part names: `features/0` (stem), `features/1` … `features/7` (stages, their blocks "0",
    "1", …), `features/8`, `classifier`.

    Args:
      num_classes: units of the last layer; 0 for pooled features, [N, C].
      width: width multiplier of every number of channels.
      depth: depth multiplier of every number of blocks, rounded up.
      dropout: dropout rate before the last layer.
      drop_path: stochastic depth: the rates grow linearly from 0 at the first block towards this one.
      momentum, eps: arguments of the batch norms.
      stages: expansion, kernel size, output channels, blocks and first stride of each stage.
      upto: path of the last part, for a backbone ("features/5": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes].

    Raises:
      ShapeError: if an argument is invalid, or no part has the path `upto`.

    >>> net = efficientnet(10, stages=STAGES[:2], upto="features/2")
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 32, 32, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 32, 32, 3), "float32"))[0].shape
    (1, 8, 8, 24)
    """
    norm = functools.partial(BatchNorm, momentum=momentum, eps=eps)
    inputs = eighths(32 * width)
    layers = [conv_norm(inputs, 3, stride=2, activation=jax.nn.silu, norm=norm)]
    counts = [math.ceil(blocks * depth) for *_, blocks, _ in stages]
    number = 0
    for (expansion, kernel, outputs, _, stride), blocks in zip(stages, counts, strict=True):
        stage = []
        for block in range(blocks):
            drop = DropPath(drop_path * number / sum(counts))
            step = stride if block == 0 else 1
            stage.append(_block(inputs, expansion, kernel, eighths(outputs * width), step, drop, norm))
            inputs, number = eighths(outputs * width), number + 1
        layers.append(numbered(*stage))
    layers.append(conv_norm(4 * inputs, 1, activation=jax.nn.silu, norm=norm))

    def head(num_classes: int) -> Mapping[str, Any]:
        uniform = VarianceScaling(1 / 3, "out", normal=False)  # within ±1 / sqrt(num_classes)
        return {"classifier": numbered(Dropout(dropout), Dense(num_classes, kernel_init=uniform))}

    return ending({"features": numbered(*layers)}, head, num_classes=num_classes, upto=upto)


def _block(inputs: int, expansion: int, kernel: int, outputs: int, stride: int, drop: Layer, norm: Norm) -> Layer:
    """MBConv: 1×1 expansion, depthwise, squeeze-and-excitation (a quarter of the inputs), 1×1 projection."""
    expanded = eighths(inputs * expansion)
    wide = [conv_norm(expanded, 1, activation=jax.nn.silu, norm=norm)] if expanded != inputs else []
    depthwise = conv_norm(None, kernel, stride=stride, activation=jax.nn.silu, norm=norm)
    excite = SqueezeExcite(expanded, max(1, inputs // 4), activation=jax.nn.silu, kernel_init=FAN_OUT)
    body = numbered(*wide, depthwise, excite, conv_norm(outputs, 1, norm=norm))
    return inverted_residual(body, adds=stride == 1 and inputs == outputs, drop=drop)


def _scaled(
    name: str, width: float, depth: float, dropout: float, size: int, momentum: float = 0.9, eps: float = 1e-5
) -> Callable[..., Layer]:
    """The function of one variant: its width, depth and dropout, for images of `size`."""
    rate, small = dropout, eps

    def build(
        num_classes: int = 1000,
        *,
        dropout: float = rate,
        drop_path: float = 0.2,
        eps: float = small,
        upto: str | None = None,
    ) -> Layer:
        return efficientnet(
            num_classes, width=width, depth=depth, dropout=dropout, drop_path=drop_path, momentum=momentum, eps=eps,
            upto=upto,
        )  # fmt: skip

    build.__name__ = build.__qualname__ = f"efficientnet_{name.lower()}"
    build.__doc__ = f"""EfficientNet-{name}: {width} times B0's width, {depth} times its depth, images of {size}×{size}.

    Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019); see
    `efficientnet` for the part names.

    Args:
      num_classes: units of the last layer; 0 for pooled features, [N, C].
      dropout: dropout rate before the last layer.
      drop_path: stochastic depth: the rates grow linearly from 0 at the first block towards this one.
      eps: eps of the batch norms, torchvision's by default; timm's weights were trained with 1e-5.
      upto: path of the last part, for a backbone ("features/5": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes].

    Raises:
      ShapeError: if an argument is invalid, or no part has the path `upto`.

    >>> list({build.__name__}(num_classes=0).parts)
    ['features', 'avgpool']
    """
    return build


# The norms of the three largest have momentum 0.99, as in the paper's code.
efficientnet_b0 = _scaled("B0", 1.0, 1.0, 0.2, 224)
efficientnet_b1 = _scaled("B1", 1.0, 1.1, 0.2, 240)
efficientnet_b2 = _scaled("B2", 1.1, 1.2, 0.3, 260)
efficientnet_b3 = _scaled("B3", 1.2, 1.4, 0.3, 300)
efficientnet_b4 = _scaled("B4", 1.4, 1.8, 0.4, 380)
efficientnet_b5 = _scaled("B5", 1.6, 2.2, 0.4, 456, momentum=0.99, eps=1e-3)
efficientnet_b6 = _scaled("B6", 1.8, 2.6, 0.5, 528, momentum=0.99, eps=1e-3)
efficientnet_b7 = _scaled("B7", 2.0, 3.1, 0.5, 600, momentum=0.99, eps=1e-3)
