"""Flat representation of a program: its operations and arrays."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from jaxconv.analysis.field_rules import ELEMENTWISE
from jaxconv.analysis.receptive_field import Reach
from jaxconv.analysis.windows import Products

__all__ = ["MOVES", "Array", "Operation", "Program"]

MOVES = {"convert_element_type", "reshape", "transpose", "broadcast_in_dim", "squeeze", "copy", "copy_p"}
"""Operations that only change the shape or dtype of a parameter; the user of the result counts as its user."""


@dataclasses.dataclass(eq=False, slots=True)
class Array:
    """One array of the program.

    Attributes:
      shape, dtype: its own.
      fields: receptive field along each followed input axis; None if it does not depend on the input.
      maker: the operation that produced it, or None.
      parameter: number of the parameter that it is, perhaps cast or reshaped.
      store: the array whose memory it shares.
    """

    shape: tuple[int, ...]
    dtype: Any
    fields: tuple[Reach | None, ...] | None = None
    maker: Operation | None = None
    parameter: int | None = None
    store: Array | None = None

    @property
    def bytes(self) -> int:
        """Size in memory."""
        return math.prod(self.shape) * (self.dtype.itemsize if hasattr(self.dtype, "itemsize") else 4)

    @property
    def root(self) -> Array:
        """The array that owns the memory."""
        return self if self.store is None else self.store.root


@dataclasses.dataclass(eq=False, slots=True)
class Operation:
    """One operation (a primitive that is not a call).

    Attributes:
      name, params: of its primitive.
      path: the scopes around it.
      call: name and number of the enclosing call of a `jax.nn` function, or None.
      operands, results: arrays.
      times: number of executions.
      products: its multiplications, if it is a convolution or matrix product.
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
        """Scalar operations other than the MACs of convolutions and matrix products."""
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
    """All operations of a function.

    Attributes:
      operations: in order; the body of a loop once, with `times`.
      inputs, outputs: the arrays.
      constants: floating arrays that the function closes over, by parameter number.
      notes: inexact counts.
    """

    operations: list[Operation]
    inputs: list[Array]
    outputs: list[Array]
    constants: dict[int, Any]
    notes: list[str]
