"""ResNet for CIFAR, and Wide ResNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.errors import ShapeError
from jaxconv.layers import BatchNorm, Dense, Dropout, chain
from jaxconv.layers.composition import compose
from jaxconv.layers.layer import Layer, Part
from jaxconv.models._resnet import conv, residual_block
from jaxconv.models._stages import ending, numbered

__all__ = [
    "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet_cifar", "wide_resnet", "wide_resnet16_8",
    "wide_resnet28_10", "wide_resnet40_4",
]  # fmt: skip


def resnet_cifar(
    depth: int = 20,
    num_classes: int = 10,
    *,
    width: int = 16,
    shortcut: Literal["A", "B"] = "A",
    upto: str | None = None,
) -> Layer:
    """ResNet of depth 6n + 2 for 32×32 images: a 3×3 convolution, then three stages of n residual blocks.

    Args:
      depth: number of layers with weights, 6n + 2.
      num_classes: units of `head`; 0 for pooled features, [N, C].
      width: channels of `stem` and `stage1`; `stage2` and `stage3` double them and halve height and width.
      shortcut: for blocks that change the shape: "A" subsamples and pads with zero channels, as in the paper; "B" is
        a 1×1 convolution with a norm.
      upto: path of the last part, for a backbone ("stage2"); None for the complete net.

    Returns:
      Layer: [N, H, W, C] of any size and number of channels to [N, num_classes].

    Raises:
      ShapeError: if depth is not 6n + 2, the shortcut is unknown, `num_classes` is not an int ≥ 0, or no part has the
        path `upto`.

    Source: He et al., Deep Residual Learning for Image Recognition, 2015, section 4.2.

    >>> net = resnet_cifar(20)
    >>> list(net.parts), len(net.parts["stage1"].parts)
    (['stem', 'stage1', 'stage2', 'stage3', 'avgpool', 'head'], 3)
    """
    count = check_depth(depth, 2)
    if shortcut not in ("A", "B"):
        raise ShapeError('shortcut must be "A" or "B"', got=f"{shortcut=}")

    def projection(planes: int) -> Any:
        if shortcut == "B":
            return numbered(conv(planes, 1, 2), BatchNorm())
        return lambda x: sparse_identity(x, planes)

    def stage(planes: int, stride: int) -> Layer:
        first = residual_block(
            conv(planes, 3, stride), conv(planes, 3), shortcut=projection(planes) if stride > 1 else None
        )
        return numbered(first, *(residual_block(conv(planes, 3), conv(planes, 3)) for _ in range(count - 1)))

    body = {
        "stem": chain(conv=conv(width, 3), bn=BatchNorm(), relu=jax.nn.relu),
        "stage1": stage(width, 1),
        "stage2": stage(2 * width, 2),
        "stage3": stage(4 * width, 2),
    }
    return ending(body, lambda num_classes: {"head": Dense(num_classes)}, num_classes=num_classes, upto=upto)


def check_depth(depth: int, more: int) -> int:
    """The n of a depth 6n + more; raises ShapeError if there is none."""
    n, rest = divmod(geometry.integer(depth, "depth") - more, 6)
    if n < 1 or rest:
        below, above = 6 * max(n, 1) + more, 6 * max(n + 1, 1) + more
        near = f"{below}" if n < 1 else f"{below} or {above}"
        raise ShapeError(f"depth must be 6n + {more} for n blocks in each stage", got=f"depth={depth}", fix=near)
    return n


def sparse_identity(x: jax.Array, features: int) -> jax.Array:
    """Option A shortcut: every second pixel of x [N, H, W, C], zero-padded to `features` channels."""
    return jnp.pad(x[:, ::2, ::2], [(0, 0)] * 3 + [(0, features - x.shape[-1])])


def resnet20(num_classes: int = 10, *, upto: str | None = None) -> Layer:
    """The CIFAR ResNet with 3 blocks in each stage. Arguments as in `resnet_cifar`.

    >>> len(resnet20().parts["stage3"].parts)
    3
    """
    return resnet_cifar(20, num_classes, upto=upto)


def resnet32(num_classes: int = 10, *, upto: str | None = None) -> Layer:
    """The CIFAR ResNet with 5 blocks in each stage. Arguments as in `resnet_cifar`.

    >>> len(resnet32().parts["stage3"].parts)
    5
    """
    return resnet_cifar(32, num_classes, upto=upto)


def resnet44(num_classes: int = 10, *, upto: str | None = None) -> Layer:
    """The CIFAR ResNet with 7 blocks in each stage. Arguments as in `resnet_cifar`.

    >>> len(resnet44().parts["stage3"].parts)
    7
    """
    return resnet_cifar(44, num_classes, upto=upto)


def resnet56(num_classes: int = 10, *, upto: str | None = None) -> Layer:
    """The CIFAR ResNet with 9 blocks in each stage. Arguments as in `resnet_cifar`.

    >>> len(resnet56().parts["stage3"].parts)
    9
    """
    return resnet_cifar(56, num_classes, upto=upto)


def resnet110(num_classes: int = 10, *, upto: str | None = None) -> Layer:
    """The CIFAR ResNet with 18 blocks in each stage. Arguments as in `resnet_cifar`.

    >>> len(resnet110().parts["stage3"].parts)
    18
    """
    return resnet_cifar(110, num_classes, upto=upto)


def wide_block(planes: int, stride: int, projects: bool, dropout: float) -> Layer:
    """Pre-activation residual block: norm and ReLU before each convolution.

    A 1×1 shortcut takes x after the first norm and ReLU, as in the authors' code.
    """
    between = {"dropout": Dropout(dropout)} if dropout else {}
    parts: dict[str, Part] = {
        "bn1": BatchNorm(),
        "relu": jax.nn.relu,
        "conv1": conv(planes, 3, stride),
        "bn2": BatchNorm(),
        **between,
    }
    parts["conv2"] = conv(planes, 3)
    if projects:
        parts["shortcut"] = conv(planes, 1, stride)

    def flow(call: Callable[..., Any], x: Any) -> Any:
        start = call("relu", call("bn1", x))
        h = call("relu", call("bn2", call("conv1", start)))
        h = call("dropout", h) if dropout else h
        h = call("conv2", h)
        return h + (call("shortcut", start) if projects else x)

    return compose("wide_block", parts, flow)


def wide_resnet(
    depth: int = 28,
    width: int = 10,
    num_classes: int = 10,
    *,
    dropout: float = 0.0,
    upto: str | None = None,
) -> Layer:
    """WRN-depth-width for 32×32 images: few, wide pre-activation blocks.

    Args:
      depth: number of convolutions, 6n + 4 for n blocks in each of three stages (including 1×1 shortcuts).
      width: multiplier of the 16, 32 and 64 channels of `resnet_cifar`.
      num_classes: units of `head`; 0 for pooled features, [N, C].
      dropout: dropout rate between the two convolutions of a block (0.3 in the paper, if used).
      upto: path of the last part, for a backbone ("stage2"); None for the complete net.

    Returns:
      Layer: [N, H, W, C] of any size and number of channels to [N, num_classes].

    Raises:
      ShapeError: if depth is not 6n + 4, `width` or `num_classes` is invalid, or no part has the path `upto`.

    Source: Zagoruyko and Komodakis, Wide Residual Networks, 2016.

    >>> net = wide_resnet(16, 8)
    >>> list(net.parts), len(net.parts["stage1"].parts)
    (['stem', 'stage1', 'stage2', 'stage3', 'bn', 'relu', 'avgpool', 'head'], 2)
    """
    count = check_depth(depth, 4)
    geometry.integer(width, "width")

    def stage(planes: int, stride: int, inputs: int) -> Layer:
        first = wide_block(planes, stride, stride > 1 or inputs != planes, dropout)
        return numbered(first, *(wide_block(planes, 1, False, dropout) for _ in range(count - 1)))

    body = {
        "stem": conv(16, 3),
        "stage1": stage(16 * width, 1, 16),
        "stage2": stage(32 * width, 2, 16 * width),
        "stage3": stage(64 * width, 2, 32 * width),
        "bn": BatchNorm(),
        "relu": jax.nn.relu,
    }
    return ending(body, lambda num_classes: {"head": Dense(num_classes)}, num_classes=num_classes, upto=upto)


def wide_resnet28_10(num_classes: int = 10, *, dropout: float = 0.0, upto: str | None = None) -> Layer:
    """WRN-28-10: 4 blocks in each stage, 10 times the channels. Arguments as in `wide_resnet`.

    >>> len(wide_resnet28_10().parts["stage3"].parts)
    4
    """
    return wide_resnet(28, 10, num_classes, dropout=dropout, upto=upto)


def wide_resnet40_4(num_classes: int = 10, *, dropout: float = 0.0, upto: str | None = None) -> Layer:
    """WRN-40-4: 6 blocks in each stage, 4 times the channels. Arguments as in `wide_resnet`.

    >>> len(wide_resnet40_4().parts["stage3"].parts)
    6
    """
    return wide_resnet(40, 4, num_classes, dropout=dropout, upto=upto)


def wide_resnet16_8(num_classes: int = 10, *, dropout: float = 0.0, upto: str | None = None) -> Layer:
    """WRN-16-8: 2 blocks in each stage, 8 times the channels. Arguments as in `wide_resnet`.

    >>> len(wide_resnet16_8().parts["stage3"].parts)
    2
    """
    return wide_resnet(16, 8, num_classes, dropout=dropout, upto=upto)
