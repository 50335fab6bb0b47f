"""DenseNet: every layer of a block takes the outputs of all layers before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv.layers import AvgPool, BatchNorm, Conv, Dense, Dropout, MaxPool, chain
from jaxconv.layers.composition import compose
from jaxconv.layers.initializers import he_normal
from jaxconv.layers.layer import Layer
from jaxconv.models._stages import ending

__all__ = ["densenet", "densenet121", "densenet161", "densenet169", "densenet201"]

# Table 1 of the paper: layers in each block.
BLOCKS = {121: (6, 12, 24, 16), 161: (6, 12, 36, 24), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}


def conv(features: int, size: int) -> Layer:
    """Convolution with "same" padding and no bias: the norm before the next one has the offset."""
    return Conv(features, size, padding=size // 2, bias=False, kernel_init=he_normal)


def dense_layer(growth: int, bottleneck: int, dropout: float) -> Layer:
    """`growth` new channels from all before: 1×1 to `bottleneck * growth`, then 3×3."""
    last = {"dropout": Dropout(dropout)} if dropout else {}
    return chain(
        norm1=BatchNorm(), relu1=jax.nn.relu, conv1=conv(bottleneck * growth, 1),
        norm2=BatchNorm(), relu2=jax.nn.relu, conv2=conv(growth, 3), **last,
    )  # fmt: skip


def dense_block(layers: Sequence[Layer]) -> Layer:
    """x and every layer's output, concatenated along channels; a layer's input is x and all outputs before it.

    >>> net = dense_block([chain(jnp.sin), chain(jnp.cos)])
    >>> empty = {"denselayer1": {"sin0": {}}, "denselayer2": {"cos0": {}}}
    >>> net.apply(empty, empty, jnp.zeros((1, 1)))[0]  # 0, sin 0, and the cosine of both
    Array([[0., 0., 1., 1.]], dtype=float32)
    """
    parts = {f"denselayer{n}": layer for n, layer in enumerate(layers, 1)}

    def flow(call: Callable[..., Any], x: Any) -> Any:
        for name in parts:
            x = jnp.concatenate([x, call(name, x)], axis=-1)
        return x

    return compose("dense_block", parts, flow)


def densenet(
    num_classes: int = 1000,
    *,
    blocks: Sequence[int] = BLOCKS[121],
    growth: int = 32,
    stem: int = 64,
    bottleneck: int = 4,
    dropout: float = 0.0,
    upto: str | None = None,
) -> Layer:
    """DenseNet-BC for images of about 224×224: dense blocks, with transitions that halve channels and size.

    Args:
      num_classes: units of `classifier`; 0 for pooled features, [N, C].
      blocks: layers in each dense block.
      growth: channels that each layer adds (growth rate, the paper's k).
      stem: output channels of the first convolution, 2k in the paper.
      bottleneck: output channels of a layer's 1×1 convolution, in units of `growth`.
      dropout: dropout rate after each layer.
      upto: path of the last part, for a backbone ("features/denseblock3"); None for the complete net.

    Returns:
      Layer: [N, H, W, C] of at least 29 pixels a side (for four blocks) to [N, num_classes].

    Raises:
      ShapeError: if a block has no layers, the image is too small, `num_classes` is not an int ≥ 0, or no part has the
        path `upto`.

    Source: Huang et al., Densely Connected Convolutional Networks, 2016.

    >>> net = densenet(blocks=(2, 2), growth=4, stem=8, upto="features/transition1")
    >>> params, _ = jax.eval_shape(lambda key: net.init(key, (1, 32, 32, 3)), jax.random.key(0))
    >>> params["features"]["transition1"]["conv"]["kernel"].shape  # 8 + 2 * 4 channels, halved
    (1, 1, 16, 8)
    """
    channels = geometry.integer(stem, "stem")
    first = Conv(stem, 7, stride=2, padding=3, bias=False, kernel_init=he_normal)
    body: dict[str, Any] = {"conv0": first, "norm0": BatchNorm(), "relu0": jax.nn.relu}
    body["pool0"] = MaxPool(3, stride=2, padding=1)
    for n, count in enumerate(blocks, 1):
        layers = [dense_layer(growth, bottleneck, dropout) for _ in range(geometry.integer(count, "blocks"))]
        body[f"denseblock{n}"] = dense_block(layers)
        channels += count * growth
        if n < len(blocks):
            channels //= 2
            body[f"transition{n}"] = chain(norm=BatchNorm(), relu=jax.nn.relu, conv=conv(channels, 1), pool=AvgPool(2))
    body["norm5"] = BatchNorm()
    parts = {"features": chain(**body), "relu": jax.nn.relu}
    return ending(parts, lambda num_classes: {"classifier": Dense(num_classes)}, num_classes=num_classes, upto=upto)


def densenet121(num_classes: int = 1000, *, dropout: float = 0.0, upto: str | None = None) -> Layer:
    """DenseNet-121: 6, 12, 24 and 16 layers of growth rate 32. Arguments as in `densenet`.

    >>> len(densenet121().parts["features"].parts["denseblock3"].parts)
    24
    """
    return densenet(num_classes, blocks=BLOCKS[121], dropout=dropout, upto=upto)


def densenet161(num_classes: int = 1000, *, dropout: float = 0.0, upto: str | None = None) -> Layer:
    """DenseNet-161: 6, 12, 36 and 24 layers of growth rate 48. Arguments as in `densenet`.

    >>> len(densenet161().parts["features"].parts["denseblock3"].parts)
    36
    """
    return densenet(num_classes, blocks=BLOCKS[161], growth=48, stem=96, dropout=dropout, upto=upto)


def densenet169(num_classes: int = 1000, *, dropout: float = 0.0, upto: str | None = None) -> Layer:
    """DenseNet-169: 6, 12, 32 and 32 layers of growth rate 32. Arguments as in `densenet`.

    >>> len(densenet169().parts["features"].parts["denseblock3"].parts)
    32
    """
    return densenet(num_classes, blocks=BLOCKS[169], dropout=dropout, upto=upto)


def densenet201(num_classes: int = 1000, *, dropout: float = 0.0, upto: str | None = None) -> Layer:
    """DenseNet-201: 6, 12, 48 and 32 layers of growth rate 32. Arguments as in `densenet`.

    >>> len(densenet201().parts["features"].parts["denseblock3"].parts)
    48
    """
    return densenet(num_classes, blocks=BLOCKS[201], dropout=dropout, upto=upto)
