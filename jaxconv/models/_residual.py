"""Small residual network for small images, with early pooling for fast training."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from jaxconv.layers import BatchNorm, Conv, Dense, MaxPool, chain, residual
from jaxconv.layers.initializers import he_normal
from jaxconv.layers.layer import Layer, Part, lift
from jaxconv.ops import global_max_pool

__all__ = ["small_residual"]


def small_residual(
    num_classes: int = 10,
    stem: int = 64,
    features: Sequence[int] = (128, 256),
    blocks: Sequence[int] = (1, 1),
    scale: float = 0.125,
) -> Layer:
    """Stages of a 3×3 convolution, pooled before its norm, and residual 3×3 convolutions.

    After the fastest networks on CIFAR-10: Page, "How to train your ResNet" (2018), and Jordan, "94% on CIFAR-10 in
    3.29 seconds on a single GPU" (2024). Pooling precedes norm and ReLU to reduce memory traffic. Feature maps are
    16×16, 8×8 and 4×4 for 32×32 images.

    Args:
      num_classes: units of the last layer, `head`.
      stem: output channels of the first convolution.
      features: output channels of each stage; a stage halves height and width.
      blocks: number of residual convolutions in each stage.
      scale: factor of the logits, which lowers the effective learning rate of the head.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes].

    >>> net = small_residual(stem=8, features=[16, 32], blocks=[1, 2])
    >>> params, state = net.init(jax.random.key(0), (1, 32, 32, 3))
    >>> list(params)
    ['stem', 'stage0', 'stage1', 'global_max_pool0', 'head', 'scaled']
    >>> params["stage1"]["residual1"]["body"]["conv0"]["kernel"].shape
    (3, 3, 32, 32)
    """
    if len(features) != len(blocks):
        raise ValueError(f"features and blocks must have one entry for each stage, got {features} and {blocks}")

    def conv(count: int) -> Layer:
        return Conv(count, 3, padding="same", bias=False, kernel_init=he_normal)

    def pooled(count: int) -> list[Part]:
        return [conv(count), MaxPool(2), BatchNorm(), jax.nn.relu]

    def block(count: int) -> Layer:
        return residual(chain(conv(count), BatchNorm(), jax.nn.relu))

    stages = {
        f"stage{number}": chain(*pooled(count), *(block(count) for _ in range(repeats)))
        for number, (count, repeats) in enumerate(zip(features, blocks, strict=True))
    }

    def scaled(x: jax.Array) -> jax.Array:
        return x * scale

    parts = {"stem": chain(*pooled(stem)), **stages, "global_max_pool0": lift(global_max_pool)}
    return chain(**parts, head=Dense(num_classes, bias=False), scaled=scaled)
