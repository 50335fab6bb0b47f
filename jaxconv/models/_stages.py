"""What every net is put together with: parts named by numbers, and the end that each of them has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jaxconv import geometry
from jaxconv.layers import backbone, chain
from jaxconv.layers.layer import Layer, Part
from jaxconv.ops import global_avg_pool

__all__ = ["ending", "numbered"]


def numbered(*layers: Part) -> Layer:
    """One layer after the other, named "0", "1", … as in torch's Sequential, so that weights load by name.

    Args:
      layers: layers or callables from array to array.

    Returns:
      A Layer from the first's input to the last's output.

    >>> import jax
    >>> from jaxconv.layers import Conv
    >>> numbered(Conv(8, 3), jax.nn.relu)
    chain
      0: conv
      1: relu
    """
    return chain(**{str(number): layer for number, layer in enumerate(layers)})


def ending(
    body: Mapping[str, Any],
    head: Callable[[int], Mapping[str, Part]],
    *,
    num_classes: int,
    upto: str | None,
    pool: Any = global_avg_pool,
) -> Layer:
    """A whole net from its body and its head, or as much of it as is asked for.

    Args:
      body: the parts that make maps [N, H, W, C] of images, by name, in the order that they run.
      head: num_classes -> the parts that make logits of what `pool` gives (of the maps, where that is None).
      num_classes: units of the last layer; 0 leaves the head out and takes the mean of each map instead of `pool`.
      upto: path of the last part, for a backbone ("layer3"); None for the complete net.
      pool: what stands between body and head, as part `avgpool`; None where the head takes the maps themselves.

    Returns:
      A Layer: images to [N, num_classes]; with num_classes=0 to [N, C]; with `upto` to that part's output.

    Raises:
      ShapeError: num_classes that is no int ≥ 0, or a path that is not there.

    >>> from jaxconv.layers import Conv, Dense
    >>> ending({"conv": Conv(8, 3)}, lambda classes: {"fc": Dense(classes)}, num_classes=0, upto=None)
    chain
      conv: conv
      avgpool: global_avg_pool
    """
    if geometry.integer(num_classes, "num_classes", least=0):
        between = {} if pool is None else {"avgpool": pool}
        net = chain(**body, **between, **head(num_classes))
    else:
        net = chain(**body, avgpool=global_avg_pool)
    return net if upto is None else backbone(net, upto=upto)
