"""ResNet, ResNeXt and Wide ResNet for ImageNet, as in torchvision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxconv import geometry
from jaxconv._base.errors import ShapeError
from jaxconv.layers import BatchNorm, Conv, Dense, MaxPool
from jaxconv.layers.composition import compose
from jaxconv.layers.initializers import VarianceScaling
from jaxconv.layers.layer import Layer
from jaxconv.models._stages import dilations, ending, numbered

__all__ = [
    "residual_block", "resnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d",
    "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2",
]  # fmt: skip

# Table 1 of the paper: residual blocks in layer1 to layer4, by depth.
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
HE = VarianceScaling(2, "out")  # preserves the variance of gradients through ReLUs


def conv(features: int, size: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> Layer:
    """Convolution with "same" padding and no bias: the norm after it has the offset."""
    options: dict[str, Any] = {"stride": stride, "groups": groups, "dilation": dilation}
    return Conv(features, size, padding=size // 2 * dilation, bias=False, kernel_init=HE, **options)


def residual_block(*convs: Layer, shortcut: Any = None) -> Layer:
    """relu(body(x) + shortcut(x)); the body has a batch norm after each convolution and ReLUs between them.

    Args:
      convs: the convolutions; the parts are conv1, bn1, relu, conv2, bn2, …
      shortcut: layer or callable for the part `downsample`, if the body changes the shape; None for the identity.

    Returns:
      Layer: [N, H, W, C] to the output shape of the last convolution.

    Source: He et al., Deep Residual Learning for Image Recognition, 2015, figure 5.

    >>> list(residual_block(conv(8, 3), conv(8, 3)).parts)
    ['conv1', 'bn1', 'relu', 'conv2', 'bn2']
    """
    parts: dict[str, Any] = {}
    for n, layer in enumerate(convs, 1):
        parts |= {f"conv{n}": layer, f"bn{n}": BatchNorm()}
        parts.setdefault("relu", jax.nn.relu)  # so that `upto` can stop at a later part
    if shortcut is not None:
        parts["downsample"] = shortcut

    def flow(call: Callable[..., Any], x: Any) -> Any:
        h = x
        for n in range(1, len(convs) + 1):
            h = call(f"bn{n}", call(f"conv{n}", h))
            h = call("relu", h) if n < len(convs) else h
        return call("relu", h + (x if shortcut is None else call("downsample", x)))

    return compose("residual_block", parts, flow)


def resnet(
    num_classes: int = 1000,
    *,
    blocks: Sequence[int] = BLOCKS[50],
    bottleneck: bool = True,
    width: int = 64,
    groups: int = 1,
    width_per_group: int = 64,
    output_stride: int | None = None,
    upto: str | None = None,
) -> Layer:
    """ResNet for images of about 224×224: a 7×7 convolution and a pool, then stages of residual blocks.

    A bottleneck is 1×1, 3×3, 1×1, with the stride on the 3×3 convolution ("v1.5" as in torchvision; the paper has it
    on the first 1×1). Shortcuts that change the shape are 1×1 convolutions with a norm (the paper's option B).

    Args:
      num_classes: units of `fc`; 0 for pooled features, [N, C].
      blocks: residual blocks in each stage, `layer1`, `layer2`, …; all but the first halve height and width.
      bottleneck: whether blocks are bottlenecks (three convolutions, 4 times the channels) or two 3×3 convolutions.
      width: channels of the first convolution and stage; each further stage doubles them.
      groups: groups of the bottlenecks' 3×3 convolutions (ResNeXt's cardinality).
      width_per_group: channels per group of the 3×3 convolutions, for every 64 channels of the stage.
      output_stride: largest stride of the maps: stages beyond it dilate their 3×3 convolutions instead, as in
        segmentation (torchvision's replace_stride_with_dilation is 8 or 16); None for stride in every stage.
      upto: path of the last part, for a backbone ("layer3": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] of any size and number of channels to [N, num_classes].

    Raises:
      ShapeError: if groups are given without bottlenecks, a stage has no blocks, `num_classes` is not an int ≥ 0,
        `output_stride` is no power of 2 from 4 on, or no part has the path `upto`.

    Source: He et al., Deep Residual Learning for Image Recognition, 2015; Xie et al., Aggregated Residual
    Transformations for Deep Neural Networks, 2016; Zagoruyko and Komodakis, Wide Residual Networks, 2016.

    >>> net = resnet(blocks=(1, 1), bottleneck=False, width=8, upto="layer2")
    >>> params, state = jax.eval_shape(lambda key: net.init(key, (1, 32, 32, 3)), jax.random.key(0))
    >>> params["layer2"]["0"]["downsample"]["0"]["kernel"].shape
    (1, 1, 8, 16)
    """
    if not bottleneck and (groups, width_per_group) != (1, 64):
        raise ShapeError(
            "groups and width_per_group need bottleneck blocks",
            got=f"bottleneck=False, groups={groups}, width_per_group={width_per_group}",
            fix="bottleneck=True",
        )

    def block(planes: int, stride: int, inputs: int, dilation: int, before: int) -> Layer:
        """`before`: dilation of the first 3×3 convolution, that of the stage before in a stage's first block."""
        out = planes * (4 if bottleneck else 1)
        project = numbered(conv(out, 1, stride), BatchNorm()) if stride > 1 or inputs != out else None
        if not bottleneck:
            body = conv(planes, 3, stride, dilation=before), conv(planes, 3, dilation=dilation)
            return residual_block(*body, shortcut=project)
        inner = int(planes * width_per_group / 64) * groups
        return residual_block(conv(inner, 1), conv(inner, 3, stride, groups, before), conv(out, 1), shortcut=project)

    parts = {"conv1": conv(width, 7, 2), "bn1": BatchNorm(), "relu": jax.nn.relu}
    parts["maxpool"] = MaxPool(3, stride=2, padding=1)
    inputs, dilation = width, 1
    for stage, (stride, dilated) in enumerate(dilations([2, 2, 1, *[2] * (len(blocks) - 1)], output_stride)[2:]):
        planes, before, dilation = width * 2**stage, dilation, dilated
        out = planes * (4 if bottleneck else 1)
        rest = (block(planes, 1, out, dilation, dilation) for _ in range(geometry.integer(blocks[stage], "blocks") - 1))
        parts[f"layer{stage + 1}"] = numbered(block(planes, stride, inputs, dilation, before), *rest)
        inputs = out
    return ending(parts, lambda num_classes: {"fc": Dense(num_classes)}, num_classes=num_classes, upto=upto)


def resnet18(num_classes: int = 1000, *, output_stride: int | None = None, upto: str | None = None) -> Layer:
    """ResNet-18: two blocks of two 3×3 convolutions in each stage. Arguments as in `resnet`.

    >>> resnet18().parts["layer1"].parts["0"].parts["bn1"]
    BatchNorm()
    """
    return resnet(num_classes, blocks=BLOCKS[18], bottleneck=False, output_stride=output_stride, upto=upto)


def resnet34(num_classes: int = 1000, *, output_stride: int | None = None, upto: str | None = None) -> Layer:
    """ResNet-34: 3, 4, 6 and 3 blocks of two 3×3 convolutions. Arguments as in `resnet`.

    >>> len(resnet34().parts["layer3"].parts)
    6
    """
    return resnet(num_classes, blocks=BLOCKS[34], bottleneck=False, output_stride=output_stride, upto=upto)


def resnet50(num_classes: int = 1000, *, output_stride: int | None = None, upto: str | None = None) -> Layer:
    """ResNet-50: 3, 4, 6 and 3 bottlenecks. Arguments as in `resnet`.

    >>> list(resnet50(upto="layer2").parts)
    ['conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2']
    """
    return resnet(num_classes, blocks=BLOCKS[50], output_stride=output_stride, upto=upto)


def resnet101(num_classes: int = 1000, *, output_stride: int | None = None, upto: str | None = None) -> Layer:
    """ResNet-101: 3, 4, 23 and 3 bottlenecks. Arguments as in `resnet`.

    >>> len(resnet101().parts["layer3"].parts)
    23
    """
    return resnet(num_classes, blocks=BLOCKS[101], output_stride=output_stride, upto=upto)


def resnet152(num_classes: int = 1000, *, output_stride: int | None = None, upto: str | None = None) -> Layer:
    """ResNet-152: 3, 8, 36 and 3 bottlenecks. Arguments as in `resnet`.

    >>> len(resnet152().parts["layer3"].parts)
    36
    """
    return resnet(num_classes, blocks=BLOCKS[152], output_stride=output_stride, upto=upto)


def resnext50_32x4d(num_classes: int = 1000, *, output_stride: int | None = None, upto: str | None = None) -> Layer:
    """ResNeXt-50: ResNet-50 with 3×3 convolutions in 32 groups of 4 channels in the first stage.

    Arguments as in `resnet`. Source: Xie et al., Aggregated Residual Transformations, 2016.

    >>> "fc" in resnext50_32x4d(num_classes=0).parts
    False
    """
    return resnet(num_classes, blocks=BLOCKS[50], groups=32, width_per_group=4, output_stride=output_stride, upto=upto)


def resnext101_32x8d(num_classes: int = 1000, *, output_stride: int | None = None, upto: str | None = None) -> Layer:
    """ResNeXt-101: ResNet-101 with 3×3 convolutions in 32 groups of 8 channels in the first stage.

    Arguments as in `resnet`. Source: Xie et al., Aggregated Residual Transformations, 2016.

    >>> len(resnext101_32x8d().parts["layer3"].parts)
    23
    """
    return resnet(num_classes, blocks=BLOCKS[101], groups=32, width_per_group=8, output_stride=output_stride, upto=upto)


def wide_resnet50_2(num_classes: int = 1000, *, output_stride: int | None = None, upto: str | None = None) -> Layer:
    """ResNet-50 with twice the channels in 3×3 convolutions.

    Arguments as in `resnet`. Source: Zagoruyko and Komodakis, Wide Residual Networks, 2016.

    >>> len(wide_resnet50_2().parts["layer3"].parts)
    6
    """
    return resnet(num_classes, blocks=BLOCKS[50], width_per_group=128, output_stride=output_stride, upto=upto)


def wide_resnet101_2(num_classes: int = 1000, *, output_stride: int | None = None, upto: str | None = None) -> Layer:
    """ResNet-101 with twice the channels in 3×3 convolutions.

    Arguments as in `resnet`. Source: Zagoruyko and Komodakis, Wide Residual Networks, 2016.

    >>> len(wide_resnet101_2().parts["layer3"].parts)
    23
    """
    return resnet(num_classes, blocks=BLOCKS[101], width_per_group=128, output_stride=output_stride, upto=upto)
