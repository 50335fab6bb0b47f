"""Convolution without shared weights, as a layer."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxconv import geometry, ops
from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.types import Ints, Padding, PaddingMode, Params, State
from jaxconv.engine.window import spatial_rank, window
from jaxconv.layers.checks import check_kernel, param_dtype, refuse_nchw
from jaxconv.layers.initializers import Initializer, draw_unshared, lecun_normal, zeros
from jaxconv.layers.layer import Layer, check_params, fold, printed, shape_of


@renamed_arguments(size="kernel_size", pad_mode="padding_mode")
@printed
def LocalConv(
    features: int,
    kernel_size: Ints,
    *,
    stride: Ints = 1,
    padding: Padding = "valid",
    padding_mode: PaddingMode = "zeros",
    dilation: Ints = 1,
    bias: bool = True,
    kernel_init: Initializer = lecun_normal,
    bias_init: Initializer = zeros,
    precision: lax.PrecisionLike = None,
) -> Layer:
    """Local receptive fields with weights of their own at every position: `jaxconv.local_conv`.

    Args:
      features, kernel_size, stride, padding, padding_mode, dilation, bias, precision: as in `Conv`.
      kernel_init, bias_init: (key, shape, dtype) -> array; each position's kernel [*k, C_in, features] is
        drawn by itself.

    Returns:
      A Layer [N, *spatial, C_in] -> [N, *out, features] with params `kernel` [*out, *k, C_in, features]
      and `bias` [*out, features]: Π out times as many as `Conv` has.

    Raises:
      ShapeError: as `Conv`; at `apply`, if the input has another size than at `init`.

    >>> import jax
    >>> params, _ = LocalConv(3, 3).init(jax.random.key(0), (1, 6, 6, 1))
    >>> sum(leaf.size for leaf in jax.tree.leaves(params)), 4 * 4 * (3 * 3 * 3 + 3)
    (480, 480)
    """
    features = geometry.integer(features, "features")
    geometry_of: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}

    def init(key: Any, x: Any) -> tuple[Params, State]:
        x = shape_of(x)
        rank = spatial_rank(x.shape, kernel_size, "local_conv")
        refuse_nchw(x.shape, rank, "local_conv")
        sizes = geometry.per_axis(kernel_size, rank, "kernel_size")
        out = window(x.shape[-rank - 1 : -1], sizes, op="local_conv", **geometry_of).out
        dtype = param_dtype(x)
        kernel = draw_unshared(kernel_init, fold(key, "kernel"), out, sizes, x.shape[-1], features, dtype)
        params = {"kernel": kernel}
        if bias:
            params["bias"] = bias_init(fold(key, "bias"), (*out, features), dtype)
        return params, {}

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params("local_conv", params, ("kernel", "bias") if bias else ("kernel",))
        rank = spatial_rank(jnp.shape(x), kernel_size, "local_conv")
        sizes, kernel = geometry.per_axis(kernel_size, rank, "kernel_size"), params["kernel"]
        if kernel.ndim == 2 * rank + 2:
            check_kernel("local_conv", kernel.shape, (*kernel.shape[:rank], *sizes, kernel.shape[-2], features))
        y = ops.local_conv(x, kernel, params.get("bias"), **geometry_of, padding_mode=padding_mode, precision=precision)
        return y, state

    return Layer("local_conv", init, apply)
