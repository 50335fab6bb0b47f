"""AlexNet, in its one-tower form."""

from __future__ import annotations

from typing import Any

import jax

from jaxconv.layers import AdaptiveAvgPool, Conv, Dense, Dropout, MaxPool
from jaxconv.layers.initializers import VarianceScaling
from jaxconv.layers.layer import Layer
from jaxconv.models._stages import ending, numbered
from jaxconv.ops import flatten

__all__ = ["alexnet"]

# Output channels, kernel size, stride, padding, whether a pool follows.
CONVS = [(64, 11, 4, 2, True), (192, 5, 1, 2, True), (384, 3, 1, 1, False), (256, 3, 1, 1, False), (256, 3, 1, 1, True)]
UNIFORM = VarianceScaling(1 / 3, "in", normal=False)  # within ±1 / sqrt(fan_in), torch's default


def alexnet(
    num_classes: int = 1000,
    *,
    width: int = 64,
    hidden: int = 4096,
    dropout: float = 0.5,
    upto: str | None = None,
) -> Layer:
    """Five convolutions with overlapping 3×3 pools, then three dense layers, as in torchvision.

    Differs from the 2012 paper: one tower, fewer channels in the first layers, no local response norm.

    Args:
      num_classes: units of the last layer, `classifier/6`; 0 for pooled features, [N, C], without dense layers
        (upto="classifier/5" returns the last hidden units).
      width: output channels of the first convolution; the others have 3, 6, 4 and 4 times as many.
      hidden: units of the two dense layers before the last.
      dropout: dropout rate before each of them.
      upto: path of the last part, for a backbone ("features/12"); None for the complete net.

    Returns:
      Layer: [N, H, W, C] of at least 63 pixels a side to [N, num_classes]. Adaptive
      average pooling to 6×6 admits image sizes other than 224×224.

    Raises:
      ShapeError: if the image is too small, `num_classes` is not an int ≥ 0, or no part has the path `upto`.

    Source: Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, 2012; Krizhevsky,
    One weird trick for parallelizing convolutional neural networks, 2014.

    >>> net = alexnet(upto="features/12")
    >>> params, state = jax.eval_shape(lambda key: net.init(key, (1, 224, 224, 3)), jax.random.key(0))
    >>> params["features"]["0"]["kernel"].shape, params["features"]["10"]["kernel"].shape
    ((11, 11, 3, 64), (3, 3, 256, 256))
    """
    body: list[Any] = []
    for count, size, stride, padding, pooled in CONVS:
        body += [Conv(count * width // 64, size, stride=stride, padding=padding, kernel_init=UNIFORM), jax.nn.relu]
        body += [MaxPool(3, stride=2)] if pooled else []

    def head(num_classes: int) -> dict[str, Any]:
        def unit() -> list[Any]:
            return [Dropout(dropout), Dense(hidden, kernel_init=UNIFORM), jax.nn.relu]

        return {"flatten": flatten, "classifier": numbered(*unit(), *unit(), Dense(num_classes, kernel_init=UNIFORM))}

    pool = AdaptiveAvgPool(6)
    return ending({"features": numbered(*body)}, head, num_classes=num_classes, upto=upto, pool=pool)
