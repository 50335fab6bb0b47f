"""Time of each layer of a net on this device, forward and backward, with the engine's formulations."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.limits import cpu_cores
from jaxconv._base.types import Params, State
from jaxconv.analysis.formulations import formulations
from jaxconv.engine.tune import median_seconds
from jaxconv.explain.outputs import run_parts
from jaxconv.layers.layer import Layer, lift, shape_of

__all__ = ["LayerTime", "layer_times"]

_RUNS = 5
_SECONDS = 0.05  # of the runs of one program
_COMPILING = 0.7  # share of the time after which nothing more is compiled


class LayerTime(NamedTuple):
    """Measurements of one call of a leaf layer.

    Args:
      path: its own; of the second call of a layer with the suffix "#2".
      formulations: in a training step, see `jaxconv.analysis.formulations`.
      forward: seconds in evaluation mode; None if there was no time to measure it.
      backward: seconds of the gradients of its input and parameters in training mode, with what they need of the
        forward pass; without that of the input for the first layer.
    """

    path: str
    formulations: Mapping[str, str]
    forward: float | None
    backward: float | None


class _Call(NamedTuple):
    name: str
    path: tuple[str, ...]
    layer: Layer
    x: Any
    y: Any

    def at(self, tree: Any) -> Any:
        """The layer's own part of params or state."""
        for name in self.path:
            tree = tree[name]
        return tree

    def cost(self, params: Params) -> int:
        """Output cells times parameters, of a convolution its multiplications."""
        size = sum(leaf.size for leaf in jax.tree.leaves(self.at(params)))
        return max(size, 1) * sum(math.prod(leaf.shape[:-1]) for leaf in jax.tree.leaves(self.y))


class _Program(NamedTuple):
    traced: Any
    arguments: tuple[Any, ...]
    key: tuple[str, str]


def layer_times(
    net: Layer | Callable[..., Any],
    params: Params,
    state: State,
    x: Any,
    *,
    seconds: float = 1.0,
    change: Callable[[Layer], Layer] = lambda layer: layer,
) -> list[LayerTime]:
    """Time each leaf layer of a net alone, on random inputs; in a larger program, XLA may fuse it with others.

    Args:
      net: a Layer.
      params, state: its own.
      x: an input with its batch: an array, a struct or a shape.
      seconds: of compiling and measuring, after which no further layer is measured; the most expensive ones are first.
      change: of each layer before it is measured, a `cast` for example.

    Returns:
      One entry for each call of a layer, in execution order.

    >>> from jaxconv.layers import Conv, chain
    >>> net = chain(Conv(4, 3), jax.nn.relu)
    >>> params, state = net.init(jax.random.key(0), (1, 8, 8, 1))
    >>> [(each.path, each.forward > 0) for each in layer_times(net, params, state, (2, 8, 8, 1))]
    [('conv0', True), ('relu0', True)]
    """
    calls = _calls(lift(net), params, state, shape_of(x))
    programs = [_programs(call, params, state, change, first=call is calls[0]) for call in calls]
    order = sorted(range(len(calls)), key=lambda i: -calls[i].cost(params))
    # Layers with the same program share its time.
    distinct = {program.key: program for i in order for program in programs[i].values()}

    began = time.perf_counter()

    def left(share: float) -> bool:
        return time.perf_counter() - began < share * seconds

    with ThreadPoolExecutor(cpu_cores()) as pool:

        def compiled(program: _Program) -> Future[Any] | None:
            lowered = program.traced.lower()  # in this thread, which has JAX's settings
            return pool.submit(lambda: lowered.compile() if left(_COMPILING) else None)

        waiting = [compiled(program) if left(_COMPILING) else None for program in distinct.values()]
        runs = [None if future is None else future.result() for future in waiting]
    measured = {
        program.key: _seconds(run, program.arguments) if run is not None and left(1) else None
        for program, run in zip(distinct.values(), runs, strict=True)
    }
    found = []
    for call, own in zip(calls, programs, strict=True):
        chosen: dict[str, str] = {}
        for program in own.values():  # that of training has precedence
            chosen |= formulations(program.traced.jaxpr)
        times = {name: measured[program.key] for name, program in own.items()}
        found.append(LayerTime(call.name, chosen, times["forward"], times.get("backward")))
    return found


def _calls(net: Layer, params: Params, state: State, x: Any) -> list[_Call]:
    """The calls of the leaf layers, in order; nothing is computed."""
    found: list[_Call] = []
    counts = Counter[str]()

    def run(params: Params, state: State, x: Any) -> Any:
        def record(path: tuple[str, ...], layer: Layer, params: Any, state: Any, h: Any, y: Any, new: Any) -> None:
            if layer.flow is None:
                name = "/".join(path) or layer.name
                counts[name] += 1
                again = f"#{counts[name]}" if counts[name] > 1 else ""
                found.append(_Call(f"{name}{again}", path, layer, shape_of(h), shape_of(y)))

        return run_parts(net, params, state, x, record)[0]

    jax.eval_shape(run, params, state, x)
    return found


def _programs(
    call: _Call, params: Params, state: State, change: Callable[[Layer], Layer], *, first: bool
) -> dict[str, _Program]:
    """The traced programs of a call: forward, and backward if it has derivatives."""
    layer, key = change(call.layer), jax.random.key(0)
    params, state, x, slope = call.at(params), call.at(state), call.x, call.y

    def forward(params: Any, state: Any, x: Any) -> Any:
        return layer.apply(params, state, x)[0]

    def backward(params: Any, state: Any, x: Any, slope: Any) -> Any:
        def output(params: Any, x: Any) -> Any:
            return layer.apply(params, state, x, key=key, train=True)[0]

        if first:
            return jax.vjp(lambda params: output(params, x), params)[1](slope)
        return jax.vjp(output, params, x)[1](slope)

    found = {"forward": _program(forward, params, state, x)}
    floating = all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves((params, x, slope)))
    if floating and (jax.tree.leaves(params) or not first):
        found["backward"] = _program(backward, params, state, x, slope)
    return found


def _program(function: Callable[..., Any], *arguments: Any) -> _Program:
    traced = jax.jit(function).trace(*arguments)
    types = jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), arguments)
    return _Program(traced, arguments, (str(traced.jaxpr), str(types)))


def _seconds(run: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
    """Median seconds of a program, on random values where its arguments are structs."""
    rng = np.random.default_rng(0)

    def value(leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.zeros(leaf.shape, leaf.dtype)
        return jnp.asarray(rng.standard_normal(leaf.shape, np.float32), leaf.dtype)

    values = jax.tree.map(value, arguments)
    return median_seconds(lambda: run(*values), _RUNS, _SECONDS)
