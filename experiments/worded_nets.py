"""The nets of `bench_models.py`, each defined once in terms of functions (`words.py`) that every library provides.

Those for 32×32 and for MNIST's 28×28 run in jaxconv, too. Those for photographs are the peers' counterparts of
`jaxconv.models`, with the same parameters, strides, dropout and stochastic depth (torchvision's).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from words import Words

Net = Callable[[Words], Any]


def resnet(w: Words, blocks: Sequence[int], *, bottleneck: bool = False, photographs: bool = False) -> Any:
    """A ResNet; without `photographs` its stem is one 3×3 convolution, no max-pool, for 32×32 (He et al., 2015)."""

    def conv_norm(c_in: int, c_out: int, size: int, stride: int = 1) -> list[Any]:
        return [w.conv(c_in, c_out, size, stride, size // 2, bias=False), w.batch_norm(c_out)]

    def block(c_in: int, c: int, c_out: int, stride: int) -> list[Any]:
        if bottleneck:
            wide = conv_norm(c_in, c, 1), conv_norm(c, c, 3, stride), conv_norm(c, c_out, 1)
        else:
            wide = conv_norm(c_in, c, 3, stride), conv_norm(c, c_out, 3)
        body = [part for unit in wide for part in (*unit, w.relu)][:-1]
        same = (c_in, stride) == (c_out, 1)
        shortcut = None if same else w.chain(*conv_norm(c_in, c_out, 1, stride))
        return [w.residual(w.chain(*body), shortcut), w.relu]

    stem = [*conv_norm(3, 64, 7, 2), w.relu, w.max_pool(3, 2, 1)] if photographs else [*conv_norm(3, 64, 3), w.relu]
    parts, c_in = stem, 64
    for stage, count in enumerate(blocks):
        c = 64 * 2**stage
        c_out = 4 * c if bottleneck else c
        for i in range(count):
            parts += block(c_in, c, c_out, 2 if stage and not i else 1)
            c_in = c_out
    return w.chain(*parts, w.global_pool, w.dense(c_in, 1000 if photographs else 10))


def resnet18(w: Words) -> Any:
    """ResNet-18 for 32×32."""
    return resnet(w, (2, 2, 2, 2))


def mobilenet_v2(w: Words, *, photographs: bool = False) -> Any:
    """MobileNetV2; expansion 1 has no expanding convolution (Sandler et al., 2018).

    For 32×32 the first two strides are 1, and there is no dropout.
    """
    first = 2 if photographs else 1
    table = (
        *((1, 16, 1, 1), (6, 24, 2, first), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    )  # expansion, features, blocks, stride

    def unit(c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1) -> list[Any]:
        conv = w.conv(c_in, c_out, size, stride, size // 2, groups=groups, bias=False)
        return [conv, w.batch_norm(c_out), w.relu6]

    def block(c_in: int, c_out: int, expansion: int, stride: int) -> Any:
        wide = c_in * expansion
        expand = unit(c_in, wide, 1) if expansion > 1 else []
        project = [w.conv(wide, c_out, 1, bias=False), w.batch_norm(c_out)]
        body = w.chain(*expand, *unit(wide, wide, 3, stride, wide), *project)
        return w.residual(body) if (c_in, stride) == (c_out, 1) else body

    parts, c_in = unit(3, 32, 3, first), 32
    for expansion, c_out, blocks, stride in table:
        for i in range(blocks):
            parts.append(block(c_in, c_out, expansion, 1 if i else stride))
            c_in = c_out
    head = [w.dropout(0.2), w.dense(1280, 1000)] if photographs else [w.dense(1280, 10)]
    return w.chain(*parts, *unit(320, 1280, 1), w.global_pool, *head)


def convnext(w: Words) -> Any:
    """A small ConvNeXt: stages of 2 blocks at 96, 192 and 384, without layer scale (Liu et al., 2022)."""

    def block(c: int) -> Any:
        depthwise = w.conv(c, c, 7, 1, 3, groups=c)
        return w.residual(w.chain(depthwise, w.layer_norm(c), w.dense(c, 4 * c), w.gelu, w.dense(4 * c, c)))

    parts = [w.conv(3, 96, 2, 2), w.layer_norm(96), block(96), block(96)]
    for c in (192, 384):
        parts += [w.layer_norm(c // 2), w.conv(c // 2, c, 2, 2), block(c), block(c)]
    return w.chain(*parts, w.global_pool, w.layer_norm(384), w.dense(384, 10))


def convnext_tiny(w: Words) -> Any:
    """ConvNeXt-T: layer scale from 1e-6, stochastic depth that grows to 0.1 (Liu et al., 2022)."""
    widths, depths = (96, 192, 384, 768), (3, 3, 9, 3)

    def block(c: int, rate: float) -> Any:
        mixed = [w.conv(c, c, 7, 1, 3, groups=c), w.layer_norm(c), w.dense(c, 4 * c), w.gelu, w.dense(4 * c, c)]
        return w.residual(w.chain(*mixed, w.layer_scale(c, 1e-6), w.drop_path(rate)))

    parts, number = [w.conv(3, 96, 4, 4), w.layer_norm(96)], 0
    for c, depth in zip(widths, depths, strict=True):
        if number:
            parts += [w.layer_norm(c // 2), w.conv(c // 2, c, 2, 2)]
        parts += [block(c, 0.1 * i / (sum(depths) - 1)) for i in range(number, number + depth)]
        number += depth
    return w.chain(*parts, w.global_pool, w.layer_norm(768), w.dense(768, 1000))


def mnist(w: Words) -> Any:
    """The README's ten lines, less the dropout."""
    first = (w.conv(1, 20, 5), w.relu, w.max_pool(2))
    second = (w.conv(20, 40, 5), w.relu, w.max_pool(2))
    return w.chain(*first, *second, w.flatten, w.dense(640, 100), w.relu, w.dense(100, 10))


SMALL: dict[str, Net] = {net.__name__: net for net in (resnet18, mobilenet_v2, convnext, mnist)}
PHOTOGRAPHS: dict[str, Net] = {  # by "photo_" and the name in jaxconv.models
    "photo_resnet18": functools.partial(resnet, blocks=(2, 2, 2, 2), photographs=True),
    "photo_resnet50": functools.partial(resnet, blocks=(3, 4, 6, 3), bottleneck=True, photographs=True),
    "photo_mobilenet_v2": functools.partial(mobilenet_v2, photographs=True),
    "photo_convnext_tiny": convnext_tiny,
}
