"""Slices and pads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxconv._base.compat import JaxprEqn
from jaxconv.export._graph import Graph
from jaxconv.export._tensors import Tensor, operand_shape, refuse, result

__all__ = ["SLICES", "bound", "pad", "pad_node", "slice_", "slice_node"]

_FIRST, _LAST = -(2**63), 2**63 - 1  # ends of a slice that runs backwards, and forwards


def pad_node(g: Graph, x: str, pairs: Sequence[tuple[int, int]], fill: str) -> str:
    """Pad, or with negative sizes crop, a tensor; `pairs`: in its layout."""
    return g.node("Pad", x, g.ints([*(low for low, _ in pairs), *(high for _, high in pairs)]), fill)


def pad(g: Graph, eqn: JaxprEqn, x: Tensor, fill: Tensor) -> Tensor:
    x, config, shape = g.written(x), eqn.params["padding_config"], [*operand_shape(eqn, 0)]
    name, order = g.full(x, shape, x.order), x.order
    if any(between for *_, between in config):
        name, order = g.full(x, shape), tuple(range(x.rank))
        for axis, (*_, between) in enumerate(config):
            if between:
                name, shape[axis] = _dilated(g, name, shape, axis, between, g.name(fill))
    return result(eqn, pad_node(g, name, [config[axis][:2] for axis in order], g.name(fill)), order)


def _dilated(g: Graph, x: str, shape: Sequence[Any], axis: int, between: int, fill: str) -> tuple[str, Any]:
    """Cells of `fill` between the cells of an axis, and its size."""
    size = shape[axis] * (between + 1)
    x = g.node("Unsqueeze", x, g.ints([axis + 1]))
    x = pad_node(g, x, [(0, between if at == axis + 1 else 0) for at in range(len(shape) + 1)], fill)
    x = g.reshape(x, [*shape[:axis], size, *shape[axis + 1 :]])
    return g.node("Slice", x, g.ints([0]), g.ints([-between]), g.ints([axis])), size - between


def slice_node(
    g: Graph, x: str, order: Sequence[int], starts: Sequence[int], ends: Sequence[Any], steps: Sequence[int]
) -> str:
    """Slice a tensor on the axes on which something is left out; all but `order` in the program's layout."""
    axes = [axis for axis in order if (starts[axis], ends[axis], steps[axis]) != (0, None, 1)]
    if not axes:
        return x
    bounds = [[values[axis] for axis in axes] for values in (starts, ends)]
    return g.node(
        "Slice", x, *map(g.ints, bounds), g.ints([order.index(a) for a in axes]), g.ints([steps[a] for a in axes])
    )


def slice_(g: Graph, eqn: JaxprEqn, x: Tensor) -> Tensor:
    x, shape, p = g.written(x), operand_shape(eqn, 0), eqn.params
    steps = p["strides"] or (1,) * x.rank
    starts = [bound(start, size) for start, size in zip(p["start_indices"], shape, strict=True)]
    ends = [
        None if (start, step) == (0, 1) and end == size else bound(end, size)
        for start, end, step, size in zip(starts, p["limit_indices"], steps, shape, strict=True)
    ]
    return result(eqn, slice_node(g, g.full(x, shape, x.order), x.order, starts, ends, steps), x.order)


def bound(at: Any, size: Any) -> int:
    """An end of a slice; of a symbolic axis perhaps counted from its end."""
    found = at if isinstance(at, int) else at - size
    if not isinstance(found, int):
        raise refuse(
            "slices of a symbolic axis must begin and end at a fixed distance from its ends", f"{at} of {size}"
        )
    return found if isinstance(at, int) else found or _LAST


def rev(g: Graph, eqn: JaxprEqn, x: Tensor) -> Tensor:
    x, axes = g.written(x), eqn.params["dimensions"]
    steps = [-1 if axis in axes else 1 for axis in range(x.rank)]
    starts, ends = [min(step, 0) for step in steps], [_FIRST if step < 0 else None for step in steps]
    return result(eqn, slice_node(g, g.full(x, operand_shape(eqn, 0), x.order), x.order, starts, ends, steps), x.order)


SLICES: dict[str, Any] = {
    "pad": pad,
    "rev": rev,
    "slice": slice_,
}
"""JAX's primitive -> `(graph, equation, *operands) -> result`."""
