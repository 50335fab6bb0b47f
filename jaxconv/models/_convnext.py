"""ConvNeXt: a ResNet modernized after vision transformers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxconv._base.dtypes import channelwise
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import State
from jaxconv.layers import AdaptiveAvgPool, Conv, Dense, DepthwiseConv, DropPath, LayerNorm, chain
from jaxconv.layers.checks import param_dtype
from jaxconv.layers.composition import compose
from jaxconv.layers.initializers import Normal
from jaxconv.layers.layer import Layer, Part, shape_of
from jaxconv.models._stages import ending, numbered
from jaxconv.ops import flatten

__all__ = ["convnext", "convnext_base", "convnext_small", "convnext_tiny"]

START = Normal(0.02)
norm = functools.partial(LayerNorm, eps=1e-6)
gelu = functools.partial(jax.nn.gelu, approximate=False)


def convnext(
    num_classes: int = 1000,
    *,
    widths: Sequence[int] = (96, 192, 384, 768),
    depths: Sequence[int] = (3, 3, 9, 3),
    drop_path: float = 0.1,
    layer_scale: float = 1e-6,
    upto: str | None = None,
) -> Layer:
    """ConvNeXt of any widths and depths.

    Liu et al., "A ConvNet for the 2020s" (2022), with torchvision's part names: `features/0` (4×4 patches),
    `features/1`, `features/3`, `features/5`, `features/7` (stages, their blocks "0", "1", …), `features/2`, `4`
    and `6` (norm and 2×2 convolution between them), `classifier` (norm, flatten, dense).

    Args:
      num_classes: units of the last layer; 0 for pooled features, [N, C], without the classifier.
      widths: output channels of each stage.
      depths: number of blocks in each stage.
      drop_path: stochastic depth: drop rate of the last block; the rates grow linearly from 0 at the first.
      layer_scale: initial value of each block's layer scale.
      upto: path of the last part, for a backbone ("features/5": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes], H and W at least 32 with four stages.

    Raises:
      ShapeError: if an argument is invalid, or no part has the path `upto`.
      ValueError: if widths and depths differ in length.

    >>> net = convnext(10, widths=(8, 16), depths=(1, 1), upto="features/3")
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 32, 32, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 32, 32, 3), "float32"))[0].shape
    (1, 4, 4, 16)
    """
    if len(widths) != len(depths):
        raise ValueError(f"widths and depths must have one entry for each stage, got {widths} and {depths}")
    stages = [numbered(Conv(widths[0], 4, stride=4, kernel_init=START), norm())]
    number = 0
    for channels, depth in zip(widths, depths, strict=True):
        if number:
            stages.append(numbered(norm(), Conv(channels, 2, stride=2, kernel_init=START)))
        rates = [drop_path * i / max(sum(depths) - 1, 1) for i in range(number, number + depth)]
        stages.append(numbered(*(_block(channels, rate, layer_scale) for rate in rates)))
        number += depth

    def head(num_classes: int) -> Mapping[str, Any]:
        return {"classifier": numbered(norm(), flatten, Dense(num_classes, kernel_init=START))}

    body = {"features": numbered(*stages)}
    return ending(body, head, num_classes=num_classes, upto=upto, pool=AdaptiveAvgPool(1))


def _block(channels: int, rate: float, layer_scale: float) -> Layer:
    """7×7 depthwise convolution, then at every pixel a dense layer to four times the channels and one back."""
    inner: dict[str, Part] = {  # 1 and 6 are torch's permutations to channels-last and back, not needed here
        "0": DepthwiseConv(7, padding=3, kernel_init=START),
        "2": norm(),
        "3": Dense(4 * channels, kernel_init=START),
        "4": gelu,
        "5": Dense(channels, kernel_init=START),
    }
    parts = {"block": chain(**inner), "layer_scale": _layer_scale(layer_scale), "stochastic_depth": DropPath(rate)}

    def flow(call: Callable[..., Any], x: Any) -> Any:
        return x + call("stochastic_depth", call("layer_scale", call("block", x)))

    return compose("convnext_block", parts, flow)


def _layer_scale(value: float) -> Layer:
    """x * params, one factor for each channel. Its params are the array itself, to match torch's parameter name."""

    def init(key: Any, x: Any) -> tuple[Any, State]:
        x = shape_of(x)
        return jax.device_put(np.full(x.shape[-1:], value, param_dtype(x))), {}

    def apply(params: Any, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        got = getattr(params, "shape", type(params).__name__)
        if got != x.shape[-1:]:
            raise ShapeError(f"layer_scale must be an array {x.shape[-1:]}", got=f"{got}")
        return x * channelwise(params, x), state

    return Layer("layer_scale", init, apply)


def convnext_tiny(num_classes: int = 1000, *, drop_path: float = 0.1, upto: str | None = None) -> Layer:
    """ConvNeXt-T: 96 to 768 channels; 3, 3, 9 and 3 blocks.

    Liu et al., "A ConvNet for the 2020s" (2022); see `convnext` for the part names.

    Args:
      num_classes: units of the last layer; 0 for pooled features, [N, C], without the classifier.
      drop_path: stochastic depth: drop rate of the last block; the rates grow linearly from 0 at the first.
      upto: path of the last part, for a backbone ("features/5": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes], H and W at least 32.

    Raises:
      ShapeError: if an argument is invalid, or no part has the path `upto`.

    >>> net = convnext_tiny(num_classes=0)
    >>> params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 32, 32, 3)))
    >>> jax.eval_shape(net.apply, params, state, jax.ShapeDtypeStruct((1, 32, 32, 3), "float32"))[0].shape
    (1, 768)
    """
    return convnext(num_classes, drop_path=drop_path, upto=upto)


def convnext_small(num_classes: int = 1000, *, drop_path: float = 0.4, upto: str | None = None) -> Layer:
    """ConvNeXt-S: 96 to 768 channels; 3, 3, 27 and 3 blocks.

    Liu et al., "A ConvNet for the 2020s" (2022); see `convnext` for the part names.

    Args:
      num_classes: units of the last layer; 0 for pooled features, [N, C], without the classifier.
      drop_path: stochastic depth: drop rate of the last block; the rates grow linearly from 0 at the first.
      upto: path of the last part, for a backbone ("features/5": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes], H and W at least 32.

    Raises:
      ShapeError: if an argument is invalid, or no part has the path `upto`.

    >>> len(convnext_small().parts["features"].parts["5"].parts)
    27
    """
    return convnext(num_classes, depths=(3, 3, 27, 3), drop_path=drop_path, upto=upto)


def convnext_base(num_classes: int = 1000, *, drop_path: float = 0.5, upto: str | None = None) -> Layer:
    """ConvNeXt-B: 128 to 1024 channels; 3, 3, 27 and 3 blocks.

    Liu et al., "A ConvNet for the 2020s" (2022); see `convnext` for the part names.

    Args:
      num_classes: units of the last layer; 0 for pooled features, [N, C], without the classifier.
      drop_path: stochastic depth: drop rate of the last block; the rates grow linearly from 0 at the first.
      upto: path of the last part, for a backbone ("features/5": stride 16); None for the complete net.

    Returns:
      Layer: [N, H, W, C] to [N, num_classes], H and W at least 32.

    Raises:
      ShapeError: if an argument is invalid, or no part has the path `upto`.

    >>> len(convnext_base().parts["features"].parts["5"].parts)
    27
    """
    widths, depths = (128, 256, 512, 1024), (3, 3, 27, 3)
    return convnext(num_classes, widths=widths, depths=depths, drop_path=drop_path, upto=upto)
