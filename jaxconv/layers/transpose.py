"""Transposed convolution, and the adjoint of any linear layer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv import geometry, ops
from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.dtypes import promoted
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Ints, Padding, PaddingMode, Params, State
from jaxconv.engine.placement import match_varying_axes, resharded, zeros_sharded_like
from jaxconv.engine.window import assert_shape, spatial_rank
from jaxconv.layers.checks import check_groups, check_kernel, param_dtype, refuse_nchw
from jaxconv.layers.initializers import Initializer, draw_transposed, lecun_normal, zeros
from jaxconv.layers.layer import Layer, check_params, fold, lift, printed, shape_of
from jaxconv.ops._conv import add_bias, check_bias


@renamed_arguments(size="kernel_size", pad_mode="padding_mode")
@printed
def ConvTranspose(
    features: int,
    kernel_size: Ints,
    *,
    stride: Ints = 1,
    padding: Padding = "valid",
    padding_mode: PaddingMode = "zeros",
    dilation: Ints = 1,
    groups: int = 1,
    output_padding: Ints | None = None,
    output_size: Ints | None = None,
    bias: bool = True,
    kernel_init: Initializer = lecun_normal,
    bias_init: Initializer = zeros,
    impl: str | None = None,
    precision: lax.PrecisionLike = None,
) -> Layer:
    """Transposed convolution with `features` feature maps: `jaxconv.conv_transpose` with a trainable kernel.

    Args:
      features: number of output feature maps.
      kernel_size, stride, padding, padding_mode, dilation, groups: arguments of the convolution whose adjoint it is.
      output_padding, output_size: output size among those that the convolution maps to the size of x; see
        `jaxconv.conv_transpose`.
      bias: whether to add a bias to each feature map.
      kernel_init, bias_init: (key, shape, dtype) -> array; see `jaxconv.initializers`. The fan-in of an output cell
        is c_in/groups channels times k/s taps per axis.
      impl, precision: as in `jaxconv.conv`.

    Returns:
      A Layer [N, *spatial, C_in] -> [N, *out, features] with params `kernel` [*k, features/groups, C_in]
      and `bias` [features]; out = (n - 1)*s + d*(k - 1) + 1 - lo - hi + output_padding.

    Raises:
      ShapeError: if sizes, channels or groups are invalid.

    >>> layer = ConvTranspose(4, 3, stride=2, padding="same")
    >>> params, state = layer.init(jax.random.key(0), (1, 7, 7, 8))
    >>> params["kernel"].shape, layer.apply(params, state, jnp.ones((1, 7, 7, 8)))[0].shape
    ((3, 3, 4, 8), (1, 14, 14, 4))
    """
    features, groups = geometry.integer(features, "features"), geometry.integer(groups, "groups")

    def init(key: Any, x: Any) -> tuple[Params, State]:
        x = shape_of(x)
        rank = spatial_rank(x.shape, kernel_size, "conv_transpose")
        sizes, strides = geometry.per_axis(kernel_size, rank, "kernel_size"), geometry.per_axis(stride, rank, "stride")
        c_in, dtype = x.shape[-1], param_dtype(x)
        refuse_nchw(x.shape, rank, "conv_transpose")
        check_groups(groups, c_in, features)
        kernel = draw_transposed(kernel_init, fold(key, "kernel"), sizes, strides, c_in, features, groups, dtype)
        params = {"kernel": kernel}
        if bias:
            params["bias"] = bias_init(fold(key, "bias"), (features,), dtype)
        jax.eval_shape(lambda x: apply(params, {}, x)[0], x)  # fail at init, not at apply
        return params, {}

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params("conv_transpose", params, ("kernel", "bias") if bias else ("kernel",))
        kernel, rank = params["kernel"], spatial_rank(jnp.shape(x), kernel_size, "conv_transpose")
        taps = geometry.per_axis(kernel_size, rank, "kernel_size")
        check_kernel("conv_transpose", kernel.shape, (*taps, features // groups, *kernel.shape[-1:]))
        y = ops.conv_transpose(
            x, kernel, params.get("bias"), stride=stride, padding=padding, padding_mode=padding_mode,
            dilation=dilation, groups=groups, output_padding=output_padding, output_size=output_size,
            impl=impl, precision=precision,
        )  # fmt: skip
        return y, state

    return Layer("conv_transpose", init, apply)


def adjoint(layer: Layer, input_shape: Any, *, tied: bool = False, bias: bool = True) -> Layer:
    """The adjoint of a linear layer: from its output to exactly the shape of its input.

    Args:
      layer: `Conv`, `DepthwiseConv`, `LocalConv`, `ConvTranspose` or `Dense`.
      input_shape: input shape of `layer`, [N, ..., C_in]; N may differ later.
      tied: whether to share the params of `layer`, without its bias: `call("encode", y, by=adjoint(..., tied=True))`.
      bias: whether an untied adjoint adds a bias to each channel.

    Returns:
      A Layer [N, *out, C_out] -> [N, *spatial, C_in]: the transpose of `layer` as a matrix. If
      untied, its params are a `kernel` of the same shape as the kernel of `layer`, and `bias` [C_in].

    Raises:
      ShapeError: if the layer has no kernel; at `apply`, if the input does not have the output shape of `layer`.

    >>> from jaxconv.layers import Conv
    >>> down = Conv(8, 3, stride=2)
    >>> up = adjoint(down, (1, 28, 28, 1))
    >>> params, state = up.init(jax.random.key(0), (1, 13, 13, 8))
    >>> up.apply(params, state, jnp.ones((5, 13, 13, 8)))[0].shape
    (5, 28, 28, 1)
    """
    layer, x = lift(layer), shape_of(input_shape)
    own = jax.eval_shape(lambda key: layer.init(key, x), jax.random.key(0))[0]
    if "kernel" not in own:
        raise ShapeError(
            "adjoint needs a linear layer with a kernel: Conv, DepthwiseConv, LocalConv, ConvTranspose or Dense",
            got=layer.name,
            fix="the adjoints of its parts, in reverse order" if layer.parts else "",
        )
    out = jax.eval_shape(lambda params: layer.apply(params, {}, jnp.zeros(x.shape, x.dtype))[0], own).shape[1:]

    def check_out(came: tuple[int, ...]) -> None:
        if came[1:] != out:
            raise ShapeError(
                f"this adjoint needs an input [N, {', '.join(map(str, out))}]", got=f"{came}", kind="shape"
            )

    def init(key: Any, y: Any) -> tuple[Params, State]:
        check_out(shape_of(y).shape)
        if tied:
            return {}, {}
        params = {"kernel": layer.init(fold(key, "kernel"), x)[0]["kernel"]}
        if bias:
            params["bias"] = zeros(key, x.shape[-1:], params["kernel"].dtype)
        return params, {}

    def apply(params: Params, state: State, y: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params("adjoint", params, own if tied else (("kernel", "bias") if bias else ("kernel",)))
        y = jnp.asarray(y)
        check_out(y.shape)
        kernel = params["kernel"]
        zero = {n: kernel if n == "kernel" else jnp.zeros(v.shape, v.dtype) for n, v in own.items()}
        y = match_varying_axes(y.astype(promoted(y.dtype, kernel.dtype)), kernel)[0]
        origin = zeros_sharded_like(y, (y.shape[0], *x.shape[1:]))
        image, transposed = jax.vjp(lambda a: layer.apply(zero, {}, a)[0], origin)
        back = assert_shape(transposed(resharded(y, jax.typeof(image)))[0], origin.shape)
        return (back if tied or not bias else add_bias(back, check_bias(params["bias"], x.shape[-1]))), state

    return Layer("adjoint", init, apply)
