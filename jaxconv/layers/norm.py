"""Normalisation as layers."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxconv.errors import ShapeError
from jaxconv.layer import Layer, Tree, check_params, shape_of
from jaxconv.layers.conv import param_dtype
from jaxconv.ops.norm import affine, batch_norm, standardise
from jaxconv.ops.window import promise, wide


def BatchNorm(
    *, momentum: float = 0.9, eps: float = 1e-5, scale: bool = True, bias: bool = True, axis_name: Any = None
) -> Layer:
    """Normalises each channel by the batch's statistics in training, by running ones otherwise.

    Args:
      momentum: the share of the old running statistics that stays at each step, as in Flax and Haiku:
        new = momentum * old + (1 - momentum) * batch. (torch's momentum is 1 - this.)
      eps: added to the variance.
      scale, bias: whether there are trained ones.
      axis_name: of devices (or of a vmap) to take the batch statistics over, too.

    Returns:
      A Layer [N, ..., C] -> the same; params `scale`, `bias` [C]; state `mean`, `var` [C] in f32 or
      wider. The variance is the biased one (divided by the count). An empty batch leaves the state as it is.

    Source: Ioffe and Szegedy, Batch Normalization, 2015.

    >>> params, state = BatchNorm().init(jax.random.key(0), (8, 4, 4, 2))
    >>> jax.tree.map(jnp.shape, (params, state))
    ({'bias': (2,), 'scale': (2,)}, {'mean': (2,), 'var': (2,)})
    """
    if not 0 <= momentum < 1:
        raise ShapeError("momentum, the share of the old statistics that stays, must lie in [0, 1)", got=f"{momentum=}")

    def init(key: Any, x: Any) -> tuple[Tree, Tree]:
        x = shape_of(x)
        if len(x.shape) < 2:
            raise ShapeError("batch_norm needs [N, ..., C]", got=f"{x.shape}")
        channels, dtype = x.shape[-1:], param_dtype(x)
        params = {}
        if scale:
            params["scale"] = jnp.ones(channels, dtype)
        if bias:
            params["bias"] = jnp.zeros(channels, dtype)
        kept = jnp.promote_types(dtype, jnp.float32)
        return params, {"mean": jnp.zeros(channels, kept), "var": jnp.ones(channels, kept)}

    def apply(params: Tree, state: Tree, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, Tree]:
        check_params("batch_norm", params, [n for n, has in (("scale", scale), ("bias", bias)) if has])
        check_params("batch_norm", state, ("mean", "var"), "state")
        x = jnp.asarray(x)
        if not train or x.size == 0:
            return batch_norm(x, **state, **params, eps=eps), state
        if x.shape[-1:] != state["mean"].shape:
            raise ShapeError(f"batch_norm of {state['mean'].shape[0]} channels must get as many", got=f"x {x.shape}")
        y, *batch = standardise(wide(x), range(x.ndim - 1), eps, axis_name)
        y = affine(y, params.get("scale"), params.get("bias"))
        statistics = zip(("mean", "var"), batch, strict=True)
        new = {n: momentum * state[n] + (1 - momentum) * jax.lax.stop_gradient(b.reshape(-1)) for n, b in statistics}
        return promise(y.astype(x.dtype), x.shape), new

    return Layer("batch_norm", init, apply)
