"""Resizing layer."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from jaxconv import ops
from jaxconv._base.types import Params, State
from jaxconv.layers.layer import Layer, printed, shape_of, stateless_layer
from jaxconv.ops._adaptive import AdaptiveSize
from jaxconv.ops._resize import ResizeMode, Scale, check_resize


@printed
def Upsample(
    size: AdaptiveSize | None = None,
    *,
    scale: Scale | None = None,
    mode: ResizeMode = "nearest",
    align_corners: bool = False,
    antialias: bool = False,
) -> Layer:
    """`jaxconv.resize` as a layer: [N, *spatial, C] -> [N, *out, C].

    >>> import jax.numpy as jnp
    >>> Upsample(scale=2, mode="linear").apply({}, {}, jnp.ones((1, 8, 6, 3)))[0].shape
    (1, 16, 12, 3)
    """
    check_resize(mode, align_corners, antialias)

    def resized(x: Any) -> jax.Array:
        return ops.resize(x, size, scale=scale, mode=mode, align_corners=align_corners, antialias=antialias)

    def init(key: Any, x: Any) -> tuple[Params, State]:
        jax.eval_shape(resized, shape_of(x))  # fail at init, not at apply
        return {}, {}

    return dataclasses.replace(stateless_layer("upsample", lambda x, *, key, train: resized(x)), init=init)
