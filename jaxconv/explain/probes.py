"""Probes: a net's outputs together with the activation of one layer, which can be shifted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import jax

from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Params, State
from jaxconv.explain.outputs import run_parts
from jaxconv.layers.layer import Layer, lift
from jaxconv.layers.surgery import check_path, find_part

__all__ = ["Probe", "at_layer", "at_split", "map_layers"]


class Probe(Protocol):
    """(x, shift) -> (y, h): outputs y, and the activation h; `shift`, of h's shape, is added to h on its way to y.

    The derivative of y with respect to `shift` at 0 is that with respect to the activation.
    """

    def __call__(self, x: Any, shift: Any = None, /) -> tuple[jax.Array, jax.Array]: ...


def at_layer(net: Layer | Callable[..., Any], params: Params, state: State, layer: str) -> Probe:
    """Probe of one layer of a net, in evaluation mode.

    Args:
      net: a Layer.
      params, state: its own.
      layer: path of a layer or composite, "layer4" or "features/5"; of a layer that is called several times, the
        first call, or the second one by "relu0#2".

    Returns:
      A Probe, for `grad_cam`; `lambda x: probe(x)[1]` is the net up to that layer.

    Raises:
      ShapeError: if there is no such layer, or it is part of a wrapper (`repeat`, `remat`, `cast`), which runs as one;
        when called, if there is no such call.

    >>> import jax.numpy as jnp
    >>> from jaxconv.layers import chain
    >>> net, empty = chain(a=jnp.sin, b=jnp.square), {"a": {}, "b": {}}
    >>> y, h = at_layer(net, empty, empty, "a")(jnp.array([0.5]), jnp.array([1.0]))
    >>> h, y
    (Array([0.47942555], dtype=float32), Array([2.1887], dtype=float32))
    """
    net = lift(net)
    path, _, number = check_path(layer).partition("#")
    _check_reached(net, path)
    wanted = int(number) if number.isdecimal() else 1 if not number else 0

    def probe(x: Any, shift: Any = None, /) -> tuple[jax.Array, jax.Array]:
        calls, seen = Counter[str](), []

        def watch(at: tuple[str, ...], part: Layer, params: Any, state: Any, x: Any, y: Any, new: Any) -> Any:
            name = "/".join(at)
            calls[name] += 1
            if name != path or calls[name] != wanted:
                return None
            seen.append(y)
            return None if shift is None else y + shift

        y, _ = run_parts(net, params, state, x, watch)
        if not seen:
            raise ShapeError(f"{path} is called {calls[path]} times", got=f"layer {layer!r}", kind="path")
        return y, seen[0]

    return probe


def at_split(features: Callable[[Any], jax.Array], head: Callable[[jax.Array], jax.Array]) -> Probe:
    """Probe of a function that is given in two parts, x -> head(features(x)), of whichever library.

    Args:
      features: x -> h.
      head: h -> y.

    Returns:
      A Probe of h.

    >>> import jax.numpy as jnp
    >>> at_split(jnp.sin, jnp.cos)(jnp.array([0.0]))
    (Array([1.], dtype=float32), Array([0.], dtype=float32))
    """

    def probe(x: Any, shift: Any = None, /) -> tuple[jax.Array, jax.Array]:
        h = features(x)
        return head(h if shift is None else h + shift), h

    return probe


def map_layers(net: Layer | Callable[..., Any], params: Params, state: State, x: Any) -> dict[str, tuple[int, ...]]:
    """Layers and composites whose output is feature maps, and their shapes; nothing is computed.

    Args:
      net: a Layer.
      params, state: its own.
      x: [N, *spatial, C], an array or struct.

    Returns:
      {path: [N, *spatial, C]} in order of completion, of all outputs with as many axes as x and more than one cell.

    >>> from jaxconv.layers import Conv, Dense, chain
    >>> net = chain(block=chain(Conv(2, 3)), flat=lambda x: x.reshape(len(x), -1), head=Dense(3))
    >>> born = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 8, 8, 1)))
    >>> map_layers(net, *born, jax.ShapeDtypeStruct((1, 8, 8, 1), "float32"))
    {'block/conv0': (1, 6, 6, 2), 'block': (1, 6, 6, 2)}
    """
    found: dict[str, tuple[int, ...]] = {}

    def run(params: Any, state: Any, x: Any) -> Any:
        def record(path: tuple[str, ...], part: Layer, params: Any, state: Any, h: Any, y: Any, new: Any) -> None:
            shape = getattr(y, "shape", ())
            if path and len(shape) == x.ndim and max(shape[1:-1]) > 1:
                found.setdefault("/".join(path), shape)

        return run_parts(lift(net), params, state, x, record)[0]

    jax.eval_shape(run, params, state, x)
    return found


def _check_reached(net: Layer, path: str) -> None:
    """Raise ShapeError if the path is not that of a part, or leads into a layer that runs as one."""
    find_part(net, path)
    outer = net
    for depth, name in enumerate(names := path.split("/")):
        if outer.flow is None:
            raise ShapeError(
                f"a layer inside of {outer.name} does not run by itself",
                got=f"layer {path!r}",
                fix=repr("/".join(names[:depth])) if depth else "the net without it",
                kind="path",
            )
        outer = outer.parts[name]
