"""A program as flat lists: its operations, and the arrays that go from one to the next."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from jaxconv.analysis.field_rules import ELEMENTWISE
from jaxconv.analysis.receptive_field import Reach
from jaxconv.analysis.windows import Products

__all__ = ["MOVES", "Array", "Operation", "Program"]

MOVES = {"convert_element_type", "reshape", "transpose", "broadcast_in_dim", "squeeze", "copy", "copy_p"}
"""Operations that only bring a parameter into shape: what reads their result is what uses it."""


@dataclasses.dataclass(eq=False, slots=True)
class Array:
    """One array of the program.

    Attributes:
      shape, dtype: its own.
      fields: what it sees of each input axis that is followed; None where it does not depend on the input.
      maker: the operation that made it, or None.
      parameter: the parameter that it is, perhaps cast or reshaped.
      store: the array in whose memory it lies.
    """

    shape: tuple[int, ...]
    dtype: Any
    fields: tuple[Reach | None, ...] | None = None
    maker: Operation | None = None
    parameter: int | None = None
    store: Array | None = None

    @property
    def bytes(self) -> int:
        """Its size in memory."""
        return math.prod(self.shape) * (self.dtype.itemsize if hasattr(self.dtype, "itemsize") else 4)

    @property
    def root(self) -> Array:
        """The array that owns the memory."""
        return self if self.store is None else self.store.root


@dataclasses.dataclass(eq=False, slots=True)
class Operation:
    """One operation that is no call.

    Attributes:
      name, params: of its primitive.
      path: the scopes around it.
      call: the name of the `jax.nn` function it lies in and which call that is, or None.
      operands, results: arrays.
      times: how often it is run.
      products: what it multiplies, where it does.
    """

    name: str
    params: Any
    path: tuple[str, ...]
    call: tuple[str, int] | None
    operands: list[Array]
    results: list[Array]
    times: int
    products: Products | None

    @property
    def other(self) -> int:
        """Operations on numbers that are no multiplication of a convolution or matrix product."""
        if self.products is not None:
            return 0
        if self.name in ELEMENTWISE - MOVES:
            return self.times * sum(math.prod(r.shape) for r in self.results)
        if self.name.startswith(("reduce_", "arg", "cum")):
            taps = math.prod(self.params.get("window_dimensions", ()))
            counted = self.results if taps > 1 else self.operands[:1]
            return self.times * taps * sum(math.prod(a.shape) for a in counted)
        return 0


@dataclasses.dataclass
class Program:
    """Everything that a function does.

    Attributes:
      operations: in order; the body of a loop once, with `times`.
      inputs, outputs: the arrays.
      constants: floating arrays that the function closes over, by parameter number.
      notes: what could not be counted exactly.
    """

    operations: list[Operation]
    inputs: list[Array]
    outputs: list[Array]
    constants: dict[int, Any]
    notes: list[str]
