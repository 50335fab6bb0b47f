"""MobileNetV3: inverted residuals with squeeze-and-excitation, found by architecture search."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxconv.layers import BatchNorm, Dense, Dropout, SqueezeExcite
from jaxconv.layers.initializers import Normal
from jaxconv.layers.layer import Layer
from jaxconv.models._inverted_residual import FAN_OUT, Norm, conv_norm, eighths, inverted_residual
from jaxconv.models._stages import dilations, ending, numbered

__all__ = ["mobilenet_v3", "mobilenet_v3_large", "mobilenet_v3_small"]

Row = tuple[int, int, int, bool, str, int]

# Tables 1 and 2 of the paper: kernel size, expanded and output channels, squeeze-and-excitation, activation, stride.
LARGE: tuple[Row, ...] = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hard_swish", 2),
    (3, 200, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 480, 112, True, "hard_swish", 1),
    (3, 672, 112, True, "hard_swish", 1),
    (5, 672, 160, True, "hard_swish", 2),
    (5, 960, 160, True, "hard_swish", 1),
    (5, 960, 160, True, "hard_swish", 1),
)
SMALL: tuple[Row, ...] = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hard_swish", 2),
    (5, 240, 40, True, "hard_swish", 1),
    (5, 240, 40, True, "hard_swish", 1),
    (5, 120, 48, True, "hard_swish", 1),
    (5, 144, 48, True, "hard_swish", 1),
    (5, 288, 96, True, "hard_swish", 2),
    (5, 576, 96, True, "hard_swish", 1),
    (5, 576, 96, True, "hard_swish", 1),
)


def mobilenet_v3(
    rows: Sequence[Row],
    last: int,
    num_classes: int = 1000,
    *,
    width: float = 1.0,
    dropout: float = 0.2,
    eps: float = 1e-3,
    output_stride: int | None = None,
    upto: str | None = None,
) -> Layer:
    """MobileNetV3 of any table of blocks.

    Args:
      rows: kernel size, expanded channels, output channels, whether squeeze-and-excitation, "relu" or "hard_swish",
        stride of each block.
      last: units of the hidden layer of the classifier.
      num_classes: units of the last layer; 0 for pooled features, [N, C], without the classifier.
      width: width multiplier of every number of channels.
      dropout: dropout rate before the last layer.
      eps: eps of the batch norms, torchvision's by default; timm's weights were trained with 1e-5.
      output_stride: largest stride of the maps: blocks beyond it dilate their depthwise convolutions instead, as in
        segmentation (torchvision's dilated=True is 16); None for stride everywhere.
      upto: path of the last part, for a backbone; None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes].

    Raises:
      ShapeError: if an argument is invalid, or no part has the path `upto`.

    >>> sorted(mobilenet_v3(SMALL[:2], 64, num_classes=10).parts)
    ['avgpool', 'classifier', 'features']
    """
    # Momentum as in the paper's code.
    norm = functools.partial(BatchNorm, momentum=0.99, eps=eps)
    inputs = eighths(16 * width)
    layers = [conv_norm(inputs, 3, stride=2, activation=jax.nn.hard_swish, norm=norm)]
    dilated = dilations([2, *(row[-1] for row in rows)], output_stride)[1:]
    for (kernel, expanded, outputs, squeezes, activation, _), (stride, dilation) in zip(rows, dilated, strict=True):
        expanded, outputs = eighths(expanded * width), eighths(outputs * width)
        layers.append(_block(inputs, kernel, expanded, outputs, squeezes, activation, stride, dilation, norm))
        inputs = outputs
    layers.append(conv_norm(6 * inputs, 1, activation=jax.nn.hard_swish, norm=norm))

    def head(num_classes: int) -> Mapping[str, Any]:
        normal = Normal(0.01)
        hidden = Dense(eighths(last * width), kernel_init=normal)
        parts = numbered(hidden, jax.nn.hard_swish, Dropout(dropout), Dense(num_classes, kernel_init=normal))
        return {"classifier": parts}

    return ending({"features": numbered(*layers)}, head, num_classes=num_classes, upto=upto)


def _block(
    inputs: int,
    kernel: int,
    expanded: int,
    outputs: int,
    squeezes: bool,
    activation: str,
    stride: int,
    dilation: int,
    norm: Norm,
) -> Layer:
    """1×1 expansion, depthwise, optional squeeze-and-excitation, 1×1 projection."""
    act = getattr(jax.nn, activation)
    layers = [conv_norm(expanded, 1, activation=act, norm=norm)] if expanded != inputs else []
    layers += [conv_norm(None, kernel, stride=stride, dilation=dilation, activation=act, norm=norm)]
    if squeezes:
        layers += [SqueezeExcite(expanded, eighths(expanded // 4), gate=jax.nn.hard_sigmoid, kernel_init=FAN_OUT)]
    layers += [conv_norm(outputs, 1, norm=norm)]
    return inverted_residual(numbered(*layers), adds=stride == 1 and inputs == outputs)


def mobilenet_v3_large(
    num_classes: int = 1000,
    *,
    width: float = 1.0,
    dropout: float = 0.2,
    eps: float = 1e-3,
    output_stride: int | None = None,
    upto: str | None = None,
) -> Layer:
    """MobileNetV3-Large: 15 blocks, hard swish in the later ones, squeeze-and-excitation in eight.

    Howard et al., "Searching for MobileNetV3" (2019), table 1, with torchvision's part names:
    `features/0` (stem), `features/1` … `features/15` (blocks), `features/16`, `classifier`.

    Args:
      num_classes: units of the last layer; 0 for pooled features, [N, C], without the classifier.
      width: width multiplier of every number of channels.
      dropout: dropout rate before the last layer.
      eps: eps of the batch norms, torchvision's by default; timm's weights were trained with 1e-5.
      output_stride: largest stride of the maps: blocks beyond it dilate their depthwise convolutions instead, as in
        segmentation (torchvision's dilated=True is 16); None for stride everywhere.
      upto: path of the last part, for a backbone ("features/12": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes].

    Raises:
      ShapeError: if an argument is invalid, or no part has the path `upto`.

    >>> net = mobilenet_v3_large(num_classes=0)
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 64, 64, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 64, 64, 3), "float32"))[0].shape
    (1, 960)
    """
    return mobilenet_v3(
        LARGE, 1280, num_classes, width=width, dropout=dropout, eps=eps, output_stride=output_stride, upto=upto
    )


def mobilenet_v3_small(
    num_classes: int = 1000,
    *,
    width: float = 1.0,
    dropout: float = 0.2,
    eps: float = 1e-3,
    output_stride: int | None = None,
    upto: str | None = None,
) -> Layer:
    """MobileNetV3-Small: 11 blocks, the first with stride 2.

    Howard et al., "Searching for MobileNetV3" (2019), table 2, with torchvision's part names:
    `features/0` (stem), `features/1` … `features/11` (blocks), `features/12`, `classifier`.

    Args:
      num_classes: units of the last layer; 0 for pooled features, [N, C], without the classifier.
      width: width multiplier of every number of channels.
      dropout: dropout rate before the last layer.
      eps: eps of the batch norms, torchvision's by default; timm's weights were trained with 1e-5.
      output_stride: largest stride of the maps: blocks beyond it dilate their depthwise convolutions instead, as in
        segmentation (torchvision's dilated=True is 16); None for stride everywhere.
      upto: path of the last part, for a backbone ("features/8": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes].

    Raises:
      ShapeError: if an argument is invalid, or no part has the path `upto`.

    >>> net = mobilenet_v3_small(num_classes=0)
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 64, 64, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 64, 64, 3), "float32"))[0].shape
    (1, 576)
    """
    return mobilenet_v3(
        SMALL, 1024, num_classes, width=width, dropout=dropout, eps=eps, output_stride=output_stride, upto=upto
    )
