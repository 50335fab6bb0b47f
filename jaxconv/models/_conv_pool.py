"""Nielsen's convolutional network for MNIST: convolution and pooling, then dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import jax

from jaxconv._base.types import PaddingWord
from jaxconv.layers import BatchNorm, Conv, Dense, Dropout, MaxPool, chain
from jaxconv.layers.initializers import glorot_normal, he_normal
from jaxconv.layers.layer import Layer, Part
from jaxconv.ops import flatten

__all__ = ["conv_pool"]


def conv_pool(
    num_classes: int = 10,
    features: Sequence[int] = (20, 40),
    kernel_size: int = 5,
    padding: PaddingWord = "valid",
    hidden: Sequence[int] = (100,),
    dropout: float = 0.0,
    batch_norm: bool = False,
    activation: Literal["relu", "sigmoid"] = "relu",
) -> Layer:
    """Convolution, 2×2 max pooling and activation for each of `features`; then dense layers.

    Nielsen, "Neural Networks and Deep Learning" (2015), chapter 6: 28×28 images go through
    24×24×20, 12×12×20, 8×8×40 and 4×4×40 to 100 units and the logits.

    Args:
      num_classes: units of the last layer, `head`.
      features: output channels of each convolution; empty for dense layers alone.
      kernel_size: side of each square kernel, in pixels.
      padding: "valid", or "same" for small images.
      hidden: units of each dense layer before the head.
      dropout: dropout rate after each hidden layer.
      batch_norm: whether a batch norm follows each convolution.
      activation: nonlinearity after each convolution and hidden layer.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes].

    >>> import jax.numpy as jnp
    >>> net = conv_pool()
    >>> params, state = net.init(jax.random.key(0), (1, 28, 28, 1))
    >>> params["conv0"]["kernel"].shape, params["dense0"]["kernel"].shape
    ((5, 5, 1, 20), (640, 100))
    >>> net.apply(params, state, jnp.zeros([2, 28, 28, 1]))[0].shape
    (2, 10)
    """
    act, kernel_init = {"relu": (jax.nn.relu, he_normal), "sigmoid": (jax.nn.sigmoid, glorot_normal)}[activation]
    parts: list[Part] = []
    for count in features:
        # The norm's offset makes a preceding bias redundant.
        parts += [Conv(count, kernel_size, padding=padding, bias=not batch_norm, kernel_init=kernel_init)]
        parts += [BatchNorm()] if batch_norm else []
        # Both activations are monotonic: pooling first gives the same result and is cheaper.
        parts += [MaxPool(2), act]
    parts += [flatten]
    for units in hidden:
        parts += [Dense(units, kernel_init=kernel_init), act]
        parts += [Dropout(dropout)] if dropout else []
    return chain(*parts, head=Dense(num_classes))
