"""Attention over channels and positions, as blocks that keep the shape of their input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import geometry, ops
from jaxconv._base.errors import ShapeError, count
from jaxconv.layers.composition import compose
from jaxconv.layers.conv import Conv
from jaxconv.layers.initializers import Initializer, lecun_normal
from jaxconv.layers.layer import Call, Layer, Part, printed
from jaxconv.layers.norm import BatchNorm
from jaxconv.layers.pool import AdaptiveAvgPool
from jaxconv.ops._pool import first_max

Activation = Callable[[jax.Array], jax.Array]


@printed
def SqueezeExcite(
    features: int,
    squeezed: int,
    *,
    activation: Activation = jax.nn.relu,
    gate: Activation = jax.nn.sigmoid,
    kernel_init: Initializer = lecun_normal,
) -> Layer:
    """Squeeze-and-excitation: scale each channel by a factor in [0, 1] computed from the means of all channels.

    Args:
      features: channels of the input and output.
      squeezed: units between the two 1×1 convolutions.
      activation, gate: functions after the first and the second of them.
      kernel_init: of both.

    Returns:
      A Layer [N, H, W, features] -> the same, with torchvision's parts `fc1` and `fc2`.

    Raises:
      ShapeError: if the input has another number of channels.

    Source: Hu et al., Squeeze-and-Excitation Networks, 2018.

    >>> params, _ = SqueezeExcite(8, 2).init(jax.random.key(0), (1, 4, 4, 8))
    >>> params["fc1"]["kernel"].shape, params["fc2"]["kernel"].shape
    ((1, 1, 8, 2), (1, 1, 2, 8))
    """
    parts: dict[str, Part] = {
        "avgpool": AdaptiveAvgPool(1),
        "fc1": Conv(squeezed, 1, kernel_init=kernel_init),
        "activation": activation,
        "fc2": Conv(features, 1, kernel_init=kernel_init),
        "scale_activation": gate,
    }

    def flow(call: Call, x: Any) -> Any:
        h = x = _with_channels(x, features, "squeeze_excite")
        for name in parts:
            h = call(name, h)
        return x * h

    return compose("squeeze_excite", parts, flow)


@printed
def ECA(kernel_size: int = 3, *, gate: Activation = jax.nn.sigmoid) -> Layer:
    """Efficient channel attention: scale each channel by a factor computed from the means of its neighbors.

    Args:
      kernel_size: channels that a factor depends on, an odd number. The paper's, for C channels, is the odd number
        nearest to log2(C)/2 + 1/2: 3 for 64, 5 for 256 or more.
      gate: function of the convolution's output.

    Returns:
      A Layer [N, *spatial, C] -> the same, with part `conv`, a convolution over the channels without a bias.

    Raises:
      ShapeError: if kernel_size is even.

    Source: Wang et al., ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks, 2020.

    >>> params, _ = ECA(5).init(jax.random.key(0), (1, 4, 4, 8))
    >>> jax.tree.map(jnp.shape, params)
    {'conv': {'kernel': (5, 1, 1)}}
    """
    if geometry.integer(kernel_size, "kernel_size") % 2 == 0:
        raise ShapeError("kernel_size of ECA must be odd", got=f"kernel_size={kernel_size}", fix="kernel_size=3")

    def flow(call: Call, x: Any) -> Any:
        means = ops.global_avg_pool(x)
        factors = gate(call("conv", means[..., None]))
        return x * factors.reshape(means.shape[0], *(1,) * (jnp.ndim(x) - 2), means.shape[1])

    return compose("eca", {"conv": Conv(1, (kernel_size,), padding="same", bias=False)}, flow)


@printed
def CBAM(features: int, squeezed: int, *, kernel_size: int = 7, activation: Activation = jax.nn.relu) -> Layer:
    """Convolutional block attention: factors in [0, 1] for the channels, then for the positions.

    Args:
      features: channels of the input and output.
      squeezed: units between the two 1×1 convolutions, which see the mean and the maximum of each channel.
      kernel_size: of the convolution over the mean and the maximum at each position.
      activation: function between the two 1×1 convolutions.

    Returns:
      A Layer [N, H, W, features] -> the same, with parts `fc1`, `fc2` and `conv`, without biases.

    Raises:
      ShapeError: if the input has another number of channels.

    Source: Woo et al., CBAM: Convolutional Block Attention Module, 2018.

    >>> params, _ = CBAM(8, 2).init(jax.random.key(0), (1, 4, 4, 8))
    >>> jax.tree.map(jnp.shape, params)["conv"]
    {'kernel': (7, 7, 2, 1)}
    """
    parts: dict[str, Part] = {
        "fc1": Conv(squeezed, 1, bias=False),
        "activation": activation,
        "fc2": Conv(features, 1, bias=False),
        "conv": Conv(1, kernel_size, padding="same", bias=False),
    }

    def flow(call: Call, x: Any) -> Any:
        x = _with_channels(x, features, "cbam")
        pooled = (ops.adaptive_avg_pool(x, 1), ops.adaptive_max_pool(x, 1))
        mean, most = (call("fc2", call("activation", call("fc1", h))) for h in pooled)
        x = x * jax.nn.sigmoid(mean + most)
        ends = jnp.concatenate([x.mean(-1, keepdims=True), first_max(x, x.ndim - 1)[..., None]], axis=-1)
        return x * jax.nn.sigmoid(call("conv", ends))

    return compose("cbam", parts, flow)


@printed
def CoordinateAttention(
    features: int,
    squeezed: int,
    *,
    norm: Callable[[], Layer] = BatchNorm,
    activation: Activation = jax.nn.hard_swish,
) -> Layer:
    """Coordinate attention: factors in [0, 1] for each channel and row, and for each channel and column.

    Args:
      features: channels of the input and output.
      squeezed: channels after the first convolution, at least 8 in the paper.
      norm: constructor of the norm after it.
      activation: function of the norm's output.

    Returns:
      A Layer [N, H, W, features] -> the same, with the authors' parts `conv1`, `bn1`, `conv_h` and `conv_w`.

    Raises:
      ShapeError: if the input is not [N, H, W, features].

    Source: Hou et al., Coordinate Attention for Efficient Mobile Network Design, 2021.

    >>> params, _ = CoordinateAttention(16, 8).init(jax.random.key(0), (1, 4, 6, 16))
    >>> params["conv_h"]["kernel"].shape
    (1, 1, 8, 16)
    """
    parts: dict[str, Part] = {
        "conv1": Conv(squeezed, 1),
        "bn1": norm(),
        "activation": activation,
        "conv_h": Conv(features, 1),
        "conv_w": Conv(features, 1),
    }

    def flow(call: Call, x: Any) -> Any:
        x = _with_channels(x, features, "coordinate_attention")
        if x.ndim != 4:
            raise ShapeError("coordinate_attention needs [N, H, W, C]", got=f"{x.shape}", kind="rank")
        rows = ops.adaptive_avg_pool(x, (None, 1))
        columns = ops.adaptive_avg_pool(x, (1, None)).swapaxes(1, 2)
        h = jnp.concatenate([rows, columns], axis=1)
        for name in ("conv1", "bn1", "activation"):
            h = call(name, h)
        down = jax.nn.sigmoid(call("conv_h", h[:, : x.shape[1]]))
        across = jax.nn.sigmoid(call("conv_w", h[:, x.shape[1] :].swapaxes(1, 2)))
        return x * down * across

    return compose("coordinate_attention", parts, flow)


def _with_channels(x: Any, features: int, layer: str) -> jax.Array:
    """x as an array; raises ShapeError unless it has so many channels."""
    x = jnp.asarray(x)
    if x.ndim < 3 or x.shape[-1] != features:
        raise ShapeError(
            f"{layer} needs {count(features, 'channel')} on the last axis",
            got=f"{x.shape}",
            fix=f"features={x.shape[-1]}" if x.ndim > 2 else "",
            kind="channels",
            expected=features,
            found=x.shape[-1] if x.ndim else None,
        )
    return x
