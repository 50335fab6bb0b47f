"""Pooling layers: no parameters; the stride defaults to the kernel size."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from jaxconv import ops
from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Ints, Padding, PaddingMode, Params, State
from jaxconv.layers.layer import Layer, printed, shape_of, stateless_layer
from jaxconv.ops._adaptive import AdaptiveSize


def _pool(name: str, kernel_size: Any, **arguments: Any) -> Layer:
    """The layer of a pooling op; invalid arguments fail at `init`."""
    op = getattr(ops, name)
    layer = stateless_layer(name, lambda x, *, key, train: op(x, kernel_size, **arguments))

    def init(key: Any, x: Any) -> tuple[Params, State]:
        jax.eval_shape(lambda x: op(x, kernel_size, **arguments), shape_of(x))
        return {}, {}

    return dataclasses.replace(layer, init=init)


@renamed_arguments(size="kernel_size", ceil="ceil_mode")
@printed
def MaxPool(
    kernel_size: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = "valid",
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> Layer:
    """`jaxconv.max_pool` as a layer: [N, *spatial, C] -> [N, *out, C].

    >>> import jax.numpy as jnp
    >>> MaxPool(2).apply({}, {}, jnp.ones((1, 24, 24, 20)))[0].shape
    (1, 12, 12, 20)
    """
    return _pool("max_pool", kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)


@renamed_arguments(size="kernel_size", ceil="ceil_mode", count_padding="count_include_pad")
@printed
def AvgPool(
    kernel_size: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = "valid",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Layer:
    """`jaxconv.avg_pool` as a layer: [N, *spatial, C] -> [N, *out, C].

    >>> import jax.numpy as jnp
    >>> AvgPool(2).apply({}, {}, jnp.ones((1, 24, 24, 20)))[0].shape
    (1, 12, 12, 20)
    """
    return _pool(
        "avg_pool",
        kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )


@renamed_arguments(size="kernel_size", ceil="ceil_mode")
@printed
def LpPool(
    kernel_size: Ints,
    *,
    p: float = 2,
    stride: Ints | None = None,
    padding: Padding = "valid",
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> Layer:
    """`jaxconv.lp_pool` as a layer: [N, *spatial, C] -> [N, *out, C].

    >>> import jax.numpy as jnp
    >>> LpPool(2, p=1).apply({}, {}, jnp.ones((1, 2, 2, 1)))[0]
    Array([[[[4.]]]], dtype=float32)
    """
    return _pool("lp_pool", kernel_size, p=p, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)


@renamed_arguments(size="kernel_size", ceil="ceil_mode")
@printed
def L2Pool(
    kernel_size: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = "valid",
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> Layer:
    """`jaxconv.l2_pool` as a layer: [N, *spatial, C] -> [N, *out, C].

    >>> import jax.numpy as jnp
    >>> L2Pool((2,)).apply({}, {}, jnp.array([[[3.0], [4.0]]]))[0]
    Array([[[5.]]], dtype=float32)
    """
    return _pool("l2_pool", kernel_size, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)


@printed
def AdaptiveAvgPool(out: AdaptiveSize) -> Layer:
    """`jaxconv.adaptive_avg_pool` as a layer: [N, *spatial, C] -> [N, *out, C].

    >>> import jax.numpy as jnp
    >>> AdaptiveAvgPool(7).apply({}, {}, jnp.ones((1, 10, 12, 3)))[0].shape
    (1, 7, 7, 3)
    """
    return _pool("adaptive_avg_pool", out)


@printed
def AdaptiveMaxPool(out: AdaptiveSize) -> Layer:
    """`jaxconv.adaptive_max_pool` as a layer: [N, *spatial, C] -> [N, *out, C].

    >>> import jax.numpy as jnp
    >>> AdaptiveMaxPool((2, 3)).apply({}, {}, jnp.ones((1, 10, 12, 3)))[0].shape
    (1, 2, 3, 3)
    """
    return _pool("adaptive_max_pool", out)


@renamed_arguments(size="kernel_size", pad_mode="padding_mode")
@printed
def BlurPool(kernel_size: Ints = 3, *, stride: Ints = 2, padding_mode: PaddingMode = "reflect") -> Layer:
    """`jaxconv.blur_pool` as a layer: [N, *spatial, C] -> [N, *out, C].

    >>> import jax.numpy as jnp
    >>> BlurPool().apply({}, {}, jnp.ones((1, 8, 8, 2)))[0].shape
    (1, 4, 4, 2)
    """
    return _pool("blur_pool", kernel_size, stride=stride, padding_mode=padding_mode)


@printed
def StochasticPool(
    kernel_size: Ints, *, stride: Ints | None = None, padding: Padding = "valid", dilation: Ints = 1
) -> Layer:
    """`jaxconv.stochastic_pool` as a layer: a random cell of each window in training, its expectation otherwise.

    Needs a key in training.

    >>> import jax.numpy as jnp
    >>> StochasticPool((2,)).apply({}, {}, jnp.array([[[1.0], [3.0]]]))[0]
    Array([[[2.5]]], dtype=float32)
    """
    words: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}

    def run(x: Any, *, key: Any, train: bool) -> jax.Array:
        return ops.stochastic_pool(x, kernel_size, _drawn(key) if train else None, **words)

    checked = _pool("stochastic_pool", kernel_size, **words)
    return dataclasses.replace(stateless_layer("stochastic_pool", run), init=checked.init)


def _drawn(key: Any) -> jax.Array:
    """`key`; raises ShapeError if there is none."""
    if key is None:
        raise ShapeError(
            "stochastic_pool needs a key when train=True",
            got="key=None",
            fix="net.apply(params, state, x, key=jax.random.fold_in(key, step), train=True)",
            kind="key",
        )
    return key
