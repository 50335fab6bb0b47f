"""Types of arguments and results; `jaxconv.typing` is their public place.

Parameters and state are plain nested dicts. `Params` and `State` describe both without a class of their own: a dict is
either, the parameters that `init` returns are no `State`, and its state is no `Params`. A type checker therefore
rejects `net.apply(state, params, x)`.
"""

from collections.abc import ItemsView, Iterable, KeysView, Mapping, Sequence, ValuesView
from typing import Any, Literal, Protocol, TypeAlias

import jax
import numpy as np
from jax.typing import ArrayLike

__all__ = [
    "Apply", "Array", "ArrayLike", "ArraySpec", "Init", "Input", "InputSpec", "Ints", "Padding", "PaddingMode",
    "PaddingWord", "Params", "ParamsLike", "State",
]  # fmt: skip

Ints: TypeAlias = int | Sequence[int]
"""One int for all spatial axes, or one for each."""
PaddingWord: TypeAlias = Literal["valid", "same", "same_lower", "full", "causal"]
PaddingMode: TypeAlias = Literal["zeros", "reflect", "edge", "wrap"]
Padding: TypeAlias = PaddingWord | int | Sequence[int] | Sequence[Sequence[int]]
"""A word, an int for all sides, one pair (lo, hi) for all axes, or a pair for each axis."""

Array: TypeAlias = jax.Array | np.ndarray
"""An array of JAX or NumPy, where a number or a list would not do."""

Params: TypeAlias = Mapping[str, Any]
"""Parameters: nested dicts of arrays by part and leaf name."""
ParamsLike: TypeAlias = Iterable[Any] | ArrayLike
"""Parameters as an argument: `Params`, or what the annotations of optax and chex call an `ArrayTree`."""


class State(Protocol):
    """State, as running statistics: nested dicts of arrays by part and leaf name.

    Any dict is one. It has what is needed to read it, and is not iterable itself, so that it is no `ParamsLike`:
    loop over `state.items()`.
    """

    def __getitem__(self, name: str, /) -> Any: ...
    def __contains__(self, name: object, /) -> bool: ...
    def __len__(self) -> int: ...
    def keys(self) -> KeysView[str]: ...
    def values(self) -> ValuesView[Any]: ...
    def items(self) -> ItemsView[str, Any]: ...
    def copy(self) -> Any: ...


Input: TypeAlias = ArrayLike | tuple[Any, ...] | list[Any] | Mapping[str, Any]
"""Input of a layer: an array [N, *spatial, C], for most; a pytree of arrays where the layer takes one."""


class ArraySpec(Protocol):
    """Shape and dtype of an array, as a `jax.ShapeDtypeStruct` has them."""

    @property
    def shape(self) -> Any: ...
    @property
    def dtype(self) -> Any: ...


InputSpec: TypeAlias = Input | ArraySpec
"""Input of `init`: an array, a `jax.ShapeDtypeStruct` or a shape (a tuple of ints, float32), or a pytree of them."""


class Init(Protocol):
    """(key, x) -> (params, state): initialize a layer for inputs of x's shape and dtype."""

    def __call__(self, key: jax.Array, x: InputSpec, /) -> tuple[Params, State]: ...


class Apply(Protocol):
    """(params, state, x) -> (y, new state): run a layer; `key` is for noise, `train` switches to training."""

    def __call__(
        self, params: ParamsLike, state: State, x: Input, /, *, key: jax.Array | None = None, train: bool = False
    ) -> tuple[jax.Array, State]: ...
