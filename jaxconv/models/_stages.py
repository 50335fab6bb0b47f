"""Helpers shared by the models: numbered parts, and the classification head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jaxconv import geometry
from jaxconv.layers import backbone, chain
from jaxconv.layers.combine import numbered
from jaxconv.layers.layer import Layer, Part
from jaxconv.ops import global_avg_pool

__all__ = ["ending", "numbered"]


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
