"""Broadcasts, reshapes, concatenations, and reductions of axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxconv._base.compat import JaxprEqn
from jaxconv.export._graph import Graph
from jaxconv.export._tensors import Tensor, constant, operand_shape, result, without

__all__ = ["LAYOUT", "stacked", "taken"]


def same(g: Graph, eqn: JaxprEqn, *operands: Tensor) -> list[Tensor]:
    """Operations that change no value."""
    return list(operands)


def broadcast_in_dim(g: Graph, eqn: JaxprEqn, x: Tensor, *_: Tensor) -> Tensor:
    """New axes are of size 1 until an operation needs them; they come last in the graph, for channels to come first."""
    rank, axes = len(eqn.params["shape"]), eqn.params["broadcast_dimensions"]
    shape = tuple(x.shape[axes.index(axis)] if axis in axes else 1 for axis in range(rank))
    if x.value is not None:
        return constant(np.asarray(x.value).reshape(shape))
    x = g.written(x)
    new = [axis for axis in range(rank) if axis not in axes]
    order = (*(axes[axis] for axis in x.order), *new)
    name = g.node("Unsqueeze", x.name, g.ints([x.rank + i for i in range(len(new))])) if new else x.name
    return Tensor(shape, x.dtype, order, name)


def squeeze(g: Graph, eqn: JaxprEqn, x: Tensor) -> Tensor:
    x, axes = g.written(x), eqn.params["dimensions"]
    name = g.node("Squeeze", x.name, g.ints(sorted(x.order.index(axis) for axis in axes))) if axes else x.name
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in axes)
    return Tensor(shape, x.dtype, without(x.order, axes), name)


def reshape(g: Graph, eqn: JaxprEqn, x: Tensor, *_: Tensor) -> Tensor:
    order, shape = eqn.params["dimensions"], eqn.params["new_sizes"]
    return result(eqn, g.reshape(g.full(x, operand_shape(eqn, 0), order), shape))


def transpose(g: Graph, eqn: JaxprEqn, x: Tensor) -> Tensor:
    x, perm = g.written(x), eqn.params["permutation"]
    shape = tuple(x.shape[axis] for axis in perm)
    return Tensor(shape, x.dtype, tuple(perm.index(axis) for axis in x.order), x.name)


def concatenate(g: Graph, eqn: JaxprEqn, *parts: Tensor) -> Tensor:
    parts = tuple(map(g.written, parts))
    order = next((t.order for t in parts if t.value is None), parts[0].order)
    shapes = [operand_shape(eqn, number) for number in range(len(parts))]
    names = [g.full(t, shape, order) for t, shape in zip(parts, shapes, strict=True) if 0 not in shape]
    return result(eqn, g.node("Concat", *names, axis=order.index(eqn.params["dimension"])), order)


def stacked(g: Graph, parts: Sequence[Tensor], shape: Sequence[Any], axis: int) -> Tensor:
    """Arrays of one shape along a new axis."""
    names = [g.node("Unsqueeze", g.full(t, shape), g.ints([axis])) for t in parts]
    whole = (*shape[:axis], len(parts), *shape[axis:])
    name = g.node("Concat", *names, axis=axis) if len(names) > 1 else names[0]
    return Tensor(whole, parts[0].dtype, tuple(range(len(whole))), name)


def stack(g: Graph, eqn: JaxprEqn, *parts: Tensor) -> Tensor:
    return stacked(g, parts, operand_shape(eqn, 0), eqn.params["axis"])


def split(g: Graph, eqn: JaxprEqn, x: Tensor) -> list[Tensor]:
    x, sizes = g.written(x), eqn.params["sizes"]
    name, axis = g.full(x, operand_shape(eqn, 0), x.order), x.order.index(eqn.params["axis"])
    names = g.nodes_of("Split", name, g.ints(sizes), count=len(sizes), axis=axis)
    return [result(eqn, name, x.order, at) for at, name in enumerate(names)]


def taken(g: Graph, x: Tensor, number: int) -> Tensor:
    """One index of the first axis."""
    if x.value is not None:
        return constant(x.value[number])
    x = g.written(x)
    name = g.node("Gather", x.name, g.number(number, np.int64), axis=x.order.index(0))
    return Tensor(x.shape[1:], x.dtype, without(x.order, [0]), name)


def iota(g: Graph, eqn: JaxprEqn) -> Tensor:
    """Along a symbolic axis, or one beside it."""
    p = eqn.params
    rank, axis = len(p["shape"]), p["dimension"]
    size = p["shape"][axis]
    if isinstance(size, int):
        name = g.constant(np.arange(size).astype(p["dtype"]))
    else:
        last = g.node("Squeeze", g.size(size))
        name = g.cast(g.node("Range", g.number(0, np.int64), last, g.number(1, np.int64)), p["dtype"])
    order = (axis, *(other for other in range(rank) if other != axis))
    shape = tuple(size if other == axis else 1 for other in range(rank))
    return Tensor(shape, p["dtype"], order, g.node("Unsqueeze", name, g.ints(range(1, rank))) if rank > 1 else name)


def dim_as_value(g: Graph, eqn: JaxprEqn, *_: Tensor) -> Tensor:
    """A symbolic size as a number."""
    return result(eqn, g.cast(g.node("Squeeze", g.size(eqn.params["dim"])), result(eqn, "").dtype))


def reduction(op: str, through: Any = None) -> Any:
    """A rule for a reduction; `through`: type that bools are reduced in."""

    def rule(g: Graph, eqn: JaxprEqn, x: Tensor) -> Tensor:
        x, axes = g.written(x), eqn.params["axes"]
        name = g.full(x, operand_shape(eqn, 0), x.order)
        name = g.cast(name, through) if through else name
        at = sorted(x.order.index(axis) for axis in axes)
        if op.startswith("Arg"):
            found = g.cast(g.node(op, name, axis=at[0], keepdims=0), eqn.params["index_dtype"])
        else:
            found = g.node(op, name, g.ints(at), keepdims=0) if at else name
        return result(eqn, g.cast(found, bool) if through else found, without(x.order, axes))

    return rule


def cumsum(g: Graph, eqn: JaxprEqn, x: Tensor) -> Tensor:
    x, p = g.written(x), eqn.params
    axis = g.number(x.order.index(p["axis"]), np.int64)
    return result(
        eqn, g.node("CumSum", g.full(x, operand_shape(eqn, 0), x.order), axis, reverse=int(p["reverse"])), x.order
    )


LAYOUT: dict[str, Any] = {
    "argmax": reduction("ArgMax"),
    "argmin": reduction("ArgMin"),
    "broadcast_in_dim": broadcast_in_dim,
    "concatenate": concatenate,
    "copy": same,
    "copy_p": same,
    "cumsum": cumsum,
    "dim_as_value": dim_as_value,
    "iota": iota,
    "name": same,
    "optimization_barrier": same,
    "reduce_and": reduction("ReduceMin", np.int32),
    "reduce_max": reduction("ReduceMax"),
    "reduce_min": reduction("ReduceMin"),
    "reduce_or": reduction("ReduceMax", np.int32),
    "reduce_prod": reduction("ReduceProd"),
    "reduce_sum": reduction("ReduceSum"),
    "reshape": reshape,
    "split": split,
    "squeeze": squeeze,
    "stack": stack,
    "stop_gradient": same,
    "transpose": transpose,
}
"""JAX's primitive -> `(graph, equation, *operands) -> result or results`."""
