"""Helpers shared by the models: numbered parts, and the classification head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxconv import geometry
from jaxconv._base.errors import ShapeError
from jaxconv.layers import backbone, chain
from jaxconv.layers.combine import numbered
from jaxconv.layers.layer import Layer, Part
from jaxconv.ops import global_avg_pool

__all__ = ["dilations", "ending", "numbered"]


def dilations(strides: Sequence[int], output_stride: int | None) -> list[tuple[int, int]]:
    """The stride and the dilation of each stage of a net, of which none has a greater stride than `output_stride`.

    Args:
      strides: those of the undilated net.
      output_stride: largest stride of the maps; None for no limit.

    Returns:
      A pair for each stage: a stride that would exceed the limit becomes 1, and multiplies the dilation of that stage
      and of all further ones.

    Raises:
      ShapeError: if `output_stride` is no power of 2 from 4 on.

    Source: Chen et al., DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, 2016.

    >>> dilations([2, 2, 1, 2, 2], 8)
    [(2, 1), (2, 1), (1, 1), (2, 1), (1, 2)]
    """
    if output_stride is not None and (output_stride < 4 or output_stride & (output_stride - 1)):
        raise ShapeError("output_stride must be a power of 2, at least 4", got=f"output_stride={output_stride}")
    reached, dilation, found = 1, 1, []
    for stride in strides:
        if output_stride is None or reached * stride <= output_stride:
            reached *= stride
            found.append((stride, dilation))
        else:
            dilation *= stride
            found.append((1, dilation))
    return found


def ending(
    body: Mapping[str, Any],
    head: Callable[[int], Mapping[str, Part]],
    *,
    num_classes: int,
    upto: str | None,
    pool: Any = global_avg_pool,
) -> Layer:
    """A classifier from its body and head, without its head, or cut at a part.

    Args:
      body: the parts that compute feature maps [N, H, W, C], by name, in the order that they run.
      head: num_classes -> the parts that compute logits from the output of `pool` (of `body`, if that is None).
      num_classes: units of the last layer; 0 for no head, and global average pooling in place of `pool`.
      upto: path of the last part, for a backbone ("layer3"); None for the complete net.
      pool: the part `avgpool` between body and head; None for a head that takes feature maps.

    Returns:
      A Layer: images to [N, num_classes]; with num_classes=0 to [N, C]; with `upto` to the output of that part.

    Raises:
      ShapeError: if num_classes is not an int ≥ 0, or no part has the path `upto`.

    >>> from jaxconv.layers import Conv, Dense
    >>> ending({"conv": Conv(8, 3)}, lambda classes: {"fc": Dense(classes)}, num_classes=0, upto=None)
    chain
      conv: Conv(8, 3)
      avgpool: global_avg_pool
    """
    if geometry.integer(num_classes, "num_classes", least=0):
        between = {} if pool is None else {"avgpool": pool}
        net = chain(**body, **between, **head(num_classes))
    else:
        net = chain(**body, avgpool=global_avg_pool)
    return net if upto is None else backbone(net, upto=upto)
