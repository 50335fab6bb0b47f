"""Encoders of segmentation nets: any net of the zoo as feature maps at several strides."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from jaxconv import geometry, ops
from jaxconv._base import arguments as checked
from jaxconv._base.errors import ConfigError, ShapeError, did_you_mean, raise_problems
from jaxconv.layers import BatchNorm, Conv, Dropout, backbone
from jaxconv.layers.combine import numbered
from jaxconv.layers.composition import compose, run_flow
from jaxconv.layers.layer import Call, Layer, Part, shape_of
from jaxconv.layers.wrap import WithAuxiliary, training_only
from jaxconv.models import (
    _alexnet,
    _convnext,
    _densenet,
    _efficientnet,
    _googlenet,
    _inception_v3,
    _mobilenet_v2,
    _mobilenet_v3,
    _resnet,
    _resnet_cifar,
    _vgg,
)

__all__ = ["Encoder", "Features", "auxiliary_head", "conv_norm_act", "dilated_features", "features_of", "segmenter"]

Encoder: TypeAlias = str | dict[str, Any] | Layer
"""Name of an encoder; with its arguments, {"name": "resnet", "blocks": [1, 1], "upto": "layer2"}."""

_MODULES = (
    _alexnet, _convnext, _densenet, _efficientnet, _googlenet, _inception_v3, _mobilenet_v2, _mobilenet_v3, _resnet,
    _resnet_cifar, _vgg,
)  # fmt: skip
ENCODERS: dict[str, Callable[..., Layer]] = {
    name: function
    for module in _MODULES
    for name in module.__all__
    if "upto" in inspect.signature(function := getattr(module, name)).parameters and name != "mobilenet_v3"
}
_SIZE = 512
"""Height and width of the image for which strides are counted."""


@dataclasses.dataclass(frozen=True)
class Features:
    """An encoder, up to its last feature maps, with the size of the output of each of its parts.

    Args:
      net: from images to the last maps, with torchvision's part names.
      channels: of the output of each part.
      strides: likewise.
    """

    net: Layer
    channels: Mapping[str, int]
    strides: Mapping[str, int]

    @property
    def last(self) -> str:
        """The part with the last maps."""
        return list(self.channels)[-1]

    @property
    def all_strides(self) -> list[int]:
        """Strides of the maps, from the finest."""
        return sorted(set(self.strides.values()))

    def at(self, stride: int) -> str:
        """The last part of a stride.

        Raises:
          ShapeError: if there is none.
        """
        if stride not in self.strides.values():
            known = ", ".join(map(str, self.all_strides))
            raise ShapeError(f"this decoder needs maps at stride {stride}", got=f"an encoder with strides {known}")
        return [part for part, its in self.strides.items() if its == stride][-1]

    def maps(self, *parts: str) -> Layer:
        """The encoder as a layer from images to the outputs of some parts: a list; of one part, its maps alone."""
        _check_parts(parts, self.channels)
        cut = backbone(self.net, [part for part in self.channels if part in parts][-1])

        def flow(call: Call, x: Any) -> Any:
            found = {}

            def recorded(part: str, *args: Any, **options: Any) -> Any:
                found[part] = call(part, *args, **options)
                return found[part]

            assert cut.flow is not None
            last = cut.flow(recorded, x)
            return [found[part] for part in parts] if len(parts) > 1 else last

        return compose(self.net.name, cut.parts, flow)


def features_of(encoder: Encoder, output_stride: int | None = None) -> Features:
    """An encoder as feature maps.

    Args:
      encoder: a classifier of `jaxconv.models` by name, or a table of its `name` and arguments, of which `upto` is the
        path of its last part; or a Layer.
      output_stride: largest stride of the maps, for encoders with that argument.

    Raises:
      ConfigError: if there is no such encoder, or its arguments are invalid.
      ShapeError: if it has no feature maps.

    >>> found = features_of({"name": "resnet", "blocks": [1, 1], "width": 8})
    >>> found.channels
    {'conv1': 8, 'bn1': 8, 'relu': 8, 'maxpool': 8, 'layer1': 32, 'layer2': 64}
    >>> found.strides["layer2"], found.at(4)
    (8, 'layer1')
    """
    net = encoder if isinstance(encoder, Layer) else _made(encoder, output_stride)
    body = net.parts.get("features", net)  # so named by torchvision where all maps are in one part
    if body.flow is None:
        raise ShapeError("an encoder must be made of parts", got=net.name)
    shapes = _shapes(body)
    if not shapes:
        raise ShapeError("an encoder must have parts that return feature maps [N, H, W, C]", got=net.name)
    strides = {part: 2 ** round(math.log2(_SIZE / shape[1])) for part, shape in shapes.items()}
    return Features(backbone(body, list(shapes)[-1]), {part: shape[-1] for part, shape in shapes.items()}, strides)


def dilated_features(encoder: Encoder, output_stride: int | None, default: int = 8) -> Features:
    """`features_of` an encoder dilated to an output stride, by default where it has that argument."""
    if output_stride is None and not isinstance(encoder, Layer):
        name, _ = _named(encoder)
        function = checked.find("net.encoder", name, ENCODERS)
        output_stride = default if "output_stride" in inspect.signature(function).parameters else None
    return features_of(encoder, output_stride)


def _named(encoder: str | dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and arguments of an encoder."""
    arguments = {"name": encoder} if isinstance(encoder, str) else dict(encoder)
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise ConfigError(f'net.encoder must be a name, or a table with a name, {{ name = "resnet50" }}; got {encoder}')
    return name, arguments


def _made(encoder: str | dict[str, Any], output_stride: int | None) -> Layer:
    """An encoder by name."""
    name, arguments = _named(encoder)
    function = checked.find("net.encoder", name, ENCODERS)
    if output_stride is not None:
        arguments.setdefault("output_stride", output_stride)
    raise_problems(checked.problems("net.encoder", name, function, arguments, ("num_classes",)))
    return function(**checked.typed(function, arguments))


def _shapes(body: Layer) -> dict[str, tuple[int, ...]]:
    """Shapes of the outputs of an encoder's parts up to the last feature maps, without any arithmetic."""
    found: dict[str, tuple[int, ...]] = {}

    def program(x: Any) -> Any:
        def run(part: Layer, path: tuple[str, ...], h: Any, by: Layer | None) -> Any:
            params, state = part.init(jax.random.key(0), shape_of(h))
            y = (by or part).apply(params, state, h)[0]
            found[path[-1]] = jnp.shape(y)
            return y

        return run_flow(body, x, run)

    jax.eval_shape(program, jax.ShapeDtypeStruct((1, _SIZE, _SIZE, 3), jnp.float32))
    maps = [part for part, shape in found.items() if len(shape) == 4 and shape[1] > 1]
    return {part: found[part] for part in maps}


def _check_parts(parts: Sequence[str], known: Mapping[str, Any]) -> None:
    for part in parts:
        if part not in known:
            near = did_you_mean(part, known)
            raise ShapeError(f"the encoder has maps of {', '.join(known)}", got=f"{part!r}{near}", kind="path")


def conv_norm_act(features: int, size: int, *more: Part, dilation: int = 1) -> Layer:
    """Convolution with "same" padding, batch norm, ReLU, and further parts: "0", "1", "2", …"""
    conv = Conv(features, size, padding="same", dilation=dilation, bias=False)
    return numbered(conv, BatchNorm(), jax.nn.relu, *more)


def auxiliary_head(found: Features, aux: bool | str, num_classes: int) -> tuple[list[str], Layer | None]:
    """The part whose maps an auxiliary classifier takes, in a list, and the classifier; an empty list and None if none.

    Args:
      found: the encoder.
      aux: the part; True for the last but one; False for no classifier.
      num_classes: channels of logits.

    Raises:
      ShapeError: if the encoder has no such part, or the net no logits.
    """
    if not aux:
        return [], None
    if num_classes == 0:
        raise ShapeError("aux needs logits", got="num_classes=0", fix="aux=False")
    part = [*found.channels][-2:][0] if aux is True else aux
    _check_parts([part], found.channels)
    inner = max(found.channels[part] // 4, 1)
    return [part], conv_norm_act(inner, 3, Dropout(0.1), Conv(num_classes, 1))


def segmenter(
    name: str,
    encoder: Layer,
    classifier: Layer,
    *,
    num_classes: int,
    upto: str | None,
    auxiliary: Layer | None = None,
) -> Layer:
    """A segmentation net: an encoder, a head, and bilinear interpolation of its logits to the image's size.

    Args:
      name: of the net.
      encoder: images to what the head takes, before it what an auxiliary head takes; the part `backbone`.
      classifier: the head; the part `classifier`, whose output is resized to the image if it has logits.
      num_classes: channels of the logits; 0 for the head's features at its own resolution.
      upto: path of the last part, for a backbone; None for the complete net.
      auxiliary: the head of an auxiliary output in training, `WithAuxiliary`; the part `aux_classifier`.
    """
    geometry.integer(num_classes, "num_classes", least=0)
    parts = {"backbone": encoder, "classifier": classifier}
    if auxiliary is not None:
        parts["aux_classifier"] = training_only(auxiliary)

    def flow(call: Call, x: Any) -> Any:
        maps, extra = call("backbone", x), None
        if auxiliary is not None:
            first, *rest = maps
            maps, extra = rest if len(rest) > 1 else rest[0], call("aux_classifier", first)
        y = call("classifier", maps)
        size = jnp.shape(x)[1:3]
        y = ops.resize(y, size, mode="linear") if num_classes else y
        return y if extra is None else WithAuxiliary(y, ops.resize(extra, size, mode="linear"))

    net = compose(name, parts, flow)
    return net if upto is None else backbone(net, upto)
