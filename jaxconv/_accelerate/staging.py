"""Trace any Python function to a jaxpr, with arbitrary arguments, results and in-place updates."""

import contextlib
import copy
import dataclasses
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

from jaxconv._base.compat import ClosedJaxpr, Tracer, is_nnx_object, nnx_inputs

P = ParamSpec("P")
R = TypeVar("R")

ARRAYS = (jax.Array, np.ndarray, np.generic)
DEPTH = 4
"""Depth to which objects other than pytrees are searched for tracers."""

Rebuild = Callable[[list[Any]], Any]


@dataclasses.dataclass(frozen=True)
class Staged:
    """One traced call of a function.

    Attributes:
      jaxpr: of its arrays.
      values: the arrays among its arguments, in the jaxpr's order.
      result: (jaxpr results) -> function results; with `update=True` the arguments are updated, too.
    """

    jaxpr: ClosedJaxpr
    values: list[Any]
    result: Callable[..., Any]


def stage(fn: Callable[..., Any], args: Any, kwargs: Any, arrays: tuple[type, ...] = ARRAYS) -> Staged:
    """Trace `fn(*args, **kwargs)`.

    Args:
      fn: any function that JAX can trace. Results other than arrays are passed through unchanged.
      args, kwargs: its arguments: `arrays` in pytrees and dataclasses are traced, all other values are passed
        unchanged. In-place updates of dicts, lists, dataclasses and pytrees are repeated by `result`.

    Raises:
      TypeError: if `fn` stores traced values in another object, where they would leak.
    """
    fn, args = _unbound(fn, args)
    leaves, rebuild = _flatten((args, kwargs), arrays)
    traced = [i for i, leaf in enumerate(leaves) if isinstance(leaf, arrays)]
    results: dict[str, Any] = {}

    def flat(*values: Any) -> list[Any]:
        given = list(leaves)
        for i, value in zip(traced, values, strict=True):
            given[i] = value
        inputs = rebuild(given)
        before = _hidden((fn, given))
        out = fn(*inputs[0], **inputs[1])
        after = _flatten(inputs, arrays)[0]
        final, results["rebuild"] = _flatten((inputs, out), (Tracer,))
        same = len(after) == len(given) and all(a is b for a, b in zip(after, given, strict=True))
        structures: list[Any] = [jax.tree.structure(tree) for tree in (inputs, (args, kwargs))]
        results["updated"] = not same or structures[0] != structures[1]
        own = {id(leaf) for i, leaf in enumerate(given) if i not in traced}  # passed unchanged, even if a tracer
        where = [i for i, leaf in enumerate(final) if isinstance(leaf, Tracer) and id(leaf) not in own]
        results["leaves"], results["where"], results["before"] = final, where, before
        return [final[i] for i in where]

    values = [leaves[i] for i in traced]
    jaxpr = jax.make_jaxpr(flat)(*values)
    _refuse_leaks((fn, leaves, results["leaves"]), results["before"])

    def result(computed: list[Any], update: bool = False) -> Any:
        final = list(results["leaves"])
        for i, value in zip(results["where"], computed, strict=True):
            final[i] = value
        inputs, out = results["rebuild"](final)
        if update and results["updated"]:
            _update((args, kwargs), inputs)
        return out

    return Staged(jaxpr, values, result)


def lifted(
    run: Callable[[Callable[..., Any], Any, Any], Any],
    fn: Callable[..., Any],
    args: Any,
    kwargs: Any,
    spare: bool = False,
) -> Any:
    """Call `run(fn, args, kwargs)`, with Flax NNX objects among the arguments split into state pytrees.

    NNX then applies their updates, also of shared variables; with `spare`, to copies.
    """
    fn, args = _unbound(fn, args)
    if any(map(is_nnx_object, jax.tree.leaves((args, kwargs), is_leaf=is_nnx_object))):
        merge_inputs, split_inputs = nnx_inputs()
        if spare:
            args, kwargs = copy.deepcopy((args, kwargs))
        inner = merge_inputs(lambda args, kwargs: fn(*args, **kwargs), ctxtag="jaxconv")
        return split_inputs(lambda *pure: run(inner, pure, {}), ctxtag="jaxconv")(args, kwargs)
    return run(fn, args, kwargs)


def evaluated(fn: Callable[P, R], evaluate: Callable[..., list[Any]]) -> Callable[P, R]:
    """The function whose jaxpr is run by `evaluate(jaxpr, False, *values)` at each call; see `inner.Evaluate`."""

    def run(fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        staged = stage(fn, args, kwargs)
        return staged.result(evaluate(staged.jaxpr, False, *staged.values), update=True)

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        result: R = lifted(run, fn, args, kwargs)
        return result

    return call


def _unbound(fn: Any, args: Any) -> tuple[Callable[..., Any], Any]:
    """A bound method, or an NNX object that is called, with its object as the first argument."""
    if isinstance(fn, types.MethodType):
        return fn.__func__, (fn.__self__, *args)
    return (type(fn).__call__, (fn, *args)) if is_nnx_object(fn) else (fn, args)


# ---------------------------------------------------------------- dataclasses other than pytrees


def _flatten(tree: Any, arrays: tuple[type, ...]) -> tuple[list[Any], Rebuild]:
    """`jax.tree.flatten` that also flattens unregistered dataclasses with `arrays` in them."""
    nodes, structure = jax.tree.flatten(tree)
    parts = [_open(node, arrays) for node in nodes]

    def rebuild(leaves: list[Any]) -> Any:
        rest = iter(leaves)
        return jax.tree.unflatten(structure, [make([next(rest) for _ in inside]) for inside, make in parts])

    return [leaf for inside, _ in parts for leaf in inside], rebuild


def _open(node: Any, arrays: tuple[type, ...]) -> tuple[list[Any], Rebuild]:
    if dataclasses.is_dataclass(node) and not isinstance(node, (type, *arrays)):
        names = _fields(node)
        inside, rebuild = _flatten([getattr(node, name) for name in names], arrays)
        if any(isinstance(leaf, arrays) for leaf in inside):

            def make(leaves: list[Any]) -> Any:
                new = copy.copy(node)
                for name, value in zip(names, rebuild(leaves), strict=True):
                    object.__setattr__(new, name, value)  # works for frozen ones, too
                return new

            return inside, make
    return [node], lambda leaves: leaves[0]


def _fields(record: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(record) if hasattr(record, field.name)]


# ---------------------------------------------------------------- in-place updates


def _update(old: Any, new: Any) -> Any:
    """Make `old` equal to `new`, in place for dicts, lists and objects; returns the replacement."""
    if old is new or type(old) is not type(new):
        return new
    if isinstance(old, dict):
        merged = {name: _update(old[name], value) if name in old else value for name, value in new.items()}
        old.clear()
        old.update(merged)
    elif isinstance(old, list):
        old[:] = [*map(_update, old, new), *new[len(old) :]]
    elif isinstance(old, tuple):
        parts = [*map(_update, old, new), *new[len(old) :]]
        if [*map(id, parts)] != [*map(id, old)]:
            return type(old)(*parts) if hasattr(old, "_fields") else type(old)(parts)
    elif dataclasses.is_dataclass(old) or (hasattr(old, "__dict__") and not jax.tree_util.all_leaves([old])):
        names = _fields(old) if dataclasses.is_dataclass(old) else list(vars(new))
        for name in names:
            object.__setattr__(old, name, _update(getattr(old, name, None), getattr(new, name)))
    else:
        return new
    return old


def _hidden(roots: Any) -> dict[int, str]:
    """Tracers in objects other than pytrees: their location by id."""
    found: dict[int, str] = {}
    seen: set[int] = set()
    level = [(leaf, "") for leaf in jax.tree.leaves(roots)]
    for _ in range(DEPTH):
        inside = [part for leaf, _ in level if id(leaf) not in seen for part in _inside(leaf)]
        seen.update(id(leaf) for leaf, _ in level)
        level = [(leaf, name) for name, value in inside for leaf in jax.tree.leaves(value)]
        found |= {id(leaf): name for leaf, name in level if isinstance(leaf, Tracer)}
    return found


def _inside(leaf: Any) -> Iterator[tuple[str, Any]]:
    """The contents of an object or function, each with a name for messages."""
    if isinstance(leaf, types.MethodType):
        yield "self", (leaf.__self__, leaf.__func__)
    elif isinstance(leaf, functools.partial):
        yield "functools.partial", (leaf.func, leaf.args, leaf.keywords)
    elif isinstance(leaf, types.FunctionType):
        yield "a default", (leaf.__defaults__, leaf.__kwdefaults__)
        for name in leaf.__code__.co_names:
            if not isinstance(value := leaf.__globals__.get(name), (type, types.ModuleType, types.FunctionType)):
                yield name, value
        for name, cell in zip(leaf.__code__.co_freevars, leaf.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # an unbound name
                yield name, cell.cell_contents
    elif not isinstance(leaf, (type, types.ModuleType, Tracer, *ARRAYS)):
        for name, value in dict(getattr(leaf, "__dict__", {})).items():
            yield f"{type(leaf).__name__}.{name}", value


def _refuse_leaks(what: Any, before: dict[int, str]) -> None:
    """Raise TypeError if there are new tracers in objects other than pytrees."""
    leaked = sorted({name for key, name in _hidden(what).items() if key not in before})
    if leaked:
        raise TypeError(
            "accelerate traces a function: what it computes must reach its caller by its results, or by dicts, lists, "
            "dataclasses, pytrees and Flax NNX objects among its arguments\n"
            f"  got: values of the trace in {', '.join(leaked)}\n"
            "  fix: return them; a class of your own can be registered with jax.tree_util.register_dataclass"
        )
