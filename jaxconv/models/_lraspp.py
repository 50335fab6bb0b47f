"""LR-ASPP: the segmentation head of MobileNetV3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import geometry, ops
from jaxconv._base.errors import ShapeError
from jaxconv.layers import AdaptiveAvgPool, Conv
from jaxconv.layers.combine import numbered
from jaxconv.layers.composition import compose
from jaxconv.layers.layer import Call, Layer
from jaxconv.models._encoder import Encoder, conv_norm_act, dilated_features, segmenter

__all__ = ["lraspp", "lraspp_mobilenet_v3_large"]


def lraspp(
    num_classes: int = 21,
    *,
    encoder: Encoder = "mobilenet_v3_large",
    output_stride: int | None = None,
    width: int = 128,
    levels: Sequence[str] | None = None,
    upto: str | None = None,
) -> Layer:
    """Lite R-ASPP on any encoder: 1×1 convolutions of the last maps, gated by their mean, and of those at stride 8.

    Args:
      num_classes: channels of logits; 0 for features at stride 8, [N, H/8, W/8, width].
      encoder: a classifier by name; a table of its `name` and arguments, of which `upto` is the path of its last part;
        or a Layer.
      output_stride: largest stride of the encoder's maps, which are dilated instead; None for 16 where the encoder has
        that argument (ResNets and MobileNetV3), and the encoder's own stride elsewhere.
      width: channels of the head.
      levels: the two parts of the encoder whose maps are used; None for its last parts at stride 8 and of all.
      upto: path of the last part, for a backbone ("backbone/6"); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, H, W, num_classes], with torchvision's parts `backbone` and `classifier`.

    Raises:
      ConfigError: if there is no such encoder, or its arguments are invalid.
      ShapeError: if another argument is invalid, the encoder lacks a level, or no part has the path `upto`.

    Source: Howard et al., Searching for MobileNetV3, 2019, figure 10; as in torchvision, which pools the whole image.

    >>> net = lraspp(5, encoder={"name": "mobilenet_v3_small", "width": 0.25})
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 33, 40, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 33, 40, 3), "float32"))[0].shape
    (1, 33, 40, 5)
    """
    found = dilated_features(encoder, output_stride, default=16)
    parts: dict[str, Any] = {
        "cbr": conv_norm_act(width, 1),
        "scale": numbered(AdaptiveAvgPool(1), Conv(width, 1, bias=False), jax.nn.sigmoid),
    }
    if geometry.integer(num_classes, "num_classes", least=0):
        parts |= {"low_classifier": Conv(num_classes, 1), "high_classifier": Conv(num_classes, 1)}

    def flow(call: Call, maps: Any) -> Any:
        low, high = maps
        x = call("cbr", high) * call("scale", high)
        x = ops.resize(x, jnp.shape(low)[1:3], mode="linear")
        return call("low_classifier", low) + call("high_classifier", x) if num_classes else x

    used = (found.at(8), found.last) if levels is None else tuple(levels)
    if len(used) != 2:
        raise ShapeError("lraspp needs two levels of its encoder", got=f"levels={list(used)!r}")
    head = compose("lraspp_head", parts, flow)
    return segmenter("lraspp", found.maps(*used), head, num_classes=num_classes, upto=upto)


def lraspp_mobilenet_v3_large(num_classes: int = 21, *, upto: str | None = None) -> Layer:
    """LR-ASPP on MobileNetV3-Large with output stride 16. Arguments as in `lraspp`.

    >>> list(lraspp_mobilenet_v3_large().parts["classifier"].parts)
    ['cbr', 'scale', 'low_classifier', 'high_classifier']
    """
    return lraspp(num_classes, encoder="mobilenet_v3_large", levels=("4", "16"), upto=upto)
