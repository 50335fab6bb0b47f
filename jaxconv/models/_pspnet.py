"""PSPNet: pyramid pooling on a dilated encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxconv import geometry
from jaxconv.layers import PPM, Conv, Dropout
from jaxconv.layers.combine import chain
from jaxconv.layers.layer import Layer
from jaxconv.models._encoder import Encoder, auxiliary_head, conv_norm_act, dilated_features, segmenter

__all__ = ["pspnet"]


def pspnet(
    num_classes: int = 21,
    *,
    encoder: Encoder = "resnet50",
    output_stride: int | None = None,
    width: int = 512,
    sizes: Sequence[int] = (1, 2, 3, 6),
    dropout: float = 0.1,
    aux: bool | str = False,
    upto: str | None = None,
) -> Layer:
    """PSPNet on any encoder: the last maps joined with their means over grids of windows, and a 3×3 convolution.

    Args:
      num_classes: channels of logits; 0 for features, [N, H/stride, W/stride, width].
      encoder: a classifier by name; a table of its `name` and arguments, of which `upto` is the path of its last part;
        or a Layer.
      output_stride: largest stride of the encoder's maps, which are dilated instead; None for 8 where the encoder has
        that argument (ResNets and MobileNetV3), and the encoder's own stride elsewhere.
      width: channels of the 3×3 convolution.
      sizes: windows of each grid along an axis.
      dropout: dropout rate before the last convolution.
      aux: whether there is an auxiliary classifier, a 3×3 and a 1×1 convolution on the last maps but one, or on those
        of the part with this name. In training, the net returns its logits, too, as the second of a pair, and their
        loss is added; in prediction it costs nothing.
      upto: path of the last part, for a backbone ("classifier/ppm"); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, H, W, num_classes], with parts `backbone` and `classifier`, which has `ppm`, `fuse`
      and `head`.

    Raises:
      ConfigError: if there is no such encoder, or its arguments are invalid.
      ShapeError: if another argument is invalid, or no part has the path `upto`.

    Source: Zhao et al., Pyramid Scene Parsing Network, 2017.

    >>> import jax
    >>> net = pspnet(5, encoder={"name": "resnet", "blocks": [1, 1], "width": 8}, width=16)
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 33, 40, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 33, 40, 3), "float32"))[0].shape
    (1, 33, 40, 5)
    """
    found = dilated_features(encoder, output_stride)
    parts: dict[str, Any] = {
        "ppm": PPM(max(found.channels[found.last] // max(len(sizes), 1), 1), sizes),
        "fuse": conv_norm_act(width, 3, Dropout(dropout)),
    }
    if geometry.integer(num_classes, "num_classes", least=0):
        parts["head"] = Conv(num_classes, 1)
    taps, auxiliary = auxiliary_head(found, aux, num_classes)
    words: Any = {"num_classes": num_classes, "upto": upto, "auxiliary": auxiliary}
    return segmenter("pspnet", found.maps(*taps, found.last), chain(**parts), **words)
