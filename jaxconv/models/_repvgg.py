"""RepVGG: 3×3 convolutions with parallel branches in training, and without them in inference."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from jaxconv import geometry
from jaxconv._base.errors import ShapeError
from jaxconv.layers import BatchNorm, Dense, branch, chain
from jaxconv.layers.layer import Layer
from jaxconv.models._resnet import conv
from jaxconv.models._stages import ending, numbered

__all__ = ["repvgg", "repvgg_a0", "repvgg_a1", "repvgg_a2", "repvgg_b0", "repvgg_b1", "repvgg_b2", "repvgg_b3"]

# Table 2 of the paper: blocks in each stage of its two series.
A, B = (2, 4, 14, 1), (4, 6, 16, 1)


def repvgg(
    num_classes: int = 1000,
    *,
    blocks: Sequence[int] = A,
    widths: Sequence[int] = (48, 96, 192, 1280),
    upto: str | None = None,
) -> Layer:
    """VGG-like net of blocks relu(norm(3×3) + norm(1×1) + norm(x)); `jaxconv.reparameterize` makes each one 3×3.

    Args:
      num_classes: units of `head/fc`; 0 for pooled features, [N, C].
      blocks: blocks in each stage, `stages/0`, `stages/1`, …; all stages halve height and width, as `stem` does.
      widths: channels of each stage; the stem has those of the first, at most 64.
      upto: path of the last part, for a backbone ("stages/2": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] of any size and number of channels to [N, num_classes].

    Raises:
      ShapeError: if a stage has no blocks, blocks and widths are of different lengths, `num_classes` is not an int ≥ 0,
        or no part has the path `upto`.

    Source: Ding et al., RepVGG: Making VGG-style ConvNets Great Again, 2021.

    >>> list(repvgg(blocks=(1, 2), widths=(8, 16)).parts["stages"].parts["1"].parts["1"].parts["branches"].parts)
    ['conv_kxk', 'conv_1x1', 'identity']
    """
    if len(blocks) != len(widths):
        raise ShapeError("blocks and widths must have one number for each stage", got=f"{blocks=}, {widths=}")
    inputs = min(64, widths[0])
    stem, stages = _block(inputs, 2, 0), []
    for count, features in zip(blocks, widths, strict=True):
        rest = [_block(features, 1, features) for _ in range(geometry.integer(count, "blocks") - 1)]
        stages.append(numbered(_block(features, 2, inputs), *rest))
        inputs = features
    body = {"stem": stem, "stages": numbered(*stages)}
    return ending(body, lambda classes: {"head": chain(fc=Dense(classes))}, num_classes=num_classes, upto=upto)


def _block(features: int, stride: int, inputs: int) -> Layer:
    """relu of the sum of the branches, of which the input itself is one if it has the shape of the output."""

    def normed(size: int) -> Layer:
        return chain(conv=conv(features, size, stride), bn=BatchNorm())

    same = {"identity": BatchNorm()} if (stride, inputs) == (1, features) else {}
    return chain(branches=branch(conv_kxk=normed(3), conv_1x1=normed(1), **same, merge="sum"), act=jax.nn.relu)


def _scaled(early: float, last: float) -> tuple[int, ...]:
    """Channels of the stages: 64, 128 and 256 times a factor, and 512 times another."""
    return int(64 * early), int(128 * early), int(256 * early), int(512 * last)


def repvgg_a0(num_classes: int = 1000, *, upto: str | None = None) -> Layer:
    """RepVGG-A0: 22 layers, stages of 48, 96, 192 and 1,280 channels. Arguments as in `repvgg`.

    >>> len(repvgg_a0().parts["stages"].parts["2"].parts)
    14
    """
    return repvgg(num_classes, blocks=A, widths=_scaled(0.75, 2.5), upto=upto)


def repvgg_a1(num_classes: int = 1000, *, upto: str | None = None) -> Layer:
    """RepVGG-A1: 22 layers, stages of 64, 128, 256 and 1,280 channels. Arguments as in `repvgg`.

    >>> len(repvgg_a1().parts["stages"].parts["2"].parts)
    14
    """
    return repvgg(num_classes, blocks=A, widths=_scaled(1, 2.5), upto=upto)


def repvgg_a2(num_classes: int = 1000, *, upto: str | None = None) -> Layer:
    """RepVGG-A2: 22 layers, stages of 96, 192, 384 and 1,408 channels. Arguments as in `repvgg`.

    >>> len(repvgg_a2().parts["stages"].parts["2"].parts)
    14
    """
    return repvgg(num_classes, blocks=A, widths=_scaled(1.5, 2.75), upto=upto)


def repvgg_b0(num_classes: int = 1000, *, upto: str | None = None) -> Layer:
    """RepVGG-B0: 28 layers, stages of 64, 128, 256 and 1,280 channels. Arguments as in `repvgg`.

    >>> len(repvgg_b0().parts["stages"].parts["2"].parts)
    16
    """
    return repvgg(num_classes, blocks=B, widths=_scaled(1, 2.5), upto=upto)


def repvgg_b1(num_classes: int = 1000, *, upto: str | None = None) -> Layer:
    """RepVGG-B1: 28 layers, stages of 128, 256, 512 and 2,048 channels. Arguments as in `repvgg`.

    >>> len(repvgg_b1().parts["stages"].parts["2"].parts)
    16
    """
    return repvgg(num_classes, blocks=B, widths=_scaled(2, 4), upto=upto)


def repvgg_b2(num_classes: int = 1000, *, upto: str | None = None) -> Layer:
    """RepVGG-B2: 28 layers, stages of 160, 320, 640 and 2,560 channels. Arguments as in `repvgg`.

    >>> len(repvgg_b2().parts["stages"].parts["2"].parts)
    16
    """
    return repvgg(num_classes, blocks=B, widths=_scaled(2.5, 5), upto=upto)


def repvgg_b3(num_classes: int = 1000, *, upto: str | None = None) -> Layer:
    """RepVGG-B3: 28 layers, stages of 192, 384, 768 and 2,560 channels. Arguments as in `repvgg`.

    >>> len(repvgg_b3().parts["stages"].parts["2"].parts)
    16
    """
    return repvgg(num_classes, blocks=B, widths=_scaled(3, 5), upto=upto)
