"""Normalization layers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import geometry, ops
from jaxconv._base.dtypes import accum_dtype, upcast
from jaxconv._base.errors import ShapeError, count
from jaxconv._base.numeric import check_number
from jaxconv._base.types import Params, State
from jaxconv.engine.norm_primitive import normalize
from jaxconv.engine.window import assert_shape
from jaxconv.layers.checks import param_dtype
from jaxconv.layers.initializers import ones, zeros
from jaxconv.layers.layer import Layer, check_params, printed, shape_of
from jaxconv.ops._norm import batch_norm, check_eps, per_channel


@printed
def BatchNorm(
    *,
    momentum: float = 0.9,
    eps: float = 1e-5,
    scale: bool = True,
    bias: bool = True,
    axis_name: Any = None,
    group: int | None = None,
) -> Layer:
    """Normalizes each channel by the batch statistics in training, by running statistics otherwise.

    Args:
      momentum: decay of the running statistics, as in Flax and Haiku: new = momentum * old + (1 - momentum) * batch
        (torch's momentum is 1 - this).
      eps: added to the variance.
      scale, bias: whether to learn a scale and a bias.
      axis_name: mapped axis (of `vmap`, `shard_map`) that the batch statistics are also taken over.
      group: number of consecutive examples that batch statistics are taken over (ghost batch norm); the running ones
        are averages over the groups. The whole batch if None, also where it is divided among devices.

    Returns:
      A Layer [N, ..., C] -> the same; params `scale`, `bias` [C]; state `mean`, `var` [C] in f32 or
      wider. The variance is the biased one (divided by the count). An empty batch leaves the state unchanged.

    Raises:
      ShapeError: if momentum or group is invalid; in training, if `group` does not divide the batch.

    Source: Ioffe and Szegedy, Batch Normalization, 2015; `group`: Hoffer et al., Train Longer, Generalize Better, 2017.

    >>> params, state = BatchNorm().init(jax.random.key(0), (8, 4, 4, 2))
    >>> jax.tree.map(jnp.shape, (params, state))
    ({'bias': (2,), 'scale': (2,)}, {'mean': (2,), 'var': (2,)})
    """
    must = "momentum, the decay of the running statistics, must be in [0, 1)"
    check_number(momentum, "momentum", must, lambda momentum: 0 <= momentum < 1)

    def init(key: Any, x: Any) -> tuple[Params, State]:
        x = shape_of(x)
        if len(x.shape) < 2:
            raise ShapeError("batch_norm needs [N, ..., C]", got=f"{x.shape}", kind="rank")
        channels, dtype = x.shape[-1:], param_dtype(x)
        params = {}
        if scale:
            params["scale"] = ones(key, channels, dtype)
        if bias:
            params["bias"] = zeros(key, channels, dtype)
        kept = accum_dtype(dtype)
        return params, {"mean": zeros(key, channels, kept), "var": ones(key, channels, kept.type(0).real.dtype)}

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params("batch_norm", params, [n for n, has in (("scale", scale), ("bias", bias)) if has])
        check_params("batch_norm", state, ("mean", "var"), "state")
        x = jnp.asarray(x)
        channels = state["mean"].shape
        if x.shape[-1:] != channels or state["var"].shape != channels:
            raise ShapeError(
                f"batch_norm needs {count(math.prod(channels), 'channel')}, as at init",
                got=f"x {x.shape}, mean {channels}, var {state['var'].shape}",
                kind="channels",
                expected=math.prod(channels),
                found=x.shape[-1] if x.ndim else None,
            )
        if not train or x.size == 0:
            return batch_norm(x, **state, **params, eps=eps), state
        y = upcast(x)
        own = per_channel(y, params.get("scale"), params.get("bias"))
        y, *batch = normalize(y, range(y.ndim - 1), check_eps(eps), *own, axis_name=axis_name)
        statistics = zip(("mean", "var"), batch, strict=True)
        new = {
            n: momentum * state[n] + (1 - momentum) * jax.lax.stop_gradient(b.reshape(-1).astype(state[n].dtype))
            for n, b in statistics
        }
        return assert_shape(y.astype(x.dtype), x.shape), new

    norm = Layer("batch_norm", init, apply)
    return norm if group is None else in_groups(norm, geometry.integer(group, "group"))


def in_groups(norm: Layer, group: int) -> Layer:
    """A batch norm whose statistics are of groups of so many examples, with the same params and state."""

    def apply(params: Any, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        x = jnp.asarray(x)
        if not train or x.size == 0:
            return norm.apply(params, state, x, train=train)
        if x.shape[0] % group:
            raise ShapeError(
                f"batch_norm's group must divide the batch of {count(x.shape[0], 'example')}",
                got=f"group={group}",
                kind="shape",
            )
        groups = x.reshape(x.shape[0] // group, group, *x.shape[1:])
        y, new = jax.vmap(lambda x: norm.apply(params, state, x, train=True))(groups)
        return y.reshape(x.shape), jax.tree.map(lambda v: v.mean(0), new)

    return dataclasses.replace(norm, apply=apply, call=f"{norm.call} in groups of {group}")


def _affine_layer(name: str, op: Callable[..., Any], scale: bool, bias: bool) -> Layer:
    """A stateless norm with a learned scale and bias [C], if requested."""
    names = [n for n, has in (("scale", scale), ("bias", bias)) if has]

    def init(key: Any, x: Any) -> tuple[Params, State]:
        x = shape_of(x)
        fill = {"scale": ones, "bias": zeros}
        params = {n: fill[n](key, x.shape[-1:], param_dtype(x)) for n in names}
        jax.eval_shape(lambda x: apply(params, {}, x)[0], x)  # fail at init, not at apply
        return params, {}

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params(name, params, names)
        return op(x, **params), state

    return Layer(name, init, apply)


@printed
def GroupNorm(groups: int = 32, *, eps: float = 1e-5, scale: bool = True, bias: bool = True) -> Layer:
    """`jaxconv.group_norm` with learned scale and bias [C]: [N, *spatial, C] -> the same.

    >>> jax.tree.map(jnp.shape, GroupNorm(2).init(jax.random.key(0), (1, 4, 4, 6))[0])
    {'bias': (6,), 'scale': (6,)}
    """
    return _affine_layer("group_norm", lambda x, **p: ops.group_norm(x, groups, **p, eps=eps), scale, bias)


@printed
def LayerNorm(*, eps: float = 1e-5, scale: bool = True, bias: bool = True) -> Layer:
    """`jaxconv.layer_norm` with learned scale and bias [C]: [..., C] -> the same.

    >>> jax.tree.map(jnp.shape, LayerNorm(bias=False).init(jax.random.key(0), (1, 4, 4, 6))[0])
    {'scale': (6,)}
    """
    return _affine_layer("layer_norm", lambda x, **p: ops.layer_norm(x, **p, eps=eps), scale, bias)


@printed
def InstanceNorm(*, eps: float = 1e-5, scale: bool = True, bias: bool = True) -> Layer:
    """`jaxconv.instance_norm` with learned scale and bias [C]: [N, *spatial, C] -> the same.

    >>> jax.tree.map(jnp.shape, InstanceNorm().init(jax.random.key(0), (1, 4, 4, 6))[0])
    {'bias': (6,), 'scale': (6,)}
    """
    return _affine_layer("instance_norm", lambda x, **p: ops.instance_norm(x, **p, eps=eps), scale, bias)


@printed
def RMSNorm(*, eps: float = 1e-6, scale: bool = True) -> Layer:
    """`jaxconv.rms_norm` with a learned scale [C]: [..., C] -> the same.

    >>> jax.tree.map(jnp.shape, RMSNorm().init(jax.random.key(0), (1, 4, 4, 6))[0])
    {'scale': (6,)}
    """
    return _affine_layer("rms_norm", lambda x, **p: ops.rms_norm(x, **p, eps=eps), scale, False)


@printed
def LocalResponseNorm(size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> Layer:
    """`jaxconv.local_response_norm` as a layer: [..., C] -> the same, no parameters.

    >>> LocalResponseNorm().apply({}, {}, jnp.ones((1, 2, 2, 3)))[0].shape
    (1, 2, 2, 3)
    """
    arguments = {"alpha": alpha, "beta": beta, "k": k}
    return _affine_layer(
        "local_response_norm", lambda x: ops.local_response_norm(x, size, **arguments), scale=False, bias=False
    )
