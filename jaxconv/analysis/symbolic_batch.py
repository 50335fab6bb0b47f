"""Numbers that grow with a batch of unknown size: a + b·n, and shapes that hold one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.export

from jaxconv._base.errors import ShapeError

__all__ = ["AT", "Affine", "affine", "with_batch"]

AT = (2, 3, 7)
"""The batches that a net is read at where its own is a symbol: two give the line, the third has to lie on it."""


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
        """In words, each of its two numbers shown by a function."""
        grows = self.symbol if self.each == 1 and show(1) == "1" else f"{self.symbol}·{show(self.each)}"
        return f"{show(self.fixed)} + {grows}" if self.fixed else grows

    def __format__(self, spec: str) -> str:
        return self.words(lambda n: format(n, spec))

    def __str__(self) -> str:
        return format(self, "")


def affine(values: Sequence[Any], symbol: str, what: str) -> Any:
    """The line through numbers found at the batches of `AT`; a plain number where they are all the same.

    Args:
      values: one for each batch.
      symbol: the batch's name.
      what: they are, for the message.

    Raises:
      ShapeError: they are no whole numbers on one line.

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
            f"with a batch of {symbol}, every number must grow with {symbol} in a straight line",
            got=f"{what}: {came} for {symbol} = {', '.join(map(str, AT))}",
            fix=f"a number in place of {symbol}",
        )
    return line


def with_batch(x: Any) -> tuple[str, Callable[[int], Any]] | None:
    """Where the batch of x is a symbol: its name, and x with a number in its place; None where all sizes are numbers.

    Args:
      x: what `shape_of` takes, but the first axis may be a name, or a symbol of `jax.export.symbolic_shape`; in a
        tree of inputs the same in all that have one.

    Raises:
      ShapeError: a symbol stands beside the batch, or there are two, or it is no lone name.

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
            "the batch alone may be a symbol; all other sizes of x must be numbers", got=came, fix='("n", 28, 28, 1)'
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
    """A tuple of sizes of which the first may be a name: not a tuple of inputs."""
    return isinstance(v, tuple) and bool(v) and all(map(_is_size, v)) and any(isinstance(n, int) for n in v)


def _is_size(n: Any) -> bool:
    return isinstance(n, int | str) or jax.export.is_symbolic_dim(n)
