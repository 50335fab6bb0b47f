"""DeepLabV3 and V3+: atrous spatial pyramid pooling (ASPP) on a dilated encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import geometry, ops
from jaxconv.layers import ASPP, BatchNorm, Conv
from jaxconv.layers.combine import chain, numbered
from jaxconv.layers.composition import compose
from jaxconv.layers.layer import Call, Layer
from jaxconv.models._encoder import Encoder, auxiliary_head, conv_norm_act, dilated_features, segmenter

__all__ = [
    "deeplabv3", "deeplabv3_mobilenet_v3_large", "deeplabv3_plus", "deeplabv3_resnet50", "deeplabv3_resnet101",
]  # fmt: skip


def deeplabv3(
    num_classes: int = 21,
    *,
    encoder: Encoder = "resnet50",
    output_stride: int | None = None,
    width: int = 256,
    rates: Sequence[int] = (12, 24, 36),
    dropout: float = 0.5,
    aux: bool | str = False,
    upto: str | None = None,
) -> Layer:
    """DeepLabV3 on any encoder: ASPP and a 3×3 convolution on the last maps, and bilinear upsampling.

    Args:
      num_classes: channels of logits; 0 for features, [N, H/stride, W/stride, width].
      encoder: a classifier by name; a table of its `name` and arguments, of which `upto` is the path of its last part;
        or a Layer.
      output_stride: largest stride of the encoder's maps, which are dilated instead; None for 8 where the encoder has
        that argument (ResNets and MobileNetV3), and the encoder's own stride elsewhere.
      width: channels of the head.
      rates: dilations of the ASPP, as for output stride 8.
      dropout: dropout rate after the ASPP.
      aux: whether there is an auxiliary classifier, a 3×3 and a 1×1 convolution on the last maps but one, or on those
        of the part with this name. In training, the net returns its logits, too, as the second of a pair, and their
        loss is added; in prediction it costs nothing.
      upto: path of the last part, for a backbone ("classifier/0": the ASPP); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, H, W, num_classes], with torchvision's parts `backbone`, `classifier` and, with
      `aux`, `aux_classifier`, which its files have: without, `port.load(…, ignore="aux_classifier")`.

    Raises:
      ConfigError: if there is no such encoder, or its arguments are invalid.
      ShapeError: if another argument is invalid, or no part has the path `upto`.

    Source: Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, 2017.

    >>> net = deeplabv3(5, encoder={"name": "resnet", "blocks": [1, 1], "width": 8}, width=16)
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 33, 40, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 33, 40, 3), "float32"))[0].shape
    (1, 33, 40, 5)
    """
    found = dilated_features(encoder, output_stride)
    logits = [Conv(num_classes, 1)] if geometry.integer(num_classes, "num_classes", least=0) else []
    conv = Conv(width, 3, padding="same", bias=False)
    head = numbered(ASPP(width, rates, dropout=dropout), conv, BatchNorm(), jax.nn.relu, *logits)
    taps, auxiliary = auxiliary_head(found, aux, num_classes)
    words: Any = {"num_classes": num_classes, "upto": upto, "auxiliary": auxiliary}
    return segmenter("deeplabv3", found.maps(*taps, found.last), head, **words)


def deeplabv3_resnet50(
    num_classes: int = 21, *, dropout: float = 0.5, aux: bool | str = False, upto: str | None = None
) -> Layer:
    """DeepLabV3 on ResNet-50 with output stride 8. Arguments as in `deeplabv3`.

    >>> list(deeplabv3_resnet50().parts["classifier"].parts["0"].parts)
    ['convs', 'project']
    """
    return deeplabv3(num_classes, encoder="resnet50", dropout=dropout, aux=aux, upto=upto)


def deeplabv3_resnet101(
    num_classes: int = 21, *, dropout: float = 0.5, aux: bool | str = False, upto: str | None = None
) -> Layer:
    """DeepLabV3 on ResNet-101 with output stride 8. Arguments as in `deeplabv3`.

    >>> len(deeplabv3_resnet101().parts["backbone"].parts["layer3"].parts)
    23
    """
    return deeplabv3(num_classes, encoder="resnet101", dropout=dropout, aux=aux, upto=upto)


def deeplabv3_mobilenet_v3_large(
    num_classes: int = 21, *, dropout: float = 0.5, aux: bool | str = False, upto: str | None = None
) -> Layer:
    """DeepLabV3 on MobileNetV3-Large with output stride 16. Arguments as in `deeplabv3`; `aux=True` is that of "4".

    >>> list(deeplabv3_mobilenet_v3_large().parts["backbone"].parts)[-1]
    '16'
    """
    return deeplabv3(
        num_classes,
        encoder="mobilenet_v3_large",
        output_stride=16,
        dropout=dropout,
        aux="4" if aux is True else aux,
        upto=upto,
    )


def deeplabv3_plus(
    num_classes: int = 21,
    *,
    encoder: Encoder = "resnet50",
    output_stride: int | None = None,
    width: int = 256,
    skip_width: int = 48,
    rates: Sequence[int] = (6, 12, 18),
    dropout: float = 0.5,
    upto: str | None = None,
) -> Layer:
    """DeepLabV3+ on any encoder: ASPP, joined with the maps at stride 4 by two 3×3 convolutions.

    Args:
      num_classes, encoder, width, dropout, upto: as in `deeplabv3`; features are at stride 4.
      output_stride: as in `deeplabv3`, with 16 for 8.
      skip_width: channels that the maps at stride 4 are reduced to.
      rates: dilations of the ASPP, as for output stride 16.

    Returns:
      Layer: [N, H, W, C] to [N, H, W, num_classes], with parts `backbone` and `classifier`, which has `aspp`, `skip`,
      `fuse` and `head`.

    Raises:
      ConfigError: if there is no such encoder, or its arguments are invalid.
      ShapeError: if another argument is invalid, the encoder has no maps at stride 4, or no part has the path `upto`.

    Source: Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, 2018.

    >>> net = deeplabv3_plus(5, encoder={"name": "resnet", "blocks": [1, 1, 1], "width": 8}, width=16)
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 33, 40, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 33, 40, 3), "float32"))[0].shape
    (1, 33, 40, 5)
    """
    found = dilated_features(encoder, output_stride, default=16)
    parts: dict[str, Any] = {
        "aspp": ASPP(width, rates, dropout=dropout),
        "skip": conv_norm_act(skip_width, 1),
        "fuse": chain(conv0=conv_norm_act(width, 3), conv1=conv_norm_act(width, 3)),
    }
    if geometry.integer(num_classes, "num_classes", least=0):
        parts["head"] = Conv(num_classes, 1)

    def flow(call: Call, maps: Any) -> Any:
        low, high = maps
        context, skip = call("aspp", high), call("skip", low)
        context = ops.resize(context, jnp.shape(low)[1:3], mode="linear")
        x = call("fuse", jnp.concatenate([context, skip], axis=-1))
        return call("head", x) if num_classes else x

    head = compose("deeplabv3_plus_head", parts, flow)
    return segmenter("deeplabv3_plus", found.maps(found.at(4), found.last), head, num_classes=num_classes, upto=upto)
