"""Feature pyramid network (FPN) for segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import geometry, ops
from jaxconv._base.errors import ShapeError
from jaxconv.layers import Conv, GroupNorm
from jaxconv.layers.combine import numbered
from jaxconv.layers.composition import compose
from jaxconv.layers.layer import Call, Layer
from jaxconv.models._encoder import Encoder, features_of, segmenter

__all__ = ["feature_pyramid", "fpn"]

_LEVELS = 4


def fpn(
    num_classes: int = 21,
    *,
    encoder: Encoder = "resnet50",
    width: int = 256,
    head_width: int = 128,
    groups: int = 32,
    levels: Sequence[str] | None = None,
    upto: str | None = None,
) -> Layer:
    """Semantic FPN on any encoder: a feature pyramid whose levels are upsampled in steps and added.

    Args:
      num_classes: channels of logits; 0 for features at the stride of the first level, [N, H/4, W/4, head_width].
      encoder: a classifier by name; a table of its `name` and arguments, of which `upto` is the path of its last part;
        or a Layer.
      width: channels of the pyramid.
      head_width: channels of the 3×3 convolutions above it.
      groups: groups of their group norms.
      levels: parts of the encoder whose maps are used, from the finest to the coarsest; None for its last ones at each
        of the four largest strides (4, 8, 16 and 32).
      upto: path of the last part, for a backbone ("backbone/layer2"); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, H, W, num_classes], with parts `backbone` and `classifier`, which has torchvision's
      `fpn`, then `scale0`, … and `head`.

    Raises:
      ConfigError: if there is no such encoder, or its arguments are invalid.
      ShapeError: if another argument is invalid, the encoder lacks a level, or no part has the path `upto`.

    Source: Kirillov et al., Panoptic Feature Pyramid Networks, 2019, figure 3.

    >>> net = fpn(5, encoder={"name": "resnet", "blocks": [1, 1], "width": 8}, width=16, head_width=8, groups=4)
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 33, 40, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 33, 40, 3), "float32"))[0].shape
    (1, 33, 40, 5)
    """
    found = features_of(encoder)
    used = [found.at(stride) for stride in found.all_strides[-_LEVELS:]] if levels is None else list(levels)
    if len(used) < 2:
        raise ShapeError("fpn needs at least two levels of its encoder", got=f"levels={used!r}")

    parts: dict[str, Any] = {"fpn": feature_pyramid(len(used), width)}
    for level in range(len(used)):
        for step in range(max(level, 1)):
            conv = Conv(head_width, 3, padding="same", bias=False)
            parts[f"scale{level}_{step}"] = numbered(conv, GroupNorm(groups), jax.nn.relu)
    if geometry.integer(num_classes, "num_classes", least=0):
        parts["head"] = Conv(num_classes, 1)

    def flow(call: Call, maps: Any) -> Any:
        maps = call("fpn", maps)
        sizes = [jnp.shape(x)[1:3] for x in maps]
        finest = []
        for level, x in enumerate(maps):
            for step in range(max(level, 1)):
                x = call(f"scale{level}_{step}", x)
                x = ops.resize(x, sizes[level - 1 - step], mode="linear") if level else x
            finest.append(x)
        y = sum(finest[1:], start=finest[0])
        return call("head", y) if num_classes else y

    head = compose("fpn_head", parts, flow)
    return segmenter("fpn", found.maps(*used), head, num_classes=num_classes, upto=upto)


def feature_pyramid(levels: int, width: int) -> Layer:
    """Feature pyramid: 1×1 convolutions of all maps, of which each is added to the next finer, then 3×3 convolutions.

    Args:
      levels: number of maps.
      width: channels of the pyramid.

    Returns:
      Layer: a list of maps [N, H, W, C], from the finest to the coarsest, to a list of maps [N, H, W, width], with
      torchvision's parts `inner_blocks` and `layer_blocks`.

    Source: Lin et al., Feature Pyramid Networks for Object Detection, 2017, figure 3.

    >>> maps = [jax.ShapeDtypeStruct((1, n, n, c), "float32") for n, c in ((7, 4), (4, 8), (2, 16))]
    >>> params, state = jax.eval_shape(lambda: feature_pyramid(3, 5).init(jax.random.key(0), maps))
    >>> params["inner_blocks"]["2"]["0"]["kernel"].shape, params["layer_blocks"]["2"]["0"]["kernel"].shape
    ((1, 1, 16, 5), (3, 3, 5, 5))
    """
    parts = {
        "inner_blocks": _each([numbered(Conv(width, 1)) for _ in range(levels)]),
        "layer_blocks": _each([numbered(Conv(width, 3, padding="same")) for _ in range(levels)]),
    }

    def flow(call: Call, maps: Any) -> Any:
        *finer, coarsest = call("inner_blocks", maps)
        sums = [coarsest]
        for x in reversed(finer):
            sums.insert(0, x + ops.resize(sums[0], jnp.shape(x)[1:3], mode="nearest"))
        return call("layer_blocks", sums)

    return compose("feature_pyramid", parts, flow)


def _each(layers: Sequence[Layer]) -> Layer:
    """Layers "0", "1", … from a list of inputs to the list of their outputs."""
    parts = {str(number): layer for number, layer in enumerate(layers)}
    return compose("each", parts, lambda call, xs: [call(name, x) for name, x in zip(parts, xs, strict=True)])
