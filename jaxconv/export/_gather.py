"""Gathers: indexing with ints, which may depend on the input, and with integer arrays; updates of slices."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxconv._base.compat import JaxprEqn
from jaxconv._base.errors import ConfigError
from jaxconv.export._graph import Graph
from jaxconv.export._layout import taken
from jaxconv.export._slices import bound, pad_node, slice_node
from jaxconv.export._tensors import Tensor, operand_shape, refuse, result, without

__all__ = ["GATHERS"]


def dynamic_slice(g: Graph, eqn: JaxprEqn, x: Tensor, *starts: Tensor) -> Tensor:
    return _slice_at(g, eqn, x, dict(enumerate(starts)))


def _slice_at(g: Graph, eqn: JaxprEqn, x: Tensor, starts: Mapping[int, Tensor], gone: tuple[int, ...] = ()) -> Tensor:
    """One slice; `starts`: a scalar for each axis that is not taken from 0 on, `gone`: axes of the result to remove."""
    x, shape, sizes = g.written(x), operand_shape(eqn, 0), eqn.params["slice_sizes"]
    axes = [axis for axis in starts if sizes[axis] != shape[axis]]
    name = g.full(x, shape, x.order)
    if all(starts[axis].value is not None for axis in axes):
        first, ends = [0] * x.rank, [None if size == n else size for size, n in zip(sizes, shape, strict=True)]
        for axis in axes:
            last = shape[axis] - sizes[axis]
            start = max(int(starts[axis].value), 0)
            first[axis] = min(start, last) if isinstance(last, int) else start
            ends[axis] = bound(first[axis] + sizes[axis], shape[axis])
        name = slice_node(g, name, x.order, first, ends, [1] * x.rank)
    else:
        parts = [g.node("Unsqueeze", g.cast(g.name(starts[axis]), np.int64), g.ints([0])) for axis in axes]
        at = g.node("Concat", *parts, axis=0)
        at = g.node("Min", g.node("Max", at, g.ints([0])), g.sizes([shape[axis] - sizes[axis] for axis in axes]))
        end = g.node("Add", at, g.sizes([sizes[axis] for axis in axes]))
        name = g.node("Slice", name, at, end, g.ints([x.order.index(axis) for axis in axes]))
    name = g.node("Squeeze", name, g.ints(sorted(x.order.index(axis) for axis in gone))) if gone else name
    return result(eqn, name, without(x.order, gone))


def dynamic_update_slice(g: Graph, eqn: JaxprEqn, x: Tensor, update: Tensor, *starts: Tensor) -> Tensor:
    """The update padded to the size of the array, and selected by a constant mask."""
    x, shape, sizes = g.written(x), operand_shape(eqn, 0), operand_shape(eqn, 1)
    axes = [axis for axis in range(x.rank) if sizes[axis] != shape[axis]]
    static = all(isinstance(shape[axis], int) and isinstance(sizes[axis], int) for axis in axes)
    if not static or any(starts[axis].value is None for axis in axes):
        raise refuse("ONNX replaces slices at constants", f"a slice {sizes} of {shape}, at places of the input")
    pairs, mask = [(0, 0)] * x.rank, np.ones((1,) * x.rank, bool)
    for axis in axes:
        low = min(max(int(starts[axis].value), 0), shape[axis] - sizes[axis])
        pairs[axis] = low, shape[axis] - sizes[axis] - low
        mask = np.repeat(mask, sizes[axis], axis)
    mask = np.pad(mask, pairs)
    name = pad_node(g, g.full(update, sizes, x.order), [pairs[axis] for axis in x.order], g.number(0, x.dtype))
    found = g.node("Where", g.constant(mask.transpose(x.order)), name, g.full(x, shape, x.order))
    return result(eqn, found, x.order)


def gather(g: Graph, eqn: JaxprEqn, x: Tensor, indices: Tensor) -> Tensor:
    """One slice, or single cells of some axes and all of the others, or slices at constants."""
    p, shape, within = eqn.params, list(operand_shape(eqn, 0)), operand_shape(eqn, 1)
    d, mode = p["dimension_numbers"], p["mode"].name
    if len(within) == 1:
        starts = {axis: taken(g, indices, number) for number, axis in enumerate(d.start_index_map)}
        return _slice_at(g, eqn, x, starts, tuple(d.collapsed_slice_dims))
    if indices.value is None and "FILL" in mode:
        raise refuse("ONNX gathers within bounds", f"indices that depend on the input, mode {mode}", 'mode="clip"')
    numbers = None if indices.value is None else np.broadcast_to(np.asarray(indices.value), within)
    axes, name = [axis for axis in d.start_index_map if axis in d.collapsed_slice_dims], g.full(x, shape)
    for column, axis in enumerate(d.start_index_map):
        size = p["slice_sizes"][axis]
        if axis not in axes and size != shape[axis]:
            start = min(max(_constant(numbers, column, eqn), 0), shape[axis] - size)
            name = g.node("Slice", name, g.ints([start]), g.ints([start + size]), g.ints([axis]))
            shape[axis] = size
    if not axes or len(axes) != len(d.collapsed_slice_dims):
        raise _slices(eqn)
    columns, last = [d.start_index_map.index(axis) for axis in axes], [shape[axis] - 1 for axis in axes]
    out, paired = result(eqn, ""), list(d.operand_batching_dims)
    rest = [axis for axis in range(x.rank) if axis not in (*axes, *paired)]
    batch = [axis for axis in range(out.rank) if axis not in d.offset_dims]
    if numbers is None:
        at = g.cast(g.full(indices, within), np.int64)
        at = g.node("Min", g.node("Max", at, g.ints([0])), g.sizes(last)) if "CLIP" in mode else at
    else:
        numbers = np.clip(numbers[..., columns], 0, last) if "CLIP" in mode else numbers[..., columns]
        if ((numbers < 0) | (numbers > last)).any():
            raise refuse("ONNX gathers within bounds", f"constant indices outside of {tuple(shape)}")
        if not paired and (vectors := _grid(numbers)) is not None:
            for axis, vector in zip(axes, vectors, strict=True):
                name = g.node("Gather", name, g.ints(vector), axis=axis)
            place = dict([*zip(axes, batch, strict=True), *zip(rest, d.offset_dims, strict=True)])
            return dataclasses.replace(out, name=name, order=tuple(place[axis] for axis in range(x.rank)))
        at = g.ints(numbers)
    pairs = list(d.start_indices_batching_dims)
    order = [*pairs, *(i for i in range(len(batch)) if i not in pairs)]
    at = at if order == sorted(order) else g.node("Transpose", at, perm=[*order, len(batch)])
    name = g.node("GatherND", g.node("Transpose", name, perm=[*paired, *axes, *rest]), at, batch_dims=len(paired))
    return dataclasses.replace(out, name=name, order=(*(batch[i] for i in order), *d.offset_dims))


def _constant(numbers: np.ndarray | None, column: int, eqn: JaxprEqn) -> int:
    """The start of a slice that is the same for all of them."""
    found = [] if numbers is None else np.unique(numbers[..., column]).tolist()
    if len(found) != 1:
        raise _slices(eqn)
    return int(found[0])


def _slices(eqn: JaxprEqn) -> ConfigError:
    got = f"slices {eqn.params['slice_sizes']} of {operand_shape(eqn, 0)}"
    return refuse("ONNX gathers single cells of an axis, or all of it", got)


def _grid(indices: np.ndarray) -> list[np.ndarray] | None:
    """Indices [*batch, n] as one vector for each axis, if the i-th depends on the i-th batch axis alone."""
    count = indices.shape[-1]
    if indices.ndim - 1 != count or 0 in indices.shape:
        return None
    vectors = [indices[(0,) * i + (slice(None),) + (0,) * (count - 1 - i) + (i,)] for i in range(count)]
    return vectors if np.array_equal(np.stack(np.meshgrid(*vectors, indexing="ij"), -1), indices) else None


GATHERS: dict[str, Any] = {
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
    "gather": gather,
}
"""JAX's primitive -> `(graph, equation, *operands) -> result`."""
