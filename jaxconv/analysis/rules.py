"""What every cell of an operation's result sees, given what the cells of its operands see: one rule an operation."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from jaxconv.analysis.reach import NOTHING, Axis, Reach, union
from jaxconv.analysis.windows import conv_axes

__all__ = ["ELEMENTWISE", "piece", "through"]

Shape = tuple[int, ...]

_ELEMENTWISE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e bitcast_convert_type cbrt ceil
    clamp conj convert_element_type copy copy_p cos cosh digamma div eq eq_to erf erf_inv erfc exp exp2 expm1 floor ge
    gt igamma igammac imag integer_pow is_finite le le_to lgamma log log1p logistic lt lt_to max min mul ne neg
    nextafter not or pcast polygamma population_count pow pvary real reduce_precision regularized_incomplete_beta rem
    round rsqrt select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh sqrt square
    stop_gradient sub tan tanh xor zeta sharding_constraint
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
REDUCTIONS = {"reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor",
              "argmax", "argmin", "reduce"}  # fmt: skip
SAME_PLACE = {"cumsum": "axis", "cumprod": "axis", "cummax": "axis", "cummin": "axis", "cumlogsumexp": "axis",
              "sort": "dimension"}  # fmt: skip


def through(name: str, params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    """The reach of an operation's result along one input axis.

    Args:
      name, params: of the primitive.
      shapes, fields: of each operand; None where it does not depend on the input.
      out: the result's shape.

    Returns:
      A Reach, or None where nothing is seen. What no rule is known for sees all that its operands see.
    """
    if all(f is None for f in fields):
        return None
    if name in ELEMENTWISE:
        return union(fields, len(out))
    if name in ("reduce_window_max", "reduce_window_min", "reduce_window_sum", "reduce_window"):
        name = "reduce_window"
    rule = _RULES.get(name)
    if rule is None and name in REDUCTIONS:
        rule = _reduce
    if rule is None and name in SAME_PLACE:
        return union([f and f.reduced([params[SAME_PLACE[name]]]) for f in fields], len(out))
    found = rule(params, shapes, fields, out) if rule else NotImplemented
    return _everything(fields, len(out)) if found is NotImplemented else found


def _everything(fields: Sequence[Reach | None], rank: int) -> Reach | None:
    """Every cell of the result sees whatever any cell of any operand does."""
    hulls = [f and f.reduced(range(f.low.ndim)).each(lambda a, _: a.reshape((1,) * rank), dim=None) for f in fields]
    found = union(hulls, rank)
    return found and found.clipped()


def _alone(fields: Sequence[Reach | None]) -> Reach | None:
    """The first operand's reach where no other operand has one."""
    return None if any(f is not None for f in fields[1:]) else fields[0]


def _conv(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    found = conv_axes(params, shapes, out)
    if found is None or fields[1 - found.operand] is not None:
        return NotImplemented
    field = fields[found.operand]
    assert field is not None
    shape = shapes[found.operand]
    order = (*found.lead, *found.spatial, found.features)
    field = field.each(lambda a, _: a.transpose(order), dim=order.index(field.dim) if field.dim is not None else None)
    last = len(order) - 1
    for i, (dim, axis) in enumerate(zip(found.spatial, found.axes, strict=True)):
        field = field.windows(len(found.lead) + i, shape[dim], axis)
    if any(a.shape[last] > 1 for a in field.arrays):
        field = field.each(lambda a, f: _by_group(a, f, shape[found.features], found.groups, found.out_features))
    if field.dim == last:  # the input's axis was the channels
        field = field.reduced([last])
    back = tuple(np.argsort(found.out_order))
    return field.each(lambda a, _: a.transpose(back), dim=back.index(field.dim) if field.dim is not None else None)


def _by_group(a: np.ndarray, reduce: Any, channels: int, groups: int, maps: int) -> np.ndarray:
    a = np.broadcast_to(a, (*a.shape[:-1], channels)).reshape(*a.shape[:-1], groups, channels // groups)
    return np.repeat(reduce(a, axis=-1), maps // groups, axis=-1)


def _select(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    choice = params["choice"]
    win = choice.win
    columns = zip(win.size, win.stride, win.padding, win.dilation, choice.n, win.out, strict=True)
    axes = [(Axis(o, k, s, lo, d), Axis(n, k, 1, d * (k - 1) - lo, d, s)) for k, s, (lo, _), d, n, o in columns]
    moved = []
    for field, wide in zip(fields, (choice.slot == "y", False), strict=True):
        if field is not None and (wide or choice.slot == "x"):
            for i, (pick, place) in enumerate(axes):
                field = field.windows(i + 1, choice.n[i] if wide else win.out[i], pick if wide else place)
        moved.append(field)
    return union(moved, len(out))


def _reduce_window(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    field = _alone(fields)
    if field is None:
        return NotImplemented
    ones = (1,) * len(out)
    holes, dilation = (params.get(word) or ones for word in ("base_dilation", "window_dilation"))
    columns = zip(out, params["window_dimensions"], params["window_strides"], params["padding"], strict=True)
    for dim, (o, k, s, (lo, _)) in enumerate(columns):
        axis = Axis(o, k, s, int(lo), dilation[dim], holes[dim])
        if axis != Axis(o):
            field = field.windows(dim, shapes[0][dim], axis)
    return field


def _pad(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    field = fields[0]
    for dim, (lo, hi, holes) in enumerate(params["padding_config"]):
        if field is not None and (lo or hi or holes):
            field = field.windows(dim, shapes[0][dim], Axis(out[dim], low=lo, base=holes + 1))
    return union([field, fields[1]], len(out))


def _slice(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    field, strides = fields[0], params["strides"] or (1,) * len(out)
    for dim, (start, stride) in enumerate(zip(params["start_indices"], strides, strict=True)):
        if field is not None and (start, stride, shapes[0][dim]) != (0, 1, out[dim]):
            field = field.windows(dim, shapes[0][dim], Axis(out[dim], stride=stride, low=-start))
    return field


def _dynamic(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    """A slice from who knows where: along the axes that are cut, everything."""
    field = _alone(fields)
    return NotImplemented if field is None else field.reduced([d for d, n in enumerate(out) if n != shapes[0][d]])


def _reverse(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    (field,) = fields
    assert field is not None
    jump = -field.jump if field.jump is not None and field.dim in params["dimensions"] else field.jump
    return field.each(lambda a, _: np.flip(a, params["dimensions"]), jump=jump)


def _transpose(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    (field,), order = fields, tuple(params["permutation"])
    assert field is not None
    return field.each(lambda a, _: a.transpose(order), dim=None if field.dim is None else order.index(field.dim))


def _broadcast(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    field, dims = fields[0], params["broadcast_dimensions"]
    assert field is not None

    def spread(a: np.ndarray, _: Any) -> np.ndarray:
        shape = [1] * len(out)
        for dim, n in zip(dims, a.shape, strict=True):
            shape[dim] = n
        return a.reshape(shape)

    dim = None if field.dim is None else dims[field.dim]
    if dim is not None and out[dim] != shapes[0][field.dim]:  # type: ignore[index]
        dim = None
    return field.each(spread, dim=dim, jump=field.jump if dim is not None else None)


def _squeeze(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    (field,), gone = fields, [d % len(shapes[0]) for d in params["dimensions"]]
    assert field is not None
    if field.dim in gone:
        field = field.reduced([field.dim])  # type: ignore[list-item]
    dim = None if field.dim is None else field.dim - sum(d < field.dim for d in gone)
    return field.each(lambda a, _: a.squeeze(tuple(gone)), dim=dim)


def _reshape(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
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
    field = field.each(change, dim=dim, jump=field.jump if dim is not None else None)
    return field.tight() if dim is not None else field.clipped().tight()


def _groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """The runs of dimensions that a reshape leaves together: (of the old shape, of the new)."""
    groups, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        a, b = [i] if i < len(old) else [], [j] if j < len(new) else []
        if a and b and old[i] != new[j] and 1 in (old[i], new[j]):  # a lone 1 that comes or goes
            a, b = ([i], []) if old[i] == 1 else ([], [j])
        i, j = i + len(a), j + len(b)
        while a and b and math.prod(old[d] for d in a) != math.prod(new[d] for d in b):
            if math.prod(old[d] for d in a) < math.prod(new[d] for d in b):
                a, i = [*a, i], i + 1
            else:
                b, j = [*b, j], j + 1
        groups.append((a, b))
    return groups


def _reduce(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    axes = params["axes"] if "axes" in params else params["dimensions"]
    field = union(fields[: max(len(fields) // 2, 1)] if "computation" in params else fields, len(shapes[0]))
    if field is None:
        return NotImplemented
    field = field.reduced(axes)
    return _squeeze({"dimensions": axes}, shapes, [field], out)


def _concatenate(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    dim, found = params["dimension"], [f for f in fields if f is not None]
    sized = [(shape[dim], f) for shape, f in zip(shapes, fields, strict=True) if f is not None]
    lead = max(sized, key=lambda pair: (pair[1].dim is not None, pair[0]))[1]  # not a turned round border
    first = found[0]
    if dim != lead.dim and len(found) == len(fields) and all(
        f.dim == first.dim and f.jump == first.jump and f.low.shape[dim] == 1 and
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
    joined = Reach(low, high, seen_low, seen_high, lead.dim, lead.jump, whole)
    if lead.dim is None:  # a new axis of windows, as adaptive pools make it
        centres = [float(a.min() + b.max()) / 2 for a, b in _along(joined, dim)]
        steps = {b - a for a, b in itertools.pairwise(centres)}
        joined = dataclasses.replace(joined, dim=dim, jump=Fraction(steps.pop()) if len(steps) == 1 else None)
    return joined.clipped() if whole else joined


def _stack(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    dim = params["axis"]
    one = tuple(1 if d == dim else n for d, n in enumerate(out))
    spread = {"broadcast_dimensions": tuple(d for d in range(len(out)) if d != dim)}
    rows = [f and _broadcast(spread, [s], [f], one) for s, f in zip(shapes, fields, strict=True)]
    return _concatenate({"dimension": dim}, [one] * len(rows), rows, out)


def _tile(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    (field,), reps = fields, params["reps"]
    assert field is not None
    for dim, (n, times) in enumerate(zip(shapes[0], reps[-len(out) :], strict=True)):
        if times > 1 and any(a.shape[dim] > 1 for a in field.arrays):
            field = field.each(functools.partial(_again, n=n, times=times, dim=dim))
    return field.clipped() if any(times > 1 for times in reps) else field


def _again(a: np.ndarray, _: Any, n: int, times: int, dim: int) -> np.ndarray:
    return np.concatenate([np.broadcast_to(a, (*a.shape[:dim], n, *a.shape[dim + 1 :]))] * times, axis=dim)


def _gather(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    """Cells from who knows where: along the axes that are cut, everything."""
    field, numbers = _alone(fields), params["dimension_numbers"]
    if field is None or numbers.operand_batching_dims:
        return NotImplemented
    field = field.reduced([d for d, n in enumerate(params["slice_sizes"]) if n != shapes[0][d]])
    gone = [d for d in range(len(shapes[0])) if d in numbers.collapsed_slice_dims]
    kept = tuple(n for d, n in enumerate(params["slice_sizes"]) if d not in gone)
    field = _squeeze({"dimensions": gone}, shapes[:1], [field], kept)
    return _broadcast({"broadcast_dimensions": numbers.offset_dims}, [kept], [field], out)


def piece(name: str, params: Any, shape: Shape, field: Reach | None, which: int) -> Reach | None:
    """The reach of one of the results of a split or unstack."""
    axis, sizes = params["axis"], params.get("sizes") or (1,) * shape[params["axis"]]
    start = tuple(int(sum(sizes[:which])) if d == axis else 0 for d in range(len(shape)))
    part = tuple(int(sizes[which]) if d == axis else n for d, n in enumerate(shape))
    field = field and _slice({"start_indices": start, "strides": None}, [shape], [field], part)
    return field and _squeeze({"dimensions": (axis,)}, [part], [field], ()) if name == "unstack" else field


def _along(field: Reach, dim: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for i in range(field.low.shape[dim]):
        yield field.low.take(i, axis=dim), field.high.take(i, axis=dim)


def _dot(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    contracted, batched = params["dimension_numbers"]
    moved: list[Reach | None] = []
    free = [
        [d for d in range(len(s)) if d not in c and d not in b]
        for s, c, b in zip(shapes, contracted, batched, strict=True)
    ]
    for side, field in enumerate(fields[:2]):
        if field is None:
            moved.append(None)
            continue
        field = field.reduced(contracted[side])
        order = (*batched[side], *free[side])
        before = len(batched[side]) + (len(free[0]) if side else 0)
        place = [*range(len(batched[side])), *range(before, before + len(free[side]))]
        if not side:
            place = list(range(len(order)))

        def change(a: np.ndarray, _: Any, order: Any = order, place: Any = place) -> np.ndarray:
            shape = [1] * len(out)
            for dim, to in zip(order, place, strict=True):
                shape[to] = a.shape[dim]
            rest = [d for d in range(a.ndim) if d not in order]
            return a.transpose(*order, *rest).reshape(shape)

        dim = None if field.dim is None else place[order.index(field.dim)]
        moved.append(field.each(change, dim=dim))
    return union(moved, len(out))


_RULES: dict[str, Any] = {
    "conv_general_dilated": _conv,
    "jaxconv_conv": _conv,
    "jaxconv_select": _select,
    "reduce_window": _reduce_window,
    "pad": _pad,
    "slice": _slice,
    "dynamic_slice": _dynamic,
    "rev": _reverse,
    "transpose": _transpose,
    "broadcast_in_dim": _broadcast,
    "squeeze": _squeeze,
    "reshape": _reshape,
    "concatenate": _concatenate,
    "stack": _stack,
    "tile": _tile,
    "gather": _gather,
    "dot_general": _dot,
}
