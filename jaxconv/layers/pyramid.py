"""Context at several scales: spatial pyramid pooling, atrous spatial pyramid pooling, pyramid pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import geometry, ops
from jaxconv._base.errors import ShapeError
from jaxconv.layers.combine import branch, chain, numbered
from jaxconv.layers.composition import compose
from jaxconv.layers.conv import Conv
from jaxconv.layers.dropout import Dropout
from jaxconv.layers.layer import Call, Layer, Part, printed, stateless_layer
from jaxconv.layers.norm import BatchNorm
from jaxconv.layers.pool import AdaptiveAvgPool

Activation = Callable[[jax.Array], jax.Array]
Norm = Callable[[], Layer]


@printed
def SPP(sizes: Sequence[int] = (4, 2, 1)) -> Layer:
    """Spatial pyramid pooling: the maxima of m windows per axis for each m of `sizes`, for inputs of any size.

    Args:
      sizes: windows along each axis, one number for each level.

    Returns:
      A Layer [N, *spatial, C] -> [N, C * Σ m^rank], no parameters.

    Raises:
      ShapeError: if there is no level, or a size is invalid.

    Source: He et al., Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition, 2014.

    >>> SPP().apply({}, {}, jnp.ones((1, 13, 9, 2)))[0].shape
    (1, 42)
    """
    levels = _levels(sizes)

    def pooled(x: Any, *, key: Any, train: bool) -> jax.Array:
        return jnp.concatenate([ops.flatten(ops.adaptive_max_pool(x, m)) for m in levels], axis=-1)

    return stateless_layer("spp", pooled)


@printed
def ASPP(
    features: int,
    rates: Sequence[int] = (6, 12, 18),
    *,
    dropout: float = 0.5,
    norm: Norm = BatchNorm,
    activation: Activation = jax.nn.relu,
) -> Layer:
    """Atrous spatial pyramid pooling: dilated 3×3 convolutions, a 1×1 convolution and the image's mean, side by side.

    Args:
      features: channels of each branch and of the output.
      rates: dilation of each 3×3 convolution.
      dropout: dropout rate after the last convolution.
      norm: constructor of the norm after each convolution.
      activation: function after each norm.

    Returns:
      A Layer [N, H, W, C] -> [N, H, W, features], with torchvision's parts `convs` and `project`.

    Raises:
      ShapeError: if a rate is invalid.

    Source: Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, 2017.

    >>> layer = ASPP(8)
    >>> params, state = layer.init(jax.random.key(0), (1, 16, 16, 4))
    >>> layer.apply(params, state, jnp.ones((1, 16, 16, 4)))[0].shape, params["convs"]["1"]["0"]["kernel"].shape
    ((1, 16, 16, 8), (3, 3, 4, 8))
    """
    rates = _levels(rates, "rates")

    def unit(conv: Layer, *more: Part) -> Layer:
        return numbered(conv, norm(), activation, *more)

    pooled = numbered(AdaptiveAvgPool(1), Conv(features, 1, bias=False), norm(), activation)

    def image(call: Call, x: Any) -> Any:
        h = x
        for name in pooled.parts:
            h = call(name, h)
        return jnp.broadcast_to(h, (*jnp.shape(x)[:-1], features))  # any interpolation of one cell

    branches = [
        unit(Conv(features, 1, bias=False)),
        *(unit(Conv(features, 3, padding="same", dilation=rate, bias=False)) for rate in rates),
        compose("image_pool", pooled.parts, image),
    ]
    project = unit(Conv(features, 1, bias=False), *([Dropout(dropout)] if dropout else []))
    named: dict[str, Any] = {str(number): layer for number, layer in enumerate(branches)}
    return chain(convs=branch(**named), project=project)


@printed
def PPM(
    features: int,
    sizes: Sequence[int] = (1, 2, 3, 6),
    *,
    align_corners: bool = False,
    norm: Norm = BatchNorm,
    activation: Activation = jax.nn.relu,
) -> Layer:
    """Pyramid pooling: means of m×m windows for each m of `sizes`, resized to the input and concatenated with it.

    Args:
      features: channels of each level; C / len(sizes) in the paper.
      sizes: windows along each axis, one number for each level.
      align_corners: of the resizing, see `jaxconv.resize`; True in the authors' code.
      norm: constructor of the norm after each 1×1 convolution.
      activation: function after each norm.

    Returns:
      A Layer [N, H, W, C] -> [N, H, W, C + len(sizes)*features], with parts `0`, `1`, …, one for each level.

    Raises:
      ShapeError: if there is no level, or a size is invalid.

    Source: Zhao et al., Pyramid Scene Parsing Network, 2017.

    >>> layer = PPM(2)
    >>> params, state = layer.init(jax.random.key(0), (1, 12, 12, 8))
    >>> layer.apply(params, state, jnp.ones((1, 12, 12, 8)))[0].shape
    (1, 12, 12, 16)
    """
    levels = _levels(sizes)
    parts = {
        str(number): numbered(AdaptiveAvgPool(m), Conv(features, 1, bias=False), norm(), activation)
        for number, m in enumerate(levels)
    }

    def flow(call: Call, x: Any) -> Any:
        maps = [call(name, x) for name in parts]
        size = jnp.shape(x)[1:-1]
        return jnp.concatenate(
            [x, *(ops.resize(h, size, mode="linear", align_corners=align_corners) for h in maps)], axis=-1
        )

    return compose("ppm", parts, flow)


def _levels(sizes: Sequence[int], name: str = "sizes") -> tuple[int, ...]:
    if isinstance(sizes, int | str) or not len(sizes):
        raise ShapeError(f"{name} must be a sequence of at least one int", got=f"{name}={sizes!r}")
    return tuple(geometry.integer(m, name) for m in sizes)
