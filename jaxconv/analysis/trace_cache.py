"""Trace cache for repeated layers: a deep net is many copies of a few layers."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.compat import extended
from jaxconv.layers.layer import Layer, shape_of

__all__ = ["key_of", "shapes_only"]

_DEEPEST = 12
UNKNOWN = "unknown"
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))


def shapes_only(net: Layer) -> Layer:
    """The net for abstract evaluation: layers with equal settings share one trace, and `init` returns zeros.

    Only layers with parameters share traces, as they are expensive to trace. A layer whose function holds an array, or
    an object that could hold one, is left unchanged.

    Args:
      net: any Layer.

    >>> from jaxconv.layers import Conv, chain
    >>> net = shapes_only(chain(Conv(8, 3), Conv(8, 3)))
    >>> net.parts["conv0"].apply is net.parts["conv1"].apply
    True
    """
    shared: dict[Any, tuple[Layer, Callable[..., Any], Callable[..., Any]]] = {}

    def visit(layer: Layer) -> Layer:
        if layer.parts:
            return layer.rebuild({n: visit(part) for n, part in layer.parts.items()}) if layer.rebuild else layer
        key = key_of(layer.init), key_of(layer.apply)
        if not _known(key):
            return layer
        if key not in shared:  # storing the layer keeps ids in keys unique
            shared[key] = layer, _zeros(layer.init), _once(layer.apply)
        _, init, apply = shared[key]
        return dataclasses.replace(layer, init=init, apply=apply)

    return visit(net)


def _once(apply: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's `apply`, traced once per shape if the layer has parameters."""
    traced = jax.jit(apply, static_argnames="train")

    def run(params: Any, state: Any, x: Any, *, key: Any = None, train: bool = False) -> Any:
        return (traced if jax.tree.leaves(params) else apply)(params, state, x, key=key, train=train)

    return run


def _zeros(init: Callable[..., Any]) -> Callable[..., Any]:
    """A layer's `init` with zeros in place of random numbers; called once per shape."""
    born: dict[Any, Any] = {}

    def zeros(key: Any, x: Any) -> Any:
        x = shape_of(x)
        leaves, tree = jax.tree.flatten(x)
        seen = tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if seen not in born:
            found = jax.eval_shape(lambda: init(jax.random.key(0), x))
            plain = not any(jnp.issubdtype(leaf.dtype, extended) for leaf in jax.tree.leaves(found))
            born[seen] = jax.tree.map(_nothing, found) if plain else None
        return init(key, x) if born[seen] is None else born[seen]

    return zeros


def _nothing(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    """Zeros without memory or computation."""
    return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)


def key_of(value: Any, depth: int = 0) -> Any:
    """A key that two functions share only if they are the same code on the same settings.

    Values other than functions, dataclasses and plain data are compared by identity.

    >>> def power(n):
    ...     return lambda x: x**n
    >>> key_of(power(2)) == key_of(power(2)), key_of(power(2)) == key_of(power(3))
    (True, False)
    """
    inner = functools.partial(key_of, depth=depth + 1)
    if depth > _DEEPEST:
        return UNKNOWN, id(value)
    if isinstance(value, _PLAIN):
        return type(value), repr(value)  # 0.0 and -0.0 compare equal but differ
    if type(value) in (tuple, list):
        return type(value), tuple(map(inner, value))
    if type(value) in (dict, types.MappingProxyType):
        return dict, tuple((inner(k), inner(v)) for k, v in value.items())
    if isinstance(value, types.FunctionType):
        cells = tuple(inner(cell.cell_contents) for cell in value.__closure__ or ())
        rest = inner(value.__defaults__), inner(value.__kwdefaults__), id(value.__globals__)
        return "function", value.__code__, cells, rest
    if type(value) is functools.partial:
        return "partial", inner(value.func), inner(value.args), inner(value.keywords)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value), tuple(inner(getattr(value, field.name)) for field in dataclasses.fields(value))
    return ("object" if _holds_nothing(value) else UNKNOWN), id(value)


def _holds_nothing(value: Any) -> bool:
    """Whether an object is a type, a module, or a library function, none of which holds a user's array."""
    if isinstance(value, types.BuiltinFunctionType):
        return value.__self__ is None or isinstance(value.__self__, types.ModuleType)
    library = type(value).__module__.partition(".")[0] in ("jax", "jaxlib", "numpy", "ml_dtypes")
    return isinstance(value, type | types.ModuleType) or (library and not isinstance(value, jax.Array | np.ndarray))


def _known(key: Any) -> bool:
    """Whether no value in a key could hold an array."""
    return all(map(_known, key)) if isinstance(key, tuple) else key is not UNKNOWN
