"""Convolution layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv import geometry, ops
from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.errors import ShapeError, count
from jaxconv._base.types import Ints, Padding, PaddingMode, Params, State
from jaxconv.engine import check_impl
from jaxconv.engine.window import spatial_rank, window
from jaxconv.layers.checks import check_groups, check_kernel, param_dtype, refuse_nchw
from jaxconv.layers.initializers import Initializer, check_initializer, draw_kernel, lecun_normal, zeros
from jaxconv.layers.layer import Layer, check_params, fold, printed, shape_of
from jaxconv.ops._conv import check_channels
from jaxconv.ops._pad import check_mode

Transform = Callable[[jax.Array], jax.Array]


@renamed_arguments(size="kernel_size", pad_mode="padding_mode")
@printed
def Conv(
    features: int,
    kernel_size: Ints,
    *,
    stride: Ints = 1,
    padding: Padding = "valid",
    padding_mode: PaddingMode = "zeros",
    dilation: Ints = 1,
    groups: int = 1,
    bias: bool = True,
    kernel_init: Initializer = lecun_normal,
    bias_init: Initializer = zeros,
    transform: Transform | None = None,
    impl: str | None = None,
    precision: lax.PrecisionLike = None,
) -> Layer:
    """Convolution with `features` feature maps: `jaxconv.conv` with a trainable kernel.

    Args:
      features: number of feature maps, C_out.
      kernel_size: size of the local receptive field; an int for 2 or 3 spatial axes, a tuple for 1 to 3 (`(5,)` for
        signals [N, W, C]).
      stride, padding, padding_mode, dilation, groups, impl, precision: as in `jaxconv.conv`.
      bias: whether to add a bias to each feature map.
      kernel_init, bias_init: (key, shape, dtype) -> array; see `jaxconv.initializers`.
      transform: kernel -> kernel, applied before every use: `jc.standardize_kernel`, `jc.masked(mask)`.

    Returns:
      A Layer [N, *spatial, C_in] -> [N, *out, features] with params `kernel` [*k, C_in/groups,
      features] and `bias` [features].

    Raises:
      ShapeError: at `init` or `apply`, if sizes, channels or groups are invalid.

    >>> params, state = Conv(3, 5).init(jax.random.key(0), (1, 28, 28, 1))
    >>> jax.tree.map(jnp.shape, params)
    {'bias': (3,), 'kernel': (5, 5, 1, 3)}
    """
    features, groups = geometry.integer(features, "features"), geometry.integer(groups, "groups")
    check_initializer(kernel_init, "kernel_init")
    check_initializer(bias_init, "bias_init")
    check_mode(padding_mode)
    if impl is not None:
        check_impl(impl)
    geometry_of: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    names = ("kernel", "bias") if bias else ("kernel",)

    def init(key: Any, x: Any) -> tuple[Params, State]:
        x = shape_of(x)
        rank = spatial_rank(x.shape, kernel_size, "conv")
        refuse_nchw(x.shape, rank, "conv")
        taps = geometry.per_axis(kernel_size, rank, "kernel_size")
        window(x.shape[-rank - 1 : -1], taps, op="conv", **geometry_of)
        c_in = x.shape[-1]
        check_groups(groups, c_in, features)
        dtype = param_dtype(x)
        params = {"kernel": draw_kernel(kernel_init, fold(key, "kernel"), taps, c_in, features, groups, dtype)}
        if bias:
            params["bias"] = bias_init(fold(key, "bias"), (features,), dtype)
        return params, {}

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params("conv", params, names)
        rank = spatial_rank(jnp.shape(x), kernel_size, "conv")
        kernel, taps = params["kernel"], geometry.per_axis(kernel_size, rank, "kernel_size")
        check_kernel("conv", kernel.shape, (*taps, kernel.shape[-2] if kernel.ndim > 1 else 1, features))
        seen = kernel.shape[-2] * groups
        fix = f"an input with {count(seen, 'channel')}, as at init"
        check_channels(jnp.shape(x), kernel.shape, groups, fix)
        if transform is not None:
            shape, kernel = kernel.shape, transform(kernel)
            check_kernel("conv", jnp.shape(kernel), shape)
        y = ops.conv(
            x,
            kernel,
            params.get("bias"),
            **geometry_of,
            padding_mode=padding_mode,
            groups=groups,
            impl=impl,
            precision=precision,
        )
        return y, state

    return Layer("conv", init, apply)


def masked(mask: Any) -> Transform:
    """Kernel transform that zeroes the weights where `mask` is zero, as in causal image models.

    Args:
      mask: broadcastable to the kernel [*k, C_in/groups, C_out].

    Returns:
      kernel -> kernel * mask, for `Conv(..., transform=masked(mask))`. Masked weights have zero gradient.

    Raises:
      ShapeError: at use, if the mask does not broadcast to the kernel.

    >>> masked(jnp.array([1, 1, 0]).reshape(3, 1, 1))(jnp.full((3, 1, 1), 2.0)).ravel()
    Array([2., 2., 0.], dtype=float32)
    """
    mask = jnp.asarray(mask) != 0

    def transform(kernel: jax.Array) -> jax.Array:
        try:
            whole = jnp.broadcast_to(mask, kernel.shape)
        except ValueError:
            raise ShapeError(
                "a mask must broadcast to the kernel", got=f"mask {mask.shape}, kernel {kernel.shape}"
            ) from None
        return jnp.where(whole, kernel, jnp.zeros((), kernel.dtype))

    return transform
