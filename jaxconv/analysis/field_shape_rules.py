"""Receptive-field rules of slices, transposes, concatenations and reshapes."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from jaxconv.analysis.receptive_field import NOTHING, Axis, Reach

__all__ = [
    "alone",
    "broadcast",
    "concatenate",
    "cut",
    "gather",
    "piece",
    "reshape",
    "reverse",
    "squeeze",
    "stack",
    "tile",
    "transpose",
]

Shape = tuple[int, ...]


def alone(fields: Sequence[Reach | None]) -> Reach | None:
    """The first operand's field, if no other operand has one."""
    return None if any(f is not None for f in fields[1:]) else fields[0]


def cut(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    field, strides = fields[0], params["strides"] or (1,) * len(out)
    for dim, (start, stride) in enumerate(zip(params["start_indices"], strides, strict=True)):
        if field is not None and (start, stride, shapes[0][dim]) != (0, 1, out[dim]):
            field = field.windows(dim, shapes[0][dim], Axis(out[dim], stride=stride, low=-start))
    return field


def reverse(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    (field,) = fields
    assert field is not None
    stride = -field.stride if field.stride is not None and field.dim in params["dimensions"] else field.stride
    return field.each(lambda a, _: np.flip(a, params["dimensions"]), stride=stride)


def transpose(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    (field,), order = fields, tuple(params["permutation"])
    assert field is not None
    return field.each(lambda a, _: a.transpose(order), dim=None if field.dim is None else order.index(field.dim))


def broadcast(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    field, dims = fields[0], params["broadcast_dimensions"]
    assert field is not None

    def spread(a: np.ndarray, _: Any) -> np.ndarray:
        shape = [1] * len(out)
        for dim, n in zip(dims, a.shape, strict=True):
            shape[dim] = n
        return a.reshape(shape)

    old = field.dim
    dim = dims[old] if old is not None and out[dims[old]] == shapes[0][old] else None
    return field.each(spread, dim=dim, stride=field.stride if dim is not None else None)


def squeeze(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    (field,), gone = fields, [d % len(shapes[0]) for d in params["dimensions"]]
    assert field is not None
    if field.dim is not None and field.dim in gone:
        field = field.reduced([field.dim])
    dim = None if field.dim is None else field.dim - sum(d < field.dim for d in gone)
    return field.each(lambda a, _: a.squeeze(tuple(gone)), dim=dim)


def reshape(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    field, old = fields[0], shapes[0]
    if field is None or params.get("dimensions") is not None or 0 in old:
        return NotImplemented
    groups = _groups(old, out)
    place = {a[0]: b[0] for a, b in groups if len(a) == len(b) == 1}

    def change(a: np.ndarray, _: Any) -> np.ndarray:
        full, new = list(a.shape), [1] * len(out)
        for before, after in groups:
            if any(a.shape[d] > 1 for d in before):
                for d in before:
                    full[d] = old[d]
                for d in after:
                    new[d] = out[d]
        return np.broadcast_to(a, full).reshape(new)

    dim = place.get(field.dim) if field.dim is not None else None
    field = field.each(change, dim=dim, stride=field.stride if dim is not None else None)
    return field.tight() if dim is not None else field.clipped().tight()


def _groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """Groups of dimensions that a reshape maps to each other: (old dimensions, new dimensions)."""
    groups, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        a, b = [i] if i < len(old) else [], [j] if j < len(new) else []
        if a and b and old[i] != new[j] and 1 in (old[i], new[j]):  # an axis of 1 is added or removed
            a, b = ([i], []) if old[i] == 1 else ([], [j])
        i, j = i + len(a), j + len(b)
        while a and b and math.prod(old[d] for d in a) != math.prod(new[d] for d in b):
            if math.prod(old[d] for d in a) < math.prod(new[d] for d in b):
                a, i = [*a, i], i + 1
            else:
                b, j = [*b, j], j + 1
        groups.append((a, b))
    return groups


def concatenate(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    dim, found = params["dimension"], [f for f in fields if f is not None]
    sized = [(shape[dim], f) for shape, f in zip(shapes, fields, strict=True) if f is not None]
    lead = max(sized, key=lambda pair: (pair[1].dim is not None, pair[0]))[1]  # not a wrapped border
    first = found[0]
    if dim != lead.dim and len(found) == len(fields) and all(
        f.dim == first.dim and f.stride == first.stride and f.low.shape[dim] == 1 and
        all(np.array_equal(a, b) for a, b in zip(f.arrays, first.arrays, strict=True)) for f in found
    ):  # fmt: skip
        return first

    def join(i: int) -> np.ndarray:
        parts = []
        for shape, field in zip(shapes, fields, strict=True):
            a = np.full((1,) * len(out), -NOTHING if i % 2 else NOTHING) if field is None else field.arrays[i]
            parts.append((a, shape[dim]))
        rest = np.broadcast_shapes(*(tuple(1 if d == dim else n for d, n in enumerate(a.shape)) for a, _ in parts))
        return np.concatenate([np.broadcast_to(a, (*rest[:dim], n, *rest[dim + 1 :])) for a, n in parts], axis=dim)

    whole = any(f.whole for f in found)
    low, high, seen_low, seen_high = map(join, range(4))
    joined = Reach(low, high, seen_low, seen_high, lead.dim, lead.stride, whole, lead.period)
    if lead.dim is None:  # a new axis of windows, as adaptive pools make it
        centers = [float(a.min() + b.max()) / 2 for a, b in _along(joined, dim)]
        steps = {b - a for a, b in itertools.pairwise(centers)}
        joined = dataclasses.replace(joined, dim=dim, stride=Fraction(steps.pop()) if len(steps) == 1 else None)
    return joined.clipped() if whole else joined


def stack(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    dim = params["axis"]
    one = tuple(1 if d == dim else n for d, n in enumerate(out))
    spread = {"broadcast_dimensions": tuple(d for d in range(len(out)) if d != dim)}
    rows = [f and broadcast(spread, [s], [f], one) for s, f in zip(shapes, fields, strict=True)]
    return concatenate({"dimension": dim}, [one] * len(rows), rows, out)


def tile(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    (field,), reps = fields, params["reps"]
    assert field is not None
    for dim, (n, times) in enumerate(zip(shapes[0], reps[-len(out) :], strict=True)):
        if times > 1 and any(a.shape[dim] > 1 for a in field.arrays):
            field = field.each(functools.partial(_again, n=n, times=times, dim=dim))
    return field.clipped() if any(times > 1 for times in reps) else field


def _again(a: np.ndarray, _: Any, n: int, times: int, dim: int) -> np.ndarray:
    return np.concatenate([np.broadcast_to(a, (*a.shape[:dim], n, *a.shape[dim + 1 :]))] * times, axis=dim)


def gather(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    """Cells at unknown positions: everything along the sliced axes."""
    field, numbers = alone(fields), params["dimension_numbers"]
    if field is None or numbers.operand_batching_dims:
        return NotImplemented
    field = field.reduced([d for d, n in enumerate(params["slice_sizes"]) if n != shapes[0][d]])
    gone = [d for d in range(len(shapes[0])) if d in numbers.collapsed_slice_dims]
    kept = tuple(n for d, n in enumerate(params["slice_sizes"]) if d not in gone)
    field = squeeze({"dimensions": gone}, shapes[:1], [field], kept)
    return broadcast({"broadcast_dimensions": numbers.offset_dims}, [kept], [field], out)


def piece(name: str, params: Any, shape: Shape, field: Reach | None, which: int) -> Reach | None:
    """The field of one of the results of a split or unstack."""
    axis, sizes = params["axis"], params.get("sizes") or (1,) * shape[params["axis"]]
    start = tuple(int(sum(sizes[:which])) if d == axis else 0 for d in range(len(shape)))
    part = tuple(int(sizes[which]) if d == axis else n for d, n in enumerate(shape))
    field = field and cut({"start_indices": start, "strides": None}, [shape], [field], part)
    return field and squeeze({"dimensions": (axis,)}, [part], [field], ()) if name == "unstack" else field


def _along(field: Reach, dim: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for i in range(field.low.shape[dim]):
        yield field.low.take(i, axis=dim), field.high.take(i, axis=dim)
