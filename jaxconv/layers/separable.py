"""Depthwise, depthwise separable and spatially separable convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Ints, Padding, Params, State
from jaxconv.layers.combine import chain
from jaxconv.layers.conv import Conv
from jaxconv.layers.layer import Layer, printed, shape_of


@renamed_arguments(size="kernel_size", pad_mode="padding_mode")
@printed
def DepthwiseConv(kernel_size: Ints, *, multiplier: int = 1, **arguments: Any) -> Layer:
    """Depthwise convolution: every channel is convolved separately to `multiplier` feature maps.

    Args:
      kernel_size: size of the local receptive field, as in `Conv`.
      multiplier: feature maps per channel.
      arguments: as in `Conv`, except features and groups.

    Returns:
      A Layer [N, *spatial, C] -> [N, *out, C * multiplier]; params `kernel` [*k, 1, C * multiplier] and `bias`.

    Raises:
      ShapeError: as `Conv`.

    >>> import jax
    >>> params, _ = DepthwiseConv(3).init(jax.random.key(0), (1, 8, 8, 6))
    >>> params["kernel"].shape
    (3, 3, 1, 6)
    """
    geometry.integer(multiplier, "multiplier")
    for word in {"features", "groups"} & set(arguments):
        raise ShapeError(
            f"{word} of a depthwise convolution are determined by its input", got=f"{word}={arguments[word]}"
        )
    Conv(1, kernel_size, **arguments)  # invalid arguments fail here, not at init

    def as_conv(channels: int) -> Layer:
        return Conv(channels * multiplier, kernel_size, groups=channels, **arguments)

    def init(key: Any, x: Any) -> tuple[Params, State]:
        channels = shape_of(x).shape[-1]
        if channels < 1:
            raise ShapeError("depthwise_conv needs at least one channel", got=f"{shape_of(x).shape}", kind="channels")
        return as_conv(channels).init(key, x)

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        maps = jnp.shape(params["kernel"])[-1] if "kernel" in params else 0
        return as_conv(max(maps // multiplier, 1)).apply(params, state, x)

    return Layer("depthwise_conv", init, apply)


@renamed_arguments(size="kernel_size", pad_mode="padding_mode")
@printed
def SeparableConv(
    features: int, kernel_size: Ints, *, multiplier: int = 1, bias: bool = True, middle: Any = None, **arguments: Any
) -> Layer:
    """Depthwise separable convolution: depthwise in space, then 1×1 across channels.

    Args:
      features: number of output feature maps.
      kernel_size, multiplier: as in `DepthwiseConv`.
      bias: whether the pointwise convolution has a bias (the depthwise one has none).
      middle: a layer or callable between the two, such as a norm or an activation.
      arguments: further arguments of the depthwise convolution: stride, padding, dilation, ….

    Returns:
      A Layer [N, *spatial, C] -> [N, *out, features] with parts `depthwise`, `pointwise` (and `middle`).

    Source: Sifre, Rigid-Motion Scattering, 2014; Chollet, Xception, 2016.

    >>> import jax
    >>> params, _ = SeparableConv(16, 3).init(jax.random.key(0), (1, 8, 8, 6))
    >>> params["depthwise"]["kernel"].shape, params["pointwise"]["kernel"].shape
    ((3, 3, 1, 6), (1, 1, 6, 16))
    """
    one = (1,) * len(kernel_size) if isinstance(kernel_size, Sequence) else 1
    between = {} if middle is None else {"middle": middle}
    return chain(
        depthwise=DepthwiseConv(kernel_size, multiplier=multiplier, bias=False, **arguments),
        **between,
        pointwise=Conv(features, one, bias=bias),
    )


@renamed_arguments(size="kernel_size", pad_mode="padding_mode")
@printed
def SpatiallySeparableConv(
    features: int,
    kernel_size: Sequence[int],
    *,
    stride: Ints = 1,
    padding: Padding = "valid",
    dilation: Ints = 1,
    bias: bool = True,
    **arguments: Any,
) -> Layer:
    """A k×k convolution as k×1 followed by 1×k: 2k weights for each pair of channels instead of k².

    Args:
      features: feature maps of each convolution.
      kernel_size: one int for each spatial axis.
      stride, padding, dilation: as in `Conv`; each convolution takes the value of its axis.
      bias: whether the last convolution has a bias; the others have none.
      arguments: further arguments of `Conv`.

    Returns:
      A Layer [N, *spatial, C] -> [N, *out, features] with parts `axis0`, `axis1`, ….

    Raises:
      ShapeError: if kernel_size is not one int for each axis.

    Source: Szegedy et al., Rethinking the Inception Architecture, 2015.

    >>> import jax
    >>> params, _ = SpatiallySeparableConv(4, (3, 3)).init(jax.random.key(0), (1, 8, 8, 2))
    >>> params["axis0"]["kernel"].shape, params["axis1"]["kernel"].shape
    ((3, 1, 2, 4), (1, 3, 4, 4))
    """
    if not isinstance(kernel_size, Sequence) or isinstance(kernel_size, str) or not kernel_size:
        fix = f"kernel_size=({kernel_size}, {kernel_size})" if isinstance(kernel_size, int) else ""
        raise ShapeError(
            "kernel_size must be one int for each spatial axis", got=f"kernel_size={kernel_size!r}", fix=fix
        )
    rank = len(kernel_size)
    strides = geometry.per_axis(stride, rank, "stride")
    dilations = geometry.per_axis(dilation, rank, "dilation")
    word = isinstance(padding, str)
    pairs = () if word else geometry.pads(padding, *[(1,) * rank] * 4)
    parts = {}
    for axis in range(rank):

        def only(values: Sequence[Any], rest: Any, axis: int = axis) -> tuple[Any, ...]:
            return tuple(values[axis] if i == axis else rest for i in range(rank))

        parts[f"axis{axis}"] = Conv(
            features,
            only(kernel_size, 1),
            stride=only(strides, 1),
            padding=padding if word else only(pairs, (0, 0)),
            dilation=only(dilations, 1),
            bias=bias and axis == rank - 1,
            **arguments,
        )
    return chain(**parts)
