"""VGG: 3×3 convolutions and 2×2 pools, then three dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from jaxconv.layers import AdaptiveAvgPool, BatchNorm, Conv, Dense, Dropout, MaxPool
from jaxconv.layers.initializers import Normal, VarianceScaling
from jaxconv.layers.layer import Layer
from jaxconv.models._stages import ending, numbered
from jaxconv.ops import flatten

__all__ = ["vgg", "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"]

# Table 1 of the paper, columns A, B, D and E, by depth: number of convolutions before each pool.
CONVS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
HE = VarianceScaling(2, "out")
SMALL = Normal(0.01)


def vgg(
    num_classes: int = 1000,
    *,
    convs: Sequence[int] = CONVS[16],
    batch_norm: bool = False,
    width: int = 64,
    hidden: int = 4096,
    dropout: float = 0.5,
    upto: str | None = None,
) -> Layer:
    """3×3 convolutions in five stages with a 2×2 pool after each, then three dense layers.

    Args:
      num_classes: units of the last layer, `classifier/6`; 0 for pooled features, [N, C], without dense layers
        (upto="classifier/4" returns the last hidden units).
      convs: number of convolutions in each stage.
      batch_norm: whether a batch norm follows each convolution; convolutions keep their bias, as in torchvision.
      width: output channels of the first stage; each stage doubles them, up to 8 times as many.
      hidden: units of the two dense layers before the last.
      dropout: dropout rate of these units.
      upto: path of the last part, for a backbone ("features/22"); None for the complete net.

    Returns:
      Layer: [N, H, W, C] of at least 2**stages pixels a side to [N, num_classes]. Adaptive average
      pooling to 7×7 admits image sizes other than 224×224.

    Raises:
      ShapeError: if the image is too small, `num_classes` is not an int ≥ 0, or no part has the path `upto`.

    Source: Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014.

    >>> [getattr(part, "name", "relu") for part in vgg(convs=(1, 2), width=8).parts["features"].parts.values()]
    ['conv', 'relu', 'max_pool', 'conv', 'relu', 'conv', 'relu', 'max_pool']
    """
    body: list[Any] = []
    for stage, count in enumerate(convs):
        for _ in range(count):
            body += [Conv(width * min(2**stage, 8), 3, padding=1, kernel_init=HE)]
            body += [BatchNorm()] if batch_norm else []
            body += [jax.nn.relu]
        body += [MaxPool(2)]

    def head(num_classes: int) -> dict[str, Any]:
        def unit() -> list[Any]:
            return [Dense(hidden, kernel_init=SMALL), jax.nn.relu, Dropout(dropout)]

        return {"flatten": flatten, "classifier": numbered(*unit(), *unit(), Dense(num_classes, kernel_init=SMALL))}

    pool = AdaptiveAvgPool(7)
    return ending({"features": numbered(*body)}, head, num_classes=num_classes, upto=upto, pool=pool)


def vgg11(num_classes: int = 1000, *, dropout: float = 0.5, upto: str | None = None) -> Layer:
    """VGG with 11 layers, column A of the paper. Arguments as in `vgg`.

    >>> len(vgg11().parts["features"].parts)
    21
    """
    return vgg(num_classes, convs=CONVS[11], dropout=dropout, upto=upto)


def vgg11_bn(num_classes: int = 1000, *, dropout: float = 0.5, upto: str | None = None) -> Layer:
    """VGG with 11 layers and batch norm. Arguments as in `vgg`.

    >>> len(vgg11_bn().parts["features"].parts)
    29
    """
    return vgg(num_classes, convs=CONVS[11], batch_norm=True, dropout=dropout, upto=upto)


def vgg13(num_classes: int = 1000, *, dropout: float = 0.5, upto: str | None = None) -> Layer:
    """VGG with 13 layers, column B of the paper. Arguments as in `vgg`.

    >>> len(vgg13().parts["features"].parts)
    25
    """
    return vgg(num_classes, convs=CONVS[13], dropout=dropout, upto=upto)


def vgg13_bn(num_classes: int = 1000, *, dropout: float = 0.5, upto: str | None = None) -> Layer:
    """VGG with 13 layers and batch norm. Arguments as in `vgg`.

    >>> len(vgg13_bn().parts["features"].parts)
    35
    """
    return vgg(num_classes, convs=CONVS[13], batch_norm=True, dropout=dropout, upto=upto)


def vgg16(num_classes: int = 1000, *, dropout: float = 0.5, upto: str | None = None) -> Layer:
    """VGG with 16 layers, column D of the paper. Arguments as in `vgg`.

    >>> len(vgg16().parts["features"].parts)
    31
    """
    return vgg(num_classes, convs=CONVS[16], dropout=dropout, upto=upto)


def vgg16_bn(num_classes: int = 1000, *, dropout: float = 0.5, upto: str | None = None) -> Layer:
    """VGG with 16 layers and batch norm. Arguments as in `vgg`.

    >>> len(vgg16_bn().parts["features"].parts)
    44
    """
    return vgg(num_classes, convs=CONVS[16], batch_norm=True, dropout=dropout, upto=upto)


def vgg19(num_classes: int = 1000, *, dropout: float = 0.5, upto: str | None = None) -> Layer:
    """VGG with 19 layers, column E of the paper. Arguments as in `vgg`.

    >>> len(vgg19().parts["features"].parts)
    37
    """
    return vgg(num_classes, convs=CONVS[19], dropout=dropout, upto=upto)


def vgg19_bn(num_classes: int = 1000, *, dropout: float = 0.5, upto: str | None = None) -> Layer:
    """VGG with 19 layers and batch norm. Arguments as in `vgg`.

    >>> len(vgg19_bn().parts["features"].parts)
    53
    """
    return vgg(num_classes, convs=CONVS[19], batch_norm=True, dropout=dropout, upto=upto)
