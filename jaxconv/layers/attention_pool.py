"""Pooling by attention."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.dtypes import upcast
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Params, State
from jaxconv.layers.checks import param_dtype
from jaxconv.layers.composition import compose
from jaxconv.layers.dense import Dense
from jaxconv.layers.initializers import VarianceScaling
from jaxconv.layers.layer import Call, Layer, Part, check_params, fold, printed, shape_of
from jaxconv.ops._pool import as_feature_maps


@printed
def AttentionPool(features: int, heads: int = 8, *, out_features: int | None = None) -> Layer:
    """Multi-head attention of the mean over all positions: a global pool with learned weights, as in CLIP.

    The positions and their mean get a learned embedding each, so that the spatial size is that of `init`.

    Args:
      features: channels of the input.
      heads: number of attention heads; divides features.
      out_features: channels of the output; `features` if None.

    Returns:
      A Layer [N, *spatial, features] -> [N, out_features], with parts `positions` (`embedding` [1 + Πn, features]),
      `query`, `key`, `value` and `out`.

    Raises:
      ShapeError: if heads do not divide features, or the input has another shape than at `init`.

    Source: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021.

    >>> params, state = AttentionPool(16, 4).init(jax.random.key(0), (1, 7, 7, 16))
    >>> params["positions"]["embedding"].shape
    (50, 16)
    """
    geometry.integer(features, "features")
    if features % geometry.integer(heads, "heads"):
        raise ShapeError("heads must divide features", got=f"heads={heads}, features={features}")
    parts: dict[str, Part] = {"positions": _positions()}
    parts |= {name: Dense(features) for name in ("query", "key", "value")}
    parts["out"] = Dense(features if out_features is None else out_features)

    def flow(call: Call, x: Any) -> Any:
        x = as_feature_maps(x, "attention_pool")
        cells = x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])
        mean = upcast(cells).mean(1, keepdims=True).astype(x.dtype)
        tokens = call("positions", jnp.concatenate([mean, cells], axis=1))

        def split(h: jax.Array) -> jax.Array:
            return h.reshape(*h.shape[:-1], heads, features // heads)

        query, key, value = split(call("query", tokens[:, 0])), split(call("key", tokens)), split(call("value", tokens))
        logits = upcast(jnp.einsum("nhd,nthd->nht", query, key)) / math.sqrt(features // heads)
        weights = jax.nn.softmax(logits, axis=-1).astype(value.dtype)
        return call("out", jnp.einsum("nht,nthd->nhd", weights, value).reshape(x.shape[0], features))

    return compose("attention_pool", parts, flow)


def _positions() -> Layer:
    """Adds a learned embedding to each of a fixed number of tokens: [N, T, C] -> the same."""
    initializer = VarianceScaling(1, "out")

    def init(key: Any, x: Any) -> tuple[Params, State]:
        x = shape_of(x)
        return {"embedding": initializer(fold(key, "embedding"), x.shape[1:], param_dtype(x))}, {}

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        check_params("positions", params, ("embedding",))
        embedding = params["embedding"]
        if x.shape[1:] != embedding.shape:
            raise ShapeError(
                f"attention_pool needs {embedding.shape[0] - 1} positions of {embedding.shape[1]} channels, as at init",
                got=f"{x.shape[1] - 1} of {x.shape[2]}",
                kind="shape",
            )
        return x + embedding[None].astype(x.dtype), state

    return Layer("positions", init, apply)
