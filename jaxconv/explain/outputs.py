"""Outputs of every layer of a net."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax

from jaxconv._base.errors import ShapeError, did_you_mean
from jaxconv._base.types import Params, State
from jaxconv.layers.composition import run_flow
from jaxconv.layers.layer import Layer, Path, lift

__all__ = ["check_layer", "kinds", "output_structs", "outputs", "run_parts", "spread"]

T = TypeVar("T")


def outputs(net: Any, params: Params, state: State, x: Any) -> dict[str, Any]:
    """Run a net in evaluation mode and collect the output of every leaf layer.

    Args:
      net: a Layer or callable.
      params, state: its own.
      x: [N, ...], its input.

    Returns:
      Outputs by layer path, in execution order (which a dict loses when returned from `jax.jit`); the second call of
      a layer has the suffix "#2". A layer that wraps others (`remat`, `repeat`, `cast`) counts as one.

    >>> import jax.numpy as jnp
    >>> from jaxconv.layers import chain
    >>> net = chain(jnp.square, chain(jnp.negative))
    >>> empty = {"square0": {}, "chain0": {"negative0": {}}}
    >>> {path: float(y) for path, y in outputs(net, empty, empty, jnp.float32(3)).items()}
    {'square0': 9.0, 'chain0/negative0': -9.0}
    """
    found: dict[str, Any] = {}
    calls = Counter[str]()

    def record(path: tuple[str, ...], layer: Layer, params: Params, state: State, h: Any, y: Any, new: State) -> None:
        if layer.flow is None:
            name = "/".join(path) or layer.name
            calls[name] += 1
            found[f"{name}#{calls[name]}" if calls[name] > 1 else name] = y

    run_parts(lift(net), params, state, x, record)
    return found


def run_parts(
    layer: Layer,
    params: Params,
    state: State,
    x: Any,
    hook: Callable[..., Any],
    *,
    train: bool = False,
    path: Path = (),
) -> tuple[Any, State]:
    """`apply`, part by part, with a hook after every call.

    Args:
      layer: the layer to run.
      params, state: its own.
      x: its input.
      hook: called with path, layer, params, state, x, y and new state after each call, inner calls before outer ones.
        What it returns, if not None, replaces y.
      train: as in `apply`.
      path: of the layer.

    Returns:
      As `apply`.

    Raises:
      ShapeError: if a layer rejects its input; names its path.
    """
    states = dict(state)

    def run(part: Layer, path: Path, h: Any, by: Layer | None) -> Any:
        name = path[-1]
        y, states[name] = run_parts(by or part, params[name], states[name], h, hook, train=train, path=path)
        return y

    if layer.flow is None:
        y, new = layer.apply(params, state, x, train=train)
    else:
        y, new = run_flow(layer, x, run, path), states
    instead = hook(path, layer, params, state, x, y, new)
    return (y if instead is None else instead), new


def output_structs(net: Any, params: Params, state: State, x: Any) -> dict[str, Any]:
    """The shapes of `outputs`, in the same order; nothing is computed.

    >>> import jax.numpy as jnp
    >>> from jaxconv.layers import Conv, MaxPool, chain
    >>> net = chain(Conv(2, 3), MaxPool(2), jnp.tanh)
    >>> born = jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 8, 8, 1)))
    >>> {path: y.shape for path, y in output_structs(net, *born, jax.ShapeDtypeStruct((1, 8, 8, 1), "float32")).items()}
    {'conv0': (1, 6, 6, 2), 'max_pool0': (1, 3, 3, 2), 'tanh0': (1, 3, 3, 2)}
    """
    names: list[str] = []

    def run(params: Params, state: State, x: Any) -> list[Any]:
        found = outputs(net, params, state, x)
        names[:] = found
        return list(found.values())

    return dict(zip(names, jax.eval_shape(run, params, state, x), strict=True))


def kinds(net: Any) -> dict[str, str]:
    """The kind of every leaf layer by its path: {"relu0": "relu"}."""
    found: dict[str, str] = {}

    def visit(layer: Layer, path: str) -> None:
        if layer.flow is None:
            found[path or layer.name] = layer.name
        else:
            for name, part in layer.parts.items():
                visit(part, f"{path}/{name}" if path else name)

    visit(lift(net), "")
    return found


def check_layer(layer: str, known: Sequence[str]) -> str:
    """Return `layer` if it is a known path.

    Raises:
      ShapeError: if it is not.
    """
    if layer not in known:
        shown = f"{', '.join(known[:8])}{', …' if len(known) > 8 else ''}"
        raise ShapeError(
            "layer must be the path of a layer that runs", got=f"{layer!r}{did_you_mean(layer, known)}", fix=shown
        )
    return layer


def spread(names: Sequence[T], most: int) -> list[T]:
    """At most so many of the names, evenly spaced, with the first and the last.

    >>> spread("abcdefg", 3), spread("ab", 3)
    (['a', 'd', 'g'], ['a', 'b'])
    """
    if len(names) <= most:
        return list(names)
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]
