"""EfficientNet: one small net, and seven more that are wider, deeper and see larger images by one rule."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from jaxconv.layers import BatchNorm, Dense, Dropout, DropPath
from jaxconv.layers.initializers import VarianceScaling
from jaxconv.layers.layer import Layer
from jaxconv.models._inverted_residual import Norm, conv_norm, eighths, inverted_residual, squeeze_excite
from jaxconv.models._stages import ending, numbered

__all__ = [
    "efficientnet", "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4",
    "efficientnet_b5", "efficientnet_b6", "efficientnet_b7",
]  # fmt: skip

# Table 1 of the paper: expansion, kernel, maps, blocks, stride of the first.
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
    torchvision's names of parts: `features/0` (stem), `features/1` … `features/7` (stages, their blocks "0",
    "1", …), `features/8`, `classifier`.

    Args:
      num_classes: units of the last layer; 0 for the net without it, which gives the mean of each map.
      width: what every number of maps is multiplied by.
      depth: what every number of blocks is multiplied by, and rounded up.
      dropout: share of values dropped before the last layer while training.
      drop_path: share of examples whose last block would be dropped while training; it grows linearly from 0 at
        the first block.
      momentum, eps: of the batch norms.
      stages: expansion, kernel, maps, blocks and first stride of each stage.
      upto: path of the last part, for a backbone ("features/5": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes].

    Raises:
      ShapeError: numbers that cannot be, or a path that is not there.

    >>> net = efficientnet(10, stages=STAGES[:2], upto="features/2")
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 32, 32, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 32, 32, 3), "float32"))[0].shape
    (1, 8, 8, 24)
    """
    norm = functools.partial(BatchNorm, momentum=momentum, eps=eps)
    came = eighths(32 * width)
    layers = [conv_norm(came, 3, stride=2, activation=jax.nn.silu, norm=norm)]
    counts = [math.ceil(blocks * depth) for *_, blocks, _ in stages]
    number = 0
    for (expansion, kernel, maps, _, stride), blocks in zip(stages, counts, strict=True):
        stage = []
        for block in range(blocks):
            drop = DropPath(drop_path * number / sum(counts))
            step = stride if block == 0 else 1
            stage.append(_block(came, expansion, kernel, eighths(maps * width), step, drop, norm))
            came, number = eighths(maps * width), number + 1
        layers.append(numbered(*stage))
    layers.append(conv_norm(4 * came, 1, activation=jax.nn.silu, norm=norm))

    def head(num_classes: int) -> Mapping[str, Any]:
        start = VarianceScaling(1 / 3, "out", normal=False)  # uniform in ±1 / sqrt(classes)
        return {"classifier": numbered(Dropout(dropout), Dense(num_classes, kernel_init=start))}

    return ending({"features": numbered(*layers)}, head, num_classes=num_classes, upto=upto)


def _block(came: int, expansion: int, kernel: int, maps: int, stride: int, drop: Layer, norm: Norm) -> Layer:
    """MBConv: wide, depthwise, squeeze and excitation by a quarter of what came, narrow."""
    expanded = eighths(came * expansion)
    wide = [conv_norm(expanded, 1, activation=jax.nn.silu, norm=norm)] if expanded != came else []
    depthwise = conv_norm(None, kernel, stride=stride, activation=jax.nn.silu, norm=norm)
    excite = squeeze_excite(expanded, max(1, came // 4), jax.nn.silu, jax.nn.sigmoid)
    body = numbered(*wide, depthwise, excite, conv_norm(maps, 1, norm=norm))
    return inverted_residual(body, adds=stride == 1 and came == maps, drop=drop)


def _scaled(
    name: str, width: float, depth: float, dropout: float, size: int, momentum: float = 0.9, eps: float = 1e-5
) -> Callable[..., Layer]:
    """The function of one net of the family: width, depth and dropout, for images of `size`."""
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
    `efficientnet` for the names of its parts.

    Args:
      num_classes: units of the last layer; 0 for the net without it, which gives the mean of each map.
      dropout: share of values dropped before the last layer while training.
      drop_path: share of examples whose last block would be dropped while training; it grows from 0 at the first.
      eps: of the batch norms, as torchvision's; timm's weights were trained with 1e-5.
      upto: path of the last part, for a backbone ("features/5": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes].

    Raises:
      ShapeError: numbers that cannot be, or a path that is not there.

    >>> list({build.__name__}(num_classes=0).parts)
    ['features', 'avgpool']
    """
    return build


# The norms of the three largest keep 99 % of the running statistics at a step, as the paper's code does.
efficientnet_b0 = _scaled("B0", 1.0, 1.0, 0.2, 224)
efficientnet_b1 = _scaled("B1", 1.0, 1.1, 0.2, 240)
efficientnet_b2 = _scaled("B2", 1.1, 1.2, 0.3, 260)
efficientnet_b3 = _scaled("B3", 1.2, 1.4, 0.3, 300)
efficientnet_b4 = _scaled("B4", 1.4, 1.8, 0.4, 380)
efficientnet_b5 = _scaled("B5", 1.6, 2.2, 0.4, 456, momentum=0.99, eps=1e-3)
efficientnet_b6 = _scaled("B6", 1.8, 2.6, 0.5, 528, momentum=0.99, eps=1e-3)
efficientnet_b7 = _scaled("B7", 2.0, 3.1, 0.5, 600, momentum=0.99, eps=1e-3)
