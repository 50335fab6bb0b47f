"""Wrappers that change how a layer runs: rematerialization, precision, repetition."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxconv import geometry
from jaxconv._base.dtypes import accum_dtype
from jaxconv._base.errors import ShapeError
from jaxconv._base.paths import leaf_names
from jaxconv._base.types import Params, State
from jaxconv.engine.placement import check_sharding
from jaxconv.layers.layer import Layer, Part, lift, shape_of


def _around(name: str, layer: Layer, init: Callable[..., Any], apply: Callable[..., Any], again: Any) -> Layer:
    """A wrapper with the parts and params of the inner layer, so that wrapping changes no tree."""

    def rebuild(parts: Mapping[str, Layer]) -> Layer:
        assert layer.rebuild is not None
        return again(layer.rebuild(parts))

    return Layer(name, init, apply, layer.parts, rebuild=rebuild if layer.rebuild else None)


def remat(layer: Part, *, policy: Callable[..., bool] | None = None) -> Layer:
    """Rematerialization: recomputes the layer in the backward pass instead of storing its activations.

    Args:
      layer: a layer or callable.
      policy: which values are stored; one of `jax.checkpoint_policies`.

    Returns:
      A Layer with the same params, state and values that uses less memory and more time.

    >>> net = remat(jnp.sin)
    >>> net.apply({}, {}, jnp.zeros(2))[0]
    Array([0., 0.], dtype=float32)
    """
    layer = lift(layer)

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        def run(params: Params, state: State, x: Any, key: Any) -> tuple[Any, State]:
            return layer.apply(params, state, x, key=key, train=train)

        return jax.checkpoint(run, policy=policy)(params, state, x, key)

    return _around(f"remat({layer.name})", layer, layer.init, apply, lambda inner: remat(inner, policy=policy))


class WithAuxiliary(NamedTuple):
    """What a net with an auxiliary output returns in training.

    Args:
      output: the net's output.
      auxiliary: another prediction of the same shape, whose loss is added.
    """

    output: Any
    auxiliary: Any


def training_only(layer: Part) -> Layer:
    """A layer that runs in training alone, for auxiliary outputs: otherwise its output is None, and costs nothing.

    Args:
      layer: a layer or callable.

    Returns:
      A Layer with the same params and state.

    >>> net = training_only(jnp.sin)
    >>> print(net.apply({}, {}, jnp.zeros(2))[0], net.apply({}, {}, jnp.zeros(2), train=True)[0])
    None [0. 0.]
    """
    layer = lift(layer)

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        return layer.apply(params, state, x, key=key, train=True) if train else (None, state)

    return _around(f"training_only({layer.name})", layer, layer.init, apply, training_only)


def cast(layer: Part, dtype: DTypeLike) -> Layer:
    """Mixed precision: params stay in float32 and are cast to `dtype` where they are used.

    Args:
      layer: a layer or callable.
      dtype: jnp.bfloat16 or jnp.float16.

    Returns:
      A Layer with the same params and state. Floating inputs are cast to `dtype`, and the output is cast back to
      their dtype (float32 for integer inputs). Running statistics stay in float32.

    Raises:
      ShapeError: if `dtype` is not floating.

    >>> jax.eval_shape(lambda x: cast(jnp.sin, jnp.bfloat16).apply({}, {}, x)[0], jnp.ones(2)).dtype
    dtype('float32')
    """
    layer, given = lift(layer), dtype
    low: Any = None
    with contextlib.suppress(TypeError):
        low = jnp.dtype(given) if given is not None else None  # NumPy reads None as float64
    if low is None or not jnp.issubdtype(low, jnp.floating):
        raise ShapeError("cast needs a floating dtype", got=str(low or repr(given)), fix="jnp.bfloat16")

    def to(kind: Any) -> Callable[[Any], Any]:
        return lambda v: v.astype(kind) if jnp.issubdtype(v.dtype, jnp.floating) else v

    def wide(v: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        floating = jnp.issubdtype(v.dtype, jnp.floating)
        return jax.ShapeDtypeStruct(v.shape, accum_dtype(v.dtype) if floating else v.dtype)

    def init(key: Any, x: Any) -> tuple[Params, State]:
        return layer.init(key, jax.tree.map(wide, shape_of(x)))

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        x = jax.tree.map(jnp.asarray, x)
        kinds = [v.dtype for v in jax.tree.leaves(x) if jnp.issubdtype(v.dtype, jnp.floating)]
        params, x = jax.tree.map(to(low), (params, x))
        y, state = layer.apply(params, state, x, key=key, train=train)
        back = kinds[0] if kinds else jnp.dtype(jnp.float32)
        return jax.tree.map(to(back), y), state

    return _around(f"cast({layer.name}, {low})", layer, init, apply, lambda inner: cast(inner, low))


def repeat(layer: Part, n: int, *, unroll: int = 1) -> Layer:
    """n copies of a layer in sequence, each with its own weights, run by one scan.

    The layer is compiled once, whatever n.

    Args:
      layer: a layer or callable whose output has the shape and dtype of its input.
      n: number of copies.
      unroll: copies per scan iteration.

    Returns:
      A Layer whose params and state are those of `layer` with a leading axis of size n.

    Raises:
      ShapeError: if the layer changes the shape or dtype.

    >>> from jaxconv.layers import Dense
    >>> params, state = repeat(Dense(4), 3).init(jax.random.key(0), (1, 4))
    >>> params["kernel"].shape
    (3, 4, 4)
    """
    layer, n, unroll = lift(layer), geometry.integer(n, "n"), geometry.integer(unroll, "unroll")

    def init(key: Any, x: Any) -> tuple[Params, State]:
        x = shape_of(x)
        params, state = jax.vmap(lambda i: layer.init(jax.random.fold_in(key, i), x))(jnp.arange(n))
        jax.eval_shape(lambda x: apply(params, state, x)[0], x)  # fail at init, not at apply
        return params, state

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        x = jax.tree.map(jnp.asarray, x)
        copies = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves((params, state))}
        if copies - {(n,)}:
            came = ", ".join(str(c[0]) if c else "none" for c in sorted(copies))
            raise ShapeError(
                f"params and state of repeat({layer.name}, {n}) must have a leading axis of size {n}",
                got=came,
                kind="params",
            )

        def step(h: Any, copy: tuple[Params, State, Any]) -> tuple[Any, State]:
            params, state, i = copy
            own = None if key is None else jax.random.fold_in(key, i)
            y, state = layer.apply(params, state, h, key=own, train=train)
            if shape_of(y) != shape_of(h):
                shapes = (", ".join(f"{v.shape} {v.dtype}" for v in jax.tree.leaves(tree)) for tree in (h, y))
                raise ShapeError(
                    "a repeated layer must preserve the shape and dtype of its input",
                    got=" -> ".join(shapes),
                    kind="shape",
                )
            for pair in zip(jax.tree.leaves(h), jax.tree.leaves(y), strict=True):
                check_sharding("a repeated layer must preserve the sharding of its input", pair)
            return y, state

        return jax.lax.scan(step, x, (params, state, jnp.arange(n)), length=n, unroll=unroll)

    return _around(f"repeat({layer.name}, {n})", layer, init, apply, lambda inner: repeat(inner, n, unroll=unroll))


class Stateless(NamedTuple):
    """The two-function form of a net without state."""

    init: Callable[..., Params]
    apply: Callable[..., jax.Array]


def stateless(net: Layer) -> Stateless:
    """`init(key, x) -> params` and `apply(params, x, *, key=None, train=False) -> y` of a net without state.

    Raises:
      ShapeError: at `init`, if the net has state (running statistics, for example).

    >>> init, apply = stateless(lift(jax.nn.relu))
    >>> apply(init(jax.random.key(0), (1, 2)), jnp.array([[-1.0, 1.0]]))
    Array([[0., 1.]], dtype=float32)
    """

    net = lift(net)

    def init(key: Any, x: Any) -> Params:
        params, state = net.init(key, x)
        if jax.tree.leaves(state):
            raise ShapeError(
                "stateless needs a net without state",
                got=f"state {', '.join(leaf_names(state))}",
                fix="params, state = net.init(key, x)",
            )
        return params

    def apply(params: Params, x: Any, *, key: Any = None, train: bool = False) -> Any:
        if not isinstance(params, Mapping):
            raise ShapeError("params must be the dict that init returned", got=type(params).__name__, kind="params")
        return net.apply(params, _empty_state(net, params), x, key=key, train=train)[0]

    return Stateless(init, apply)


def _empty_state(net: Layer, params: Any) -> dict[str, Any]:
    """The state of a net without state: a dict for each part; of a layer without parts, for each dict in its params."""
    if net.parts:
        return {name: _empty_state(part, params.get(name, {})) for name, part in net.parts.items()}
    nested = params.items() if isinstance(params, Mapping) else ()
    return {name: _empty_state(net, part) for name, part in nested if isinstance(part, Mapping)}
