"""Composite layers: parts and the flow between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import jax

from jaxconv._base.errors import ShapeError, did_you_mean
from jaxconv._base.types import Params, State
from jaxconv.layers.layer import Flow, Layer, Part, Path, fold, lift, shape_of


def compose(name: str, parts: Mapping[str, Part], flow: Flow) -> Layer:
    """Builds a layer from parts: the only place that threads params, state and keys.

    Args:
      name: kind of layer.
      parts: layers or callables by name.
      flow: (call, x) -> y, plain Python; `call("part", h)` runs a part. Calling a part twice
        shares its weights and passes its state from call to call. `call("part", h, by=layer)` runs
        another layer on the params and state of the part, for tied weights.

    Returns:
      A Layer whose params and state are {part: ...}. Each part's key is folded from its name (and call
      count), so swapping one part does not change the weights and noise of the others. Errors
      inside a part name its path.

    Raises:
      ShapeError: at `init`, if a part is never called; at `apply`, if params or state belong to another net.

    >>> import jax.numpy as jnp
    >>> double = compose("double", {"half": jnp.tanh}, lambda call, x: call("half", x) + call("half", x))
    >>> double.apply({"half": {}}, {"half": {}}, jnp.zeros(2))
    (Array([0., 0.], dtype=float32), {'half': {}})
    """
    if not isinstance(parts, Mapping) or not callable(flow):
        raise TypeError(
            f"compose needs a dict of parts and a function flow(call, x); got {type(parts).__name__}, {flow!r}"
        )
    lifted = MappingProxyType({part: lift(layer) for part, layer in parts.items()})

    def init(key: Any, x: Any) -> tuple[Params, State]:
        x = shape_of(x)
        with net_input(x):
            return _materialize(layer, key, _inputs(layer, x))

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        for word, tree in (("params", params), ("state", state)):
            _check_parts(word, tree, lifted)
        new, calls = dict(state), Counter[str]()

        def run(part: Layer, path: Path, h: Any, by: Layer | None) -> Any:
            name = path[-1]
            own = None if key is None else fold(key, name, calls[name])
            calls[name] += 1
            y, new[name] = (by or part).apply(params[name], new[name], h, key=own, train=train)
            return y

        return run_flow(layer, x, run), new

    layer = Layer(name, init, apply, lifted, flow, rebuild=lambda parts: compose(name, parts, flow))
    return layer


_net_input: ContextVar[frozenset[tuple[int, ...]] | None] = ContextVar("net_input", default=None)


@contextmanager
def net_input(x: Any) -> Iterator[None]:
    """Within the outermost such block, `x` (a tree of structs) is the input of the net that is initialized."""
    shapes = frozenset(leaf.shape for leaf in jax.tree.leaves(x))
    token = _net_input.set(shapes) if _net_input.get() is None else None
    try:
        yield
    finally:
        if token is not None:
            _net_input.reset(token)


def is_net_input(shape: Sequence[int]) -> bool:
    """Whether a layer that is initialized for `shape` sees the input of the net, which the first layer checks."""
    shapes = _net_input.get()
    return shapes is None or tuple(shape) in shapes


def run_flow(layer: Layer, x: Any, run: Callable[..., Any], path: Path = ()) -> Any:
    """Run the flow of a composite with a custom function for every `call(part, h, by=None)`.

    Args:
      layer: a layer with a flow.
      x: its input.
      run: (part, path, h, by) -> y; it also handles parts that are composites themselves.
      path: path of the layer; an error raised inside a part names the path from `layer` to it.

    Returns:
      The output of the flow.

    Raises:
      ShapeError: if the flow calls a part that the layer does not have.

    >>> import jax.numpy as jnp
    >>> net = compose("net", {"a": jnp.sin, "b": jnp.cos}, lambda call, x: call("b", call("a", x)))
    >>> run_flow(net, "x", lambda part, path, h, by: f"{part.name}({h})")
    'cos(sin(x))'
    """

    def call(part: str, h: Any, by: Layer | None = None) -> Any:
        with _inside(part, layer.parts):
            return run(layer.parts[part], (*path, part), h, by)

    assert layer.flow is not None
    return layer.flow(call, x)


def _inputs(layer: Layer, x: Any) -> dict[Path, Any]:
    """The input of each leaf layer of a composite, from one abstract evaluation."""
    seen: dict[Path, Any] = {}

    def program(x: Any) -> Any:
        born: dict[Path, tuple[Params, State]] = {}

        def run(layer: Layer, path: Path, h: Any, by: Layer | None = None) -> Any:
            if by is not None:
                return by.apply(*gather(layer, path, born), h)[0]
            if layer.flow is not None:
                return run_flow(layer, h, run, path)
            if path not in born:
                seen[path] = shape_of(h)
                born[path] = layer.init(jax.random.key(0), seen[path])
            return layer.apply(*born[path], h)[0]

        return run(layer, (), x)

    try:
        jax.eval_shape(program, x)
    except ShapeError as error:  # drop JAX's note about its own frames
        error.__notes__ = [note for note in getattr(error, "__notes__", []) if "JAX has removed" not in note]
        raise
    return seen


def gather(layer: Layer, path: Path, leaves: Mapping[Path, tuple[Params, State]]) -> tuple[Params, State]:
    """The params and state of a part, collected from those of the leaf layers that have run so far.

    Raises:
      ShapeError: if one of its leaf layers has not run yet.
    """
    if layer.flow is None:
        if path not in leaves:
            raise ShapeError(
                "a part must be called itself before another layer may run on its params",
                got="call(part, h, by=layer) before call(part, h)",
            )
        return leaves[path]
    return _unzip({n: gather(part, (*path, n), leaves) for n, part in layer.parts.items()})


def _unzip(born: Mapping[str, tuple[Params, State]]) -> tuple[Params, State]:
    return {n: params for n, (params, _) in born.items()}, {n: state for n, (_, state) in born.items()}


def _materialize(layer: Layer, key: Any, seen: Mapping[Path, Any], path: Path = ()) -> tuple[Params, State]:
    """Initializes every leaf layer for its input."""
    if layer.flow is None:
        if path not in seen:
            raise ShapeError(
                "every part must be called by the flow",
                got=f"{'/'.join(path)!r} is never called",
                fix="remove it",
            )
        return layer.init(key, seen[path])
    born = {n: _materialize(part, fold(key, n), seen, (*path, n)) for n, part in layer.parts.items()}
    return _unzip(born)


@contextmanager
def _inside(part: str, parts: Mapping[str, Layer]) -> Iterator[None]:
    """Names the part in profiles and in errors raised inside it."""
    if part not in parts:
        raise ShapeError(
            "a flow may only call its own parts",
            got=f"call({part!r}){did_you_mean(part, parts)}",
            fix=", ".join(parts),
        )
    try:
        with jax.named_scope(part):
            yield
    except ShapeError as error:
        error.path = (part, *error.path)
        raise
    except Exception as error:
        _note(error, part)
        raise


def path_of(error: BaseException) -> Path:
    """The path of the part in which an error was raised; empty outside of any part."""
    return error.path if isinstance(error, ShapeError) else getattr(error, "_jaxconv_path", ())


def _note(error: Exception, part: str) -> None:
    """One note with the complete path, extended from the inside out."""
    words, path = "at {} (jaxconv)", (part, *path_of(error))
    old = words.format("/".join(path[1:]))
    notes = [note for note in getattr(error, "__notes__", []) if note != old]
    error.__notes__ = [*notes, words.format("/".join(path))]
    vars(error)["_jaxconv_path"] = path


def _check_parts(word: str, tree: Any, parts: Mapping[str, Layer]) -> None:
    if isinstance(tree, Mapping) and tree.keys() == parts.keys():
        return
    got = f"{word} of {', '.join(tree) or 'nothing'}" if isinstance(tree, Mapping) else f"{type(tree).__name__}"
    raise ShapeError(
        f"{word} must be those of this net: {', '.join(parts)}",
        got=got,
        fix="params, state = net.init(key, x)",
        kind="params",
    )
