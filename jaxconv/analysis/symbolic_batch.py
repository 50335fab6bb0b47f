"""Symbolic batch sizes: counts that are affine in n, and shapes with a symbolic batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.export

from jaxconv._base.errors import ShapeError

__all__ = ["AT", "Affine", "affine", "with_batch"]

AT = (2, 3, 7)
"""Batch sizes at which a net with a symbolic batch is analyzed: two define the affine function, the third tests it."""


@dataclasses.dataclass(frozen=True)
class Affine:
    """fixed + each·symbol.

    >>> str(Affine(0, 1, "n")), f"{Affine(5, 1234, 'n'):,}", Affine(5, 1234, "n")(2)
    ('n', '5 + n·1,234', 2473)
    """

    fixed: int
    each: int
    symbol: str

    def __call__(self, n: int) -> int:
        """The number for a batch of n."""
        return self.fixed + self.each * n

    def __add__(self, other: Affine | int) -> Affine:
        more = other if isinstance(other, Affine) else Affine(other, 0, self.symbol)
        return Affine(self.fixed + more.fixed, self.each + more.each, self.symbol)

    __radd__ = __add__

    def __bool__(self) -> bool:
        return bool(self.fixed or self.each)

    def words(self, show: Callable[[int], str]) -> str:
        """As text, with a function that formats each of the two numbers."""
        grows = self.symbol if self.each == 1 and show(1) == "1" else f"{self.symbol}·{show(self.each)}"
        return f"{show(self.fixed)} + {grows}" if self.fixed else grows

    def __format__(self, spec: str) -> str:
        return self.words(lambda n: format(n, spec))

    def __str__(self) -> str:
        return format(self, "")


def affine(values: Sequence[Any], symbol: str, what: str) -> Any:
    """The affine function through the values at the batch sizes `AT`; a plain number if they are equal.

    Args:
      values: one for each batch size.
      symbol: the batch's name.
      what: name of the values, for the message.

    Raises:
      ShapeError: if they are not integers on one line.

    >>> affine([25, 35, 75], "n", "MACs"), affine([4, 4, 4], "n", "MACs")
    (Affine(fixed=5, each=10, symbol='n'), 4)
    """
    if values[0] == values[1] == values[2]:
        return values[0]
    line = None
    if all(isinstance(value, int) for value in values):
        each = (values[1] - values[0]) // (AT[1] - AT[0])
        line = Affine(values[0] - each * AT[0], each, symbol)
    if line is None or line.fixed < 0 or [line(n) for n in AT] != list(values):
        came = ", ".join(f"{len(value)}" if isinstance(value, tuple) else str(value) for value in values)
        raise ShapeError(
            f"with a batch of {symbol}, every count must be affine in {symbol}",
            got=f"{what}: {came} for {symbol} = {', '.join(map(str, AT))}",
            fix=f"a number in place of {symbol}",
        )
    return line


def with_batch(x: Any) -> tuple[str, Callable[[int], Any]] | None:
    """The name of a symbolic batch, and a function that substitutes a number; None if all sizes are numbers.

    Args:
      x: as in `shape_of`, but the first axis may be a name, or a symbol of `jax.export.symbolic_shape`; in a tree of
        inputs, the same symbol in all.

    Raises:
      ShapeError: if an axis other than the batch is symbolic, or there are two symbols, or an expression of one.

    >>> name, at = with_batch(("n", 28, 28, 1))
    >>> name, at(3)
    ('n', (3, 28, 28, 1))
    """
    names = {str(size) for shape in _shapes(x) for size in shape if not isinstance(size, int)}
    if not names:
        return None
    beside = any(not isinstance(size, int) for shape in _shapes(x) for size in shape[1:])
    if beside or len(names) > 1 or not next(iter(names)).isidentifier():
        came = ", ".join(f"({', '.join(map(str, shape))})" for shape in _shapes(x))
        raise ShapeError(
            "only the batch may be symbolic; all other sizes of x must be numbers", got=came, fix='("n", 28, 28, 1)'
        )

    def at(n: int) -> Any:
        def put(leaf: Any) -> Any:
            if _is_shape(leaf):
                return tuple(size if isinstance(size, int) else n for size in leaf)
            if _is_struct(leaf):
                shape = tuple(size if isinstance(size, int) else n for size in leaf.shape)
                return jax.ShapeDtypeStruct(shape, leaf.dtype)
            return leaf

        return jax.tree.map(put, x, is_leaf=_is_shape)

    return names.pop(), at


def _shapes(x: Any) -> list[tuple[Any, ...]]:
    leaves = jax.tree.leaves(x, is_leaf=_is_shape)
    return [leaf if _is_shape(leaf) else tuple(leaf.shape) for leaf in leaves if _is_shape(leaf) or _is_struct(leaf)]


def _is_struct(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _is_shape(v: Any) -> bool:
    """Whether a value is a tuple of sizes, perhaps with a name first, and not a tuple of inputs."""
    return isinstance(v, tuple) and bool(v) and all(map(_is_size, v)) and any(isinstance(n, int) for n in v)


def _is_size(n: Any) -> bool:
    return isinstance(n, int | str) or jax.export.is_symbolic_dim(n)
