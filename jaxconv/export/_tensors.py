"""Values of the traced program on their way into an ONNX graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxconv._base.compat import JaxprEqn
from jaxconv._base.errors import ConfigError

__all__ = ["Tensor", "constant", "element_type", "operand_shape", "refuse", "result", "without"]


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the traced program.

    A transpose writes no node: it changes `order`, and operations that work in any layout keep that of their operand.
    Nor does a broadcast, which every elementwise operation of ONNX does by itself.

    Args:
      shape: sizes in the program's layout; 1 for an axis that is still to be broadcast.
      dtype: the element type.
      order: which axis of the program each axis in the graph is.
      name: in the graph; empty for a constant.
      value: of a constant.
      instead: makes a shorter graph of the same values, see `jaxconv.export._windows`.
      cells: of a slice or of their maximum or sum, see there.
    """

    shape: tuple[Any, ...]
    dtype: Any
    order: tuple[int, ...]
    name: str = ""
    value: Any = None
    instead: Callable[[], Tensor] | None = None
    cells: Any = None

    @property
    def rank(self) -> int:
        return len(self.shape)


def refuse(must: str, got: str, fix: str = "leave it out of the exported function") -> ConfigError:
    """The error for what ONNX cannot express; the layer is added where it is known."""
    return ConfigError(f"{must}\n  got: {got}\n  fix: {fix}")


def element_type(dtype: Any) -> int:
    """ONNX's number of an element type."""
    from onnx import helper

    try:
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    except (KeyError, TypeError, ValueError):
        raise refuse("ONNX must have the element type of every array", str(dtype)) from None


def constant(value: Any) -> Tensor:
    """A tensor whose values are known."""
    return Tensor(tuple(value.shape), value.dtype, tuple(range(value.ndim)), value=value)


def result(eqn: JaxprEqn, name: str, order: Sequence[int] | None = None, at: int = 0) -> Tensor:
    """A result of an equation, of which every axis has its full size."""
    aval: Any = eqn.outvars[at].aval
    return Tensor(aval.shape, aval.dtype, tuple(range(aval.ndim) if order is None else order), name)


def operand_shape(eqn: JaxprEqn, operand: int) -> tuple[Any, ...]:
    """The full shape of an operand of an equation."""
    aval: Any = eqn.invars[operand].aval
    return tuple(aval.shape)


def without(order: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """The layout that is left when axes are removed."""
    kept = sorted(set(order) - set(axes))
    return tuple(kept.index(axis) for axis in order if axis not in axes)
