"""Elementwise operations: a table from JAX's to ONNX's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxconv._base.compat import JaxprEqn
from jaxconv.export._graph import Graph
from jaxconv.export._tensors import Tensor, refuse

__all__ = ["ELEMENTWISE", "broadcast", "elementwise"]

SAME = {
    "abs": "Abs", "acos": "Acos", "acosh": "Acosh", "add": "Add", "add_any": "Add", "asin": "Asin", "asinh": "Asinh",
    "atan": "Atan", "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh", "div": "Div", "eq": "Equal",
    "erf": "Erf", "exp": "Exp", "floor": "Floor", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual",
    "log": "Log", "logistic": "Sigmoid", "lt": "Less", "max": "Max", "min": "Min", "mul": "Mul", "neg": "Neg",
    "pow": "Pow", "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt", "sub": "Sub", "tan": "Tan",
    "tanh": "Tanh",
}  # fmt: skip
"""JAX's primitive -> the operator that is the same."""


def _bits(logical: str, bitwise: str) -> Callable[..., str]:
    return lambda g, dtype, *x, **_: g.node(logical if dtype.kind == "b" else bitwise, *x)


def _select(g: Graph, dtype: Any, which: str, *cases: str, **_: Any) -> str:
    """`select_n`: of two cases by a bool, of more by an int."""
    if dtype.kind == "b":
        return g.node("Where", which, cases[1], cases[0])
    found = cases[-1]
    for number, case in reversed([*enumerate(cases[:-1])]):
        found = g.node("Where", g.node("Equal", which, g.number(number, dtype)), case, found)
    return found


def _round(g: Graph, dtype: Any, x: str, *, rounding_method: Any, **_: Any) -> str:
    if int(rounding_method) == 1:  # to even
        return g.node("Round", x)
    away = g.node("Floor", g.node("Add", g.node("Abs", x), g.number(0.5, dtype)))
    return g.node("Mul", g.node("Sign", x), away)


FORMULAS: dict[str, Callable[..., str]] = {
    "and": _bits("And", "BitwiseAnd"),
    "cbrt": lambda g, d, x, **_: g.node("Mul", g.node("Sign", x), g.node("Pow", g.node("Abs", x), g.number(1 / 3, d))),
    "clamp": lambda g, d, low, x, high, **_: g.node("Min", g.node("Max", x, low), high),
    "convert_element_type": lambda g, d, x, *, new_dtype, **_: g.cast(x, new_dtype),
    "erfc": lambda g, d, x, **_: g.node("Sub", g.number(1, d), g.node("Erf", x)),
    "exp2": lambda g, d, x, **_: g.node("Pow", g.number(2, d), x),
    "expm1": lambda g, d, x, **_: g.node("Sub", g.node("Exp", x), g.number(1, d)),
    "integer_pow": lambda g, d, x, *, y: g.node("Pow", x, g.number(y, d)),
    "is_finite": lambda g, d, x, **_: g.node("Not", g.node("Or", g.node("IsInf", x), g.node("IsNaN", x))),
    "log1p": lambda g, d, x, **_: g.node("Log", g.node("Add", x, g.number(1, d))),
    "ne": lambda g, d, *x, **_: g.node("Not", g.node("Equal", *x)),
    "not": _bits("Not", "BitwiseNot"),
    "or": _bits("Or", "BitwiseOr"),
    "rem": lambda g, d, *x, **_: g.node("Mod", *x, fmod=1),
    "round": _round,
    "rsqrt": lambda g, d, x, **_: g.node("Reciprocal", g.node("Sqrt", x)),
    "select_n": _select,
    "square": lambda g, d, x, **_: g.node("Mul", x, x),
    "xor": _bits("Xor", "BitwiseXor"),
}
"""JAX's primitive -> `(graph, dtype of the first operand, *names of operands, **parameters) -> name of the result`."""

ELEMENTWISE = SAME.keys() | FORMULAS


def broadcast(operands: Sequence[Tensor]) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """The layout in which operands are combined, that of the largest, and the shape of the result."""
    rank = max(t.rank for t in operands)
    wide = [t for t in operands if t.rank == rank]
    shape = tuple(next((n for n in sizes if not _is_one(n)), 1) for sizes in zip(*(t.shape for t in wide), strict=True))
    largest = max(wide, key=lambda t: (t.value is None) * (1 + sum(not _is_one(n) for n in t.shape)))
    return largest.order, shape


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1


def elementwise(g: Graph, eqn: JaxprEqn, *operands: Tensor) -> Tensor:
    """Any operation of the tables."""
    operands = tuple(map(g.written, operands))
    order, shape = broadcast(operands)
    name, dtype = eqn.primitive.name, np.dtype(operands[0].dtype)
    if (bounded := _bounded(g, name, operands)) is not None:
        return bounded
    names = [g.name(t, order if t.rank else ()) for t in operands]
    if np.issubdtype(dtype, np.complexfloating):
        raise refuse("ONNX has no arithmetic of complex numbers", f"{name} of {dtype}")
    found = g.node(SAME[name], *names) if name in SAME else FORMULAS[name](g, dtype, *names, **eqn.params)
    wanted = getattr(eqn.outvars[0].aval, "dtype", dtype)
    if name == "mul" and wanted != dtype:
        found = g.cast(found, wanted)
    return Tensor(shape, wanted, order, found)


def _bounded(g: Graph, name: str, operands: Sequence[Tensor]) -> Tensor | None:
    """`max(x, 0)` and `min(x, number)` by the operators that runtimes fuse into the convolution before them."""
    bounds = [t for t in operands if t.value is not None and np.size(t.value) == 1]
    if name not in ("max", "min") or len(bounds) != 1 or not np.issubdtype(bounds[0].dtype, np.floating):
        return None
    (x,) = (t for t in operands if t is not bounds[0])
    bound = np.asarray(bounds[0].value).reshape(())
    if (name == "max" and bound != 0) or x.rank < bounds[0].rank:
        return None
    found = g.node("Relu", x.name) if name == "max" else g.node("Clip", x.name, "", g.constant(bound))
    return Tensor(x.shape, x.dtype, x.order, found)
