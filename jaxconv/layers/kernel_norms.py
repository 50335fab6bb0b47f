"""Normalized kernels: weight normalization and spectral normalization of any layer with a kernel."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Params, State
from jaxconv.engine.placement import match_varying_axes
from jaxconv.layers.layer import Layer, Part, check_params, fold, lift

_WARM_UP = 15
"""Power iterations at `init`, as in torch."""


def weight_norm(layer: Part) -> Layer:
    """Weight normalization: the kernel of each output channel is a direction times a learned length.

    Args:
      layer: a layer with a kernel: `Conv`, `ConvTranspose`, `DepthwiseConv`, `LocalConv` or `Dense`.

    Returns:
      A Layer whose params are those of `layer` and `scale` [C_out], the norms of its kernel at `init`. It runs `layer`
      with scale * kernel / ‖kernel‖.

    Raises:
      ShapeError: at `init`, if the layer has no kernel.

    Source: Salimans and Kingma, Weight Normalization, 2016.

    >>> from jaxconv.layers import Conv
    >>> params, _ = weight_norm(Conv(4, 3)).init(jax.random.key(0), (1, 8, 8, 2))
    >>> jax.tree.map(jnp.shape, params)
    {'bias': (4,), 'kernel': (3, 3, 2, 4), 'scale': (4,)}
    """
    layer = lift(layer)

    def init(key: Any, x: Any) -> tuple[Params, State]:
        params, state = layer.init(key, x)
        kernel = _kernel_of(layer, params, "weight_norm")
        return {**params, "scale": _norms(kernel, layer).ravel().astype(kernel.dtype)}, state

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        inner, (scale,) = _split(params, ("scale",), "weight_norm")
        kernel = _kernel_of(layer, inner, "weight_norm")
        norms = _norms(kernel, layer)
        factor = upcast(scale).reshape(norms.shape) / norms
        normal = (upcast(kernel) * factor).astype(kernel.dtype)
        return layer.apply({**inner, "kernel": normal}, state, x, key=key, train=train)

    return Layer(f"weight_norm({layer.name})", init, apply)


def spectral_norm(layer: Part, *, iterations: int = 1, eps: float = 1e-12) -> Layer:
    """Spectral normalization: the kernel divided by its largest singular value, as a matrix [Πk*C_in, C_out].

    The singular value is estimated by power iteration, whose vectors are state: each training step continues it.
    Gradients take the vectors as constants, as in torch.

    Args:
      layer: a layer with a kernel: `Conv`, `ConvTranspose`, `DepthwiseConv`, `LocalConv` or `Dense`.
      iterations: power iterations for each training step.
      eps: least norm of a vector.

    Returns:
      A Layer with the params of `layer`, and state `u` [C_out] and `v` [Πk*C_in].

    Raises:
      ShapeError: at `init`, if the layer has no kernel.

    Source: Miyato et al., Spectral Normalization for Generative Adversarial Networks, 2018.

    >>> from jaxconv.layers import Dense
    >>> layer = spectral_norm(Dense(4, bias=False), iterations=50)
    >>> params, state = layer.init(jax.random.key(0), (1, 8))
    >>> y, _ = layer.apply(params, state, jnp.eye(8), train=True)
    >>> print(jnp.linalg.norm(y, 2).round(4))
    1.0
    """
    layer, iterations = lift(layer), geometry.integer(iterations, "iterations")

    def unit(v: jax.Array) -> jax.Array:
        return v / jnp.maximum(jnp.sqrt(jnp.sum(v * v)), eps)

    def iterated(matrix: jax.Array, u: jax.Array, v: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
        matrix, u, v = match_varying_axes(jax.lax.stop_gradient(matrix), u, v)

        def step(_: Any, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            u = unit(pair[1] @ matrix)
            return u, unit(matrix @ u)

        return jax.lax.fori_loop(0, count, step, (u, v))

    def init(key: Any, x: Any) -> tuple[Params, State]:
        params, _ = layer.init(key, x)
        matrix = _matrix(upcast(_kernel_of(layer, params, "spectral_norm")), layer)
        u, v = (
            unit(jax.random.normal(fold(key, name), (n,), matrix.dtype))
            for name, n in zip("uv", matrix.shape[::-1], strict=True)
        )
        u, v = iterated(matrix, u, v, _WARM_UP)
        return params, {"u": u, "v": v}

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params("spectral_norm", state, ("u", "v"), "state")
        kernel = _kernel_of(layer, params, "spectral_norm")
        matrix = _matrix(upcast(kernel), layer)
        u, v = (state[name].astype(matrix.dtype) for name in "uv")
        if train and 0 not in jnp.shape(x):
            u, v = iterated(matrix, u, v, iterations)
        largest = jnp.sum((v @ matrix) * u)
        y, _ = layer.apply(
            {**params, "kernel": (upcast(kernel) / largest).astype(kernel.dtype)}, {}, x, key=key, train=train
        )
        return y, {"u": u.astype(state["u"].dtype), "v": v.astype(state["v"].dtype)}

    return Layer(f"spectral_norm({layer.name})", init, apply)


def _kernel_of(layer: Layer, params: Any, name: str) -> jax.Array:
    if layer.parts or "kernel" not in params:
        fix = f"{name} around each of its parts" if layer.parts else ""
        raise ShapeError(f"{name} needs a layer with a kernel", got=layer.name, fix=fix)
    kernel: jax.Array = params["kernel"]
    return kernel


def _out_axis(kernel: jax.Array, layer: Layer) -> int:
    """The axis of the output channels."""
    return kernel.ndim - (2 if layer.name == "conv_transpose" else 1)


def _norms(kernel: jax.Array, layer: Layer) -> jax.Array:
    """The norm of each output channel's weights, 1 if that is 0; of size 1 along the other axes."""
    axis = _out_axis(kernel, layer)
    squares = jnp.sum(upcast(kernel) ** 2, [a for a in range(kernel.ndim) if a != axis], keepdims=True)
    return jnp.sqrt(jnp.where(squares > 0, squares, 1))


def _matrix(kernel: jax.Array, layer: Layer) -> jax.Array:
    """[Πk*C_in, C_out]."""
    axis = _out_axis(kernel, layer)
    return jnp.moveaxis(kernel, axis, -1).reshape(-1, kernel.shape[axis])


def _split(params: Any, names: tuple[str, ...], layer: str) -> tuple[dict[str, Any], list[Any]]:
    """Params without those that a wrapper adds, and these."""
    missing = [name for name in names if name not in params]
    if missing:
        check_params(layer, params, (*params, *missing))
    return {name: leaf for name, leaf in params.items() if name not in names}, [params[name] for name in names]
