"""U-Net for segmentation, with its own contracting path or any encoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxconv import geometry, ops
from jaxconv._base.errors import ShapeError
from jaxconv.layers import BatchNorm, Conv, ConvTranspose, Dropout, MaxPool, backbone, chain
from jaxconv.layers.composition import compose
from jaxconv.layers.initializers import he_normal
from jaxconv.layers.layer import Layer
from jaxconv.models._encoder import Encoder, features_of

__all__ = ["encoder_unet", "unet"]


def unet(
    num_classes: int = 2,
    *,
    width: int = 64,
    depth: int = 4,
    padding: Literal["valid", "same"] = "valid",
    batch_norm: bool = False,
    dropout: float = 0.0,
    upto: str | None = None,
) -> Layer:
    """Per-pixel logits: a contracting path, an expansive path, and skip connections at every resolution.

    Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation" (2015), figure 1:
    572×572 to 388×388, two 3×3 convolutions at each of five resolutions, twice the channels at half the resolution.

    Args:
      num_classes: channels of logits; 0 for no head: `width` channels of features.
      width: channels at full resolution.
      depth: number of times the resolution is halved.
      padding: "valid" as in the paper, where skip connections are center-cropped to match; "same" for an output of
        the input's size, even or odd.
      batch_norm: whether a batch norm follows each 3×3 convolution (not in the paper).
      dropout: dropout rate at the end of the contracting path.
      upto: path of the last part, for a backbone ("bottom": the contracting path); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, H', W', num_classes], with parts `contract1`, `pool1`, …, `bottom`, then `up4`,
      `expand4`, …, `head`. With "valid" and depth 4, H' = 16 h - 60, where h is the height
      of `bottom`; the paper requires even sizes at every pool.

    Raises:
      ShapeError: if an argument is invalid, the image is too small, or no part has the path `upto`.

    >>> net = unet()
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 572, 572, 1)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 572, 572, 1), "float32"))[0].shape
    (1, 388, 388, 2)
    """
    geometry.integer(width, "width")
    geometry.integer(depth, "depth")
    geometry.integer(num_classes, "num_classes", least=0)
    if padding not in ("valid", "same"):
        raise ShapeError('padding of a U-Net must be "valid" or "same"', got=f"padding={padding!r}")
    same = padding == "same"

    def pair(level: int) -> list[Any]:
        return _pair(width * 2**level, padding, batch_norm)

    levels = range(1, depth + 1)
    parts: dict[str, Any] = {}
    for n in levels:
        parts |= {f"contract{n}": chain(*pair(n - 1)), f"pool{n}": MaxPool(2, ceil_mode=same)}
    parts["bottom"] = chain(*pair(depth), *([Dropout(dropout)] if dropout else []))
    for n in reversed(levels):
        up = ConvTranspose(width * 2 ** (n - 1), 2, stride=2, kernel_init=he_normal)
        parts |= {f"up{n}": up, f"expand{n}": chain(*pair(n - 1))}
    if num_classes:
        parts["head"] = Conv(num_classes, 1)

    def flow(call: Callable[..., Any], x: Any) -> Any:
        skips = {}
        for n in levels:
            skips[n] = x = call(f"contract{n}", x)
            x = call(f"pool{n}", x)
        x = call("bottom", x)
        for n in reversed(levels):
            x = call(f"expand{n}", _joined(call(f"up{n}", x), skips[n]))
        return call("head", x) if num_classes else x

    net = compose("unet", parts, flow)
    return net if upto is None else backbone(net, upto=upto)


def encoder_unet(
    num_classes: int = 21,
    *,
    encoder: Encoder = "resnet34",
    width: int = 16,
    batch_norm: bool = True,
    dropout: float = 0.0,
    upto: str | None = None,
) -> Layer:
    """U-Net whose contracting path is any encoder: its last maps at each stride are the skip connections.

    Args:
      num_classes: channels of logits; 0 for no head: `width` channels of features.
      encoder: a classifier by name; a table of its `name` and arguments, of which `upto` is the path of its last part;
        or a Layer.
      width: channels of the expansive path at full resolution; twice as many at half of it.
      batch_norm: whether a batch norm follows each 3×3 convolution of the expansive path.
      dropout: dropout rate after the encoder.
      upto: path of the last part, for a backbone ("expand1"); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, H, W, num_classes], with parts `backbone`, then `up5`, `expand5`, …, `head`.

    Raises:
      ConfigError: if there is no such encoder, or its arguments are invalid.
      ShapeError: if another argument is invalid, the encoder halves nothing, or no part has the path `upto`.

    Source: Ronneberger et al., U-Net, 2015; on other encoders as in Iglovikov and Shvets, TernausNet, 2018.

    >>> net = encoder_unet(5, encoder={"name": "resnet", "blocks": [1, 1], "width": 8})
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 33, 40, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 33, 40, 3), "float32"))[0].shape
    (1, 33, 40, 5)
    """
    geometry.integer(width, "width")
    geometry.integer(num_classes, "num_classes", least=0)
    found = features_of(encoder)
    *skipped, coarsest = found.all_strides
    if not skipped:
        raise ShapeError("encoder_unet needs an encoder with maps at two strides", got=f"stride {coarsest} alone")
    levels = range(1, round(math.log2(coarsest)) + 1)
    joined = [round(math.log2(stride)) + 1 for stride in skipped]
    parts: dict[str, Any] = {"backbone": found.maps(*map(found.at, found.all_strides))}
    if dropout:
        parts["bottom"] = Dropout(dropout)
    for n in reversed(levels):
        features = width * 2 ** (n - 1)
        parts[f"up{n}"] = ConvTranspose(features, 2, stride=2, kernel_init=he_normal)
        parts[f"expand{n}"] = chain(*_pair(features, "same", batch_norm))
    if num_classes:
        parts["head"] = Conv(num_classes, 1)

    def flow(call: Callable[..., Any], x: Any) -> Any:
        size = x.shape[1:3]
        *maps, x = call("backbone", x)
        skips = dict(zip(joined, maps, strict=True))
        x = call("bottom", x) if dropout else x
        for n in reversed(levels):
            x = call(f"up{n}", x)
            x = _joined(x, skips[n]) if n in skips else _cropped(x, [-(-side // 2 ** (n - 1)) for side in size])
            x = call(f"expand{n}", x)
        x = ops.resize(x, size, mode="linear") if x.shape[1:3] != size else x  # of encoders without padding
        return call("head", x) if num_classes else x

    net = compose("encoder_unet", parts, flow)
    return net if upto is None else backbone(net, upto=upto)


def _pair(features: int, padding: Literal["valid", "same"], batch_norm: bool) -> list[Any]:
    """Two convolutions at one resolution."""
    conv = Conv(features, 3, padding=padding, bias=not batch_norm, kernel_init=he_normal)
    return 2 * [conv, *([BatchNorm()] if batch_norm else []), jax.nn.relu]


def _joined(x: jax.Array, skip: jax.Array) -> jax.Array:
    """Maps that were upsampled, behind those of the contracting path, both as large as the smaller."""
    height, width = (min(a, b) for a, b in zip(x.shape[1:3], skip.shape[1:3], strict=True))
    return jnp.concatenate([_center_crop(skip, height, width), _cropped(x, (height, width))], axis=-1)


def _cropped(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """Drop the last row or column of an odd size, which comes from a partial pool window."""
    return x[:, : size[0], : size[1]]


def _center_crop(x: jax.Array, height: int, width: int) -> jax.Array:
    """[N, H, W, C] -> [N, height, width, C]."""
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    return x[:, top : top + height, left : left + width]
