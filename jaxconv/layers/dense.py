"""Fully connected layer."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv import engine, geometry
from jaxconv._base.errors import ShapeError, count
from jaxconv._base.types import Params, State
from jaxconv.engine.matmul import matmul
from jaxconv.engine.placement import result_sharding
from jaxconv.engine.window import assert_shape
from jaxconv.layers.checks import check_kernel, param_dtype
from jaxconv.layers.initializers import Initializer, check_initializer, lecun_normal, zeros
from jaxconv.layers.layer import Layer, check_params, fold, printed, shape_of
from jaxconv.ops._conv import add_bias, check_bias


@printed
def Dense(
    features: int,
    *,
    bias: bool = True,
    kernel_init: Initializer = lecun_normal,
    bias_init: Initializer = zeros,
    precision: lax.PrecisionLike = None,
) -> Layer:
    """Fully connected layer on the last axis: y = x @ kernel + bias.

    Args:
      features: number of outputs.
      bias: whether to add a bias to each output.
      kernel_init, bias_init: (key, shape, dtype) -> array, see `jaxconv.initializers`.
      precision: of the products, as in `jax.lax.dot`.

    Returns:
      A Layer [..., C_in] -> [..., features] with params `kernel` [C_in, features] and `bias` [features].
      On [N, H, W, C] it is a 1×1 convolution.

    Raises:
      ShapeError: at `apply`, if the last axis has another size than at `init`.

    >>> import jax
    >>> params, state = Dense(10).init(jax.random.key(0), (1, 640))
    >>> jax.tree.map(jnp.shape, params)
    {'bias': (10,), 'kernel': (640, 10)}
    """
    features = geometry.integer(features, "features")
    check_initializer(kernel_init, "kernel_init")
    check_initializer(bias_init, "bias_init")

    def init(key: Any, x: Any) -> tuple[Params, State]:
        x = shape_of(x)
        if not x.shape or x.shape[-1] < 1:
            raise ShapeError("dense needs an input [..., C_in] of at least one channel", got=f"{x.shape}", kind="rank")
        dtype = param_dtype(x)
        params = {"kernel": kernel_init(fold(key, "kernel"), (x.shape[-1], features), dtype)}
        if bias:
            params["bias"] = bias_init(fold(key, "bias"), (features,), dtype)
        return params, {}

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params("dense", params, ("kernel", "bias") if bias else ("kernel",))
        x, kernel = jnp.asarray(x), params["kernel"]
        check_kernel("dense", kernel.shape, (*kernel.shape[:1], features))
        if x.shape[-1:] != kernel.shape[:1]:
            raise ShapeError(
                f"dense needs {count(kernel.shape[0], 'input')} on the last axis, as at init",
                got=f"x {x.shape}, kernel {kernel.shape}",
                fix="an input of the size used at init; global_avg_pool instead of flatten takes any size",
                kind="inputs",
                expected=kernel.shape[0],
                found=x.shape[-1] if x.ndim else None,
            )
        outer = [f"axis {i}" for i in range(x.ndim - 1)]
        operands = [(jax.typeof(x), (*outer, "c")), (jax.typeof(kernel), ("c", "o"))]
        sharding = result_sharding(jax.typeof(x), (*outer, "o"), operands)
        y = matmul(x, kernel, engine.precision_of(precision), None if sharding.mesh.empty else sharding)
        y = assert_shape(y, (*x.shape[:-1], features))
        return (add_bias(y, check_bias(params["bias"], features)) if bias else y), state

    return Layer("dense", init, apply)
