"""Receptive-field rules: one per operation, from the fields of the operands to that of the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxconv.analysis.field_shape_rules import (
    alone,
    broadcast,
    concatenate,
    cut,
    gather,
    reshape,
    reverse,
    squeeze,
    stack,
    tile,
    transpose,
)
from jaxconv.analysis.receptive_field import Axis, Reach, union
from jaxconv.analysis.windows import conv_axes

__all__ = ["ELEMENTWISE", "through"]

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
    """Receptive field of an operation's result along one input axis.

    Args:
      name, params: of the primitive.
      shapes, fields: of each operand; a field is None if the operand does not depend on the input.
      out: the result's shape.

    Returns:
      A Reach, or None if the result does not depend on the input. An operation without a rule depends on everything.
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
    """Every cell of the result depends on all cells of all operands."""
    hulls = [f and f.reduced(range(f.low.ndim)).each(lambda a, _: a.reshape((1,) * rank), dim=None) for f in fields]
    found = union(hulls, rank)
    return found and found.clipped()


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
    columns = zip(win.kernel_size, win.stride, win.padding, win.dilation, choice.n, win.out, strict=True)
    axes = [(Axis(o, k, s, lo, d), Axis(n, k, 1, d * (k - 1) - lo, d, s)) for k, s, (lo, _), d, n, o in columns]
    moved = []
    for field, wide in zip(fields, (choice.slot == "y", False), strict=True):
        if field is not None and (wide or choice.slot == "x"):
            for i, (pick, place) in enumerate(axes):
                field = field.windows(i + 1, choice.n[i] if wide else win.out[i], pick if wide else place)
        moved.append(field)
    return union(moved, len(out))


def _pool(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    field, win = alone(fields), params["choice"].win
    columns = zip(win.out, win.kernel_size, win.stride, win.padding, win.dilation, strict=True)
    for i, (o, k, s, (lo, _), d) in enumerate(columns, 1):
        field = field and field.windows(i, shapes[0][i], Axis(o, k, s, lo, d))
    return field


def _resample(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    """Each cell of the result depends on its taps; those beyond the borders stand for the border's cells."""
    field = alone(fields)
    if field is None:
        return NotImplemented
    for axis, resampling in params["maps"]:
        (at, weights), n = resampling.taps(), shapes[0][axis]
        edges = field.taken(axis, n, np.clip(at, 0, n - 1), weights != 0, resampling.stride)
        beyond = field.taken(axis, n, at, weights != 0, resampling.stride)
        field = dataclasses.replace(beyond, low=edges.low, high=edges.high)
    return field


def _normalize(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    return union([f and f.reduced(params["norm"].axes) for f in fields], len(out))


def _reduce_window(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    field = alone(fields)
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


def _dynamic(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    """A slice at an unknown position: everything along the sliced axes."""
    field = alone(fields)
    return NotImplemented if field is None else field.reduced([d for d, n in enumerate(out) if n != shapes[0][d]])


def _reduce(params: Any, shapes: Sequence[Shape], fields: Sequence[Reach | None], out: Shape) -> Any:
    axes = params["axes"] if "axes" in params else params["dimensions"]
    field = union(fields[: max(len(fields) // 2, 1)] if "computation" in params else fields, len(shapes[0]))
    if field is None:
        return NotImplemented
    field = field.reduced(axes)
    return squeeze({"dimensions": axes}, shapes, [field], out)


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
    "jaxconv_first_maximum": _pool,
    "jaxconv_window_sum": _pool,
    "jaxconv_normalize": _normalize,
    "jaxconv_resample": _resample,
    "reduce_window": _reduce_window,
    "pad": _pad,
    "slice": cut,
    "dynamic_slice": _dynamic,
    "rev": reverse,
    "transpose": transpose,
    "broadcast_in_dim": broadcast,
    "squeeze": squeeze,
    "reshape": reshape,
    "concatenate": concatenate,
    "stack": stack,
    "tile": tile,
    "gather": gather,
    "dot_general": _dot,
}
