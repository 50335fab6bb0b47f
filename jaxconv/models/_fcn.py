"""Fully convolutional network (FCN) for segmentation."""

from __future__ import annotations

from typing import Any

from jaxconv import geometry
from jaxconv.layers import Conv, Dropout
from jaxconv.layers.layer import Layer
from jaxconv.models._encoder import Encoder, auxiliary_head, conv_norm_act, dilated_features, segmenter

__all__ = ["fcn", "fcn_resnet50", "fcn_resnet101"]


def fcn(
    num_classes: int = 21,
    *,
    encoder: Encoder = "resnet50",
    output_stride: int | None = None,
    dropout: float = 0.1,
    aux: bool | str = False,
    upto: str | None = None,
) -> Layer:
    """FCN on any encoder: a 3×3 convolution and a 1×1 on the last maps, and bilinear upsampling.

    Args:
      num_classes: channels of logits; 0 for features, [N, H/stride, W/stride, C].
      encoder: a classifier by name; a table of its `name` and arguments, of which `upto` is the path of its last part;
        or a Layer.
      output_stride: largest stride of the encoder's maps, which are dilated instead; None for 8 where the encoder has
        that argument (ResNets and MobileNetV3), and the encoder's own stride elsewhere.
      dropout: dropout rate before the last convolution.
      aux: whether there is an auxiliary classifier, a 3×3 and a 1×1 convolution on the last maps but one, or on those
        of the part with this name. In training, the net returns its logits, too, as the second of a pair, and their
        loss is added; in prediction it costs nothing.
      upto: path of the last part, for a backbone ("backbone/layer3"); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, H, W, num_classes], with torchvision's parts `backbone`, `classifier` and, with
      `aux`, `aux_classifier`, which its files have: without, `port.load(…, ignore="aux_classifier")`.

    Raises:
      ConfigError: if there is no such encoder, or its arguments are invalid.
      ShapeError: if another argument is invalid, or no part has the path `upto`.

    Source: Long et al., Fully Convolutional Networks for Semantic Segmentation, 2015; the head as in torchvision.

    >>> import jax
    >>> net = fcn(5, encoder={"name": "resnet", "blocks": [1, 1], "width": 8})
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 33, 40, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 33, 40, 3), "float32"))[0].shape
    (1, 33, 40, 5)
    """
    found = dilated_features(encoder, output_stride)
    inner = max(found.channels[found.last] // 4, 1)
    logits = [Conv(num_classes, 1)] if geometry.integer(num_classes, "num_classes", least=0) else []
    head = conv_norm_act(inner, 3, Dropout(dropout), *logits)
    taps, auxiliary = auxiliary_head(found, aux, num_classes)
    words: Any = {"num_classes": num_classes, "upto": upto, "auxiliary": auxiliary}
    return segmenter("fcn", found.maps(*taps, found.last), head, **words)


def fcn_resnet50(
    num_classes: int = 21, *, dropout: float = 0.1, aux: bool | str = False, upto: str | None = None
) -> Layer:
    """FCN on ResNet-50 with output stride 8. Arguments as in `fcn`.

    >>> list(fcn_resnet50().parts["classifier"].parts)
    ['0', '1', '2', '3', '4']
    """
    return fcn(num_classes, encoder="resnet50", dropout=dropout, aux=aux, upto=upto)


def fcn_resnet101(
    num_classes: int = 21, *, dropout: float = 0.1, aux: bool | str = False, upto: str | None = None
) -> Layer:
    """FCN on ResNet-101 with output stride 8. Arguments as in `fcn`.

    >>> len(fcn_resnet101().parts["backbone"].parts["layer3"].parts)
    23
    """
    return fcn(num_classes, encoder="resnet101", dropout=dropout, aux=aux, upto=upto)
