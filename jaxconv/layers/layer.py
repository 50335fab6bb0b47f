"""The `Layer` record: a pair of pure functions. Independent of convolutions."""

from __future__ import annotations

import dataclasses
import functools
import html
import inspect
import sys
import traceback
import zlib
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeAlias

import jax
import jax.numpy as jnp

from jaxconv._base.errors import ShapeError
from jaxconv._base.keys import check_key
from jaxconv._base.types import Apply, Init, Input, InputSpec, Params, State

P = ParamSpec("P")
Path = tuple[str, ...]


class Call(Protocol):
    """call("part", h): run a part on h; `by` runs another layer on the part's params and state."""

    def __call__(self, part: str, h: Any, by: Layer | None = None) -> Any: ...


Flow: TypeAlias = Callable[[Call, Any], Any]
"""(call, x) -> y: how data moves through the parts of a layer."""


class _OwnApply(Protocol):
    """`Apply` as the constructor takes it: a function may state what its params and its input are."""

    def __call__(
        self, params: Any, state: Any, x: Any, /, *, key: Any = None, train: bool = False
    ) -> tuple[Any, State]: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """A pair of pure functions over plain nested dicts.

    A layer is immutable, so a copy is the layer itself. It holds closures, which pickle cannot save: pickle params and
    state, and build the net again in each process.

    Attributes:
      name: kind of layer, "conv" for example.
      init: (key, x) -> (params, state). x is an array, a `jax.ShapeDtypeStruct`, or a shape tuple
        (float32), or a pytree of them; only shapes and dtypes are used.
      apply: (params, state, x, *, key=None, train=False) -> (y, state).
      parts: sublayers by name.
      flow: how data moves through the parts, if made by `compose`; see there.
      rebuild: (parts) -> the same layer with other parts, if it has any.
      call: how it prints, if not by its name: the call that made it, "Conv(8, 3)".
    """

    name: str
    init: Init
    apply: Apply
    parts: Mapping[str, Layer] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    flow: Flow | None = None
    rebuild: Callable[[Mapping[str, Layer]], Layer] | None = None
    call: str = ""

    if TYPE_CHECKING:

        def __init__(
            self,
            name: str,
            init: Callable[[Any, Any], tuple[Params, State]],
            apply: _OwnApply,
            parts: Mapping[str, Layer] = ...,
            flow: Flow | None = None,
            rebuild: Callable[[Mapping[str, Layer]], Layer] | None = None,
            call: str = "",
        ) -> None: ...

    def __post_init__(self) -> None:
        """Name the functions in Python's own messages: "chain.apply() missing 1 required positional argument"."""
        for word, function in (("init", self.init), ("apply", self.apply)):
            if isinstance(function, FunctionType) and "<locals>" in function.__qualname__:
                function.__qualname__ = f"{self.name}.{word}"

    def __copy__(self) -> Layer:
        return self

    def __deepcopy__(self, memo: Any) -> Layer:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Raises TypeError under `pickle`; cloudpickle and dill can save closures."""
        callers = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_stack(sys._getframe())]
        if any(caller.startswith(("cloudpickle.", "dill.")) for caller in callers):
            return super().__reduce_ex__(protocol)
        raise TypeError(
            f"a Layer holds closures, which pickle cannot save\n  got: {self.name}\n"
            "  fix: pickle params and state, and build the net in each process; or pickle it with cloudpickle"
        )

    def __repr__(self) -> str:
        inner = "\n".join(f"{name}: {part!r}" for name, part in self.parts.items())
        return "\n".join([self.call or self.name, *(f"  {line}" for line in inner.splitlines())])

    def _repr_html_(self) -> str:
        """The same for a notebook; `jaxconv.summary(net, x)` adds shapes and costs, which need an input."""
        return f"<pre>{html.escape(repr(self))}</pre>"


Part: TypeAlias = Layer | Callable[[Any], Input]
"""What a layer can be made of: a layer, or a function from array to array."""


def printed(make: Callable[P, Layer]) -> Callable[P, Layer]:
    """Decorator of a constructor: its layers print as the call that made them, without keywords at their defaults.

    >>> @printed
    ... def Twice(size, act=None, bias=True): return Layer("twice", None, None)
    >>> Twice(3, act=jax.nn.relu, bias=True)
    Twice(3, act=relu)
    """
    parameters = inspect.signature(make).parameters

    def word(value: Any) -> str:
        return getattr(value, "__name__", None) or repr(value)

    def usual(name: str, value: Any) -> bool:
        default = parameters[name].default if name in parameters else inspect.Parameter.empty
        return type(value) is type(default) and value == default

    @functools.wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> Layer:
        layer = make(*args, **kwargs)  # first: it raises TypeError for unknown keywords
        named = (f"{name}={word(value)}" for name, value in kwargs.items() if not usual(name, value))
        return dataclasses.replace(layer, call=f"{make.__name__}({', '.join([*map(word, args), *named])})")

    return made


def shape_of(x: InputSpec) -> Any:
    """x with every array, struct or shape tuple (float32) replaced by a `jax.ShapeDtypeStruct`.

    >>> shape_of((1, 28, 28, 1))
    ShapeDtypeStruct(shape=(1, 28, 28, 1), dtype=float32)
    """

    def is_shape(v: Any) -> bool:
        return isinstance(v, tuple) and bool(v) and all(isinstance(n, int) for n in v)

    def struct(v: Any) -> jax.ShapeDtypeStruct:
        if is_shape(v) and min(v) >= 0:
            return jax.ShapeDtypeStruct(v, jnp.float32)
        if not hasattr(v, "shape") or not hasattr(v, "dtype"):
            fix = f"{tuple(x)}" if isinstance(x, list) else ""
            raise ShapeError("x must be an array, a ShapeDtypeStruct or a tuple of ints ≥ 0", got=f"{x!r}", fix=fix)
        return jax.ShapeDtypeStruct(v.shape, v.dtype)

    if not jax.tree.leaves(x, is_leaf=is_shape):
        raise ShapeError("x must be an array, a ShapeDtypeStruct or a tuple of ints ≥ 0", got=f"{x!r}")
    return jax.tree.map(struct, x, is_leaf=is_shape)


def fold(key: jax.Array, name: str, call: int = 0) -> jax.Array:
    """The key of a part or parameter: depends only on its name and call count, not on other parts.

    Raises:
      ShapeError: if `key` is not a random key.
    """
    return jax.random.fold_in(check_key(key), zlib.crc32(f"{name}/{call}".encode()))


def lift(part: Part) -> Layer:
    """Wrap any callable from array to array as a stateless layer named after it; return a Layer unchanged.

    >>> lift(jax.nn.relu)
    relu
    """
    if isinstance(part, Layer):
        return part
    must = "a part must be a Layer or a callable from array to array"
    if isinstance(part, list | tuple):
        raise TypeError(f"{must}; got a {type(part).__name__} of {len(part)}: chain(*layers)")
    if not callable(part):
        raise TypeError(f"{must}; got {part!r}")
    if getattr(part, "__annotations__", {}).get("return") in (Layer, "Layer"):
        raise TypeError(f"{must}; got the function {part.__name__}: call it, {part.__name__}(...)")
    inner = part
    while isinstance(inner, functools.partial):
        inner = inner.func
    name = getattr(inner, "__name__", type(inner).__name__).strip("<>")
    return stateless_layer(name, lambda x, *, key, train: part(x))


def stateless_layer(name: str, function: Callable[..., Any]) -> Layer:
    """A layer without parameters or state from (x, *, key, train) -> y."""

    def init(key: Any, x: Any) -> tuple[Params, State]:
        return {}, {}

    def apply(params: Params, state: State, x: Any, *, key: Any = None, train: bool = False) -> tuple[Any, State]:
        return function(x, key=key, train=train), state

    return Layer(name, init, apply)


def check_params(layer: str, params: Any, names: Iterable[str], word: str = "params") -> None:
    """Raises ShapeError if a leaf layer is given params or state of another layer."""
    names = tuple(names)
    if not isinstance(params, Mapping) or set(params) != set(names):
        came = ", ".join(params) or "nothing" if isinstance(params, Mapping) else type(params).__name__
        raise ShapeError(
            f"{word} of {layer} must hold {', '.join(names) or 'nothing'}",
            got=came,
            fix="params, state = net.init(key, x)",
            kind="params",
        )
    for name in names:
        if not hasattr(params[name], "shape") and not isinstance(params[name], Mapping):
            raise ShapeError(f"{word} of {layer} must be arrays", got=f"{name}={params[name]!r}", kind="params")
