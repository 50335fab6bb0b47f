"""Convolutions, pools and matrix products.

A pool that is written as the maximum or sum of shifted slices, as those of jaxconv are, becomes one node: each slice is
known by the cells that it takes, and a maximum or sum of slices by those of all of them.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxconv._base.compat import JaxprEqn
from jaxconv.export._elementwise import elementwise
from jaxconv.export._graph import Graph
from jaxconv.export._slices import pad, pad_node, slice_, slice_node
from jaxconv.export._tensors import Tensor, constant, operand_shape, refuse, result

__all__ = ["WINDOWS"]


def dot_general(g: Graph, eqn: JaxprEqn, a: Tensor, b: Tensor, *_: Tensor) -> Tensor:
    """A product of a matrix and a constant one as `MatMul`, all others as `Einsum`."""
    (over_a, over_b), (batch_a, batch_b) = eqn.params["dimension_numbers"]
    names = [g.full(t, operand_shape(eqn, number)) for number, t in enumerate((a, b))]
    if not batch_a and (a.rank, b.rank) == (2, 2) and (tuple(over_a), tuple(over_b)) == ((1,), (0,)):
        return _in_dtype(g, eqn, result(eqn, g.node("MatMul", *names)), a)
    letters = iter(string.ascii_letters)
    of_a = [next(letters) for _ in range(a.rank)]
    of_b = [next(letters) for _ in range(b.rank)]
    for mine, theirs in zip((*batch_a, *over_a), (*batch_b, *over_b), strict=True):
        of_b[theirs] = of_a[mine]
    free_a = [of_a[axis] for axis in range(a.rank) if axis not in (*batch_a, *over_a)]
    free_b = [of_b[axis] for axis in range(b.rank) if axis not in (*batch_b, *over_b)]
    out = [*(of_a[axis] for axis in batch_a), *free_a, *free_b]
    equation = f"{''.join(of_a)},{''.join(of_b)}->{''.join(out)}"
    return _in_dtype(g, eqn, result(eqn, g.node("Einsum", *names, equation=equation)), a)


def _in_dtype(g: Graph, eqn: JaxprEqn, y: Tensor, x: Tensor) -> Tensor:
    """A product in the type that was asked for."""
    return y if y.dtype == x.dtype else dataclasses.replace(y, name=g.cast(y.name, y.dtype))


# ---------------------------------------------------------------- convolutions


def conv(g: Graph, eqn: JaxprEqn, x: Tensor, kernel: Tensor) -> Tensor:
    """`conv_general_dilated`: `Conv`, or with a dilated input `ConvTranspose`."""
    p = eqn.params
    if p["batch_group_count"] != 1:
        raise refuse("ONNX has no convolution with groups of the batch", f"batch_group_count={p['batch_group_count']}")
    numbers, shapes = p["dimension_numbers"], [operand_shape(eqn, 0), operand_shape(eqn, 1)]
    stride, groups = [*p["window_strides"]], p["feature_group_count"]
    name = g.full(g.written(x), shapes[0], numbers.lhs_spec)
    taps, dilation = [shapes[1][axis] for axis in numbers.rhs_spec[2:]], [*p["rhs_dilation"]]
    if not all(isinstance(n, int) for n in (*taps, *(v for pair in p["padding"] for v in pair))):
        raise refuse("kernel and padding must have static sizes", f"kernel {taps}, padding {p['padding']}")
    order = numbers.out_spec
    if any(d > 1 for d in p["lhs_dilation"]):
        weights = g.name(_flipped(g, kernel, shapes[1], numbers.rhs_spec, groups))
        reach = [(n - 1) * d for n, d in zip(taps, dilation, strict=True)]
        pairs = [(r - low, r - high) for r, (low, high) in zip(reach, p["padding"], strict=True)]
        lows, highs = zip(*((max(low, 0), max(high, 0)) for low, high in pairs), strict=True)
        y = g.node("ConvTranspose", name, weights, kernel_shape=taps, strides=[*p["lhs_dilation"]], dilations=dilation,
                   group=groups, pads=[*lows, *highs])  # fmt: skip
        y = _padded(g, y, [(max(-low, 0), max(-high, 0)) for low, high in pairs], x.dtype)
        steps = [1, 1, *stride]
        y = slice_node(g, y, range(len(steps)), [0] * len(steps), [None if s == 1 else 2**62 for s in steps], steps)
    else:
        crop = [(min(low, 0), min(high, 0)) for low, high in p["padding"]]
        name = _padded(g, name, crop, x.dtype)
        lows, highs = zip(*((max(low, 0), max(high, 0)) for low, high in p["padding"]), strict=True)
        weights = g.full(kernel, shapes[1], numbers.rhs_spec)
        y = g.node("Conv", name, weights, kernel_shape=taps, strides=stride, dilations=dilation, group=groups,
                   pads=[*lows, *highs])  # fmt: skip
    return _in_dtype(g, eqn, result(eqn, y, order), x)


def _padded(g: Graph, x: str, pairs: Sequence[tuple[int, int]], dtype: Any, fill: float = 0) -> str:
    """The spatial axes of [N, C, *spatial] padded, or cropped by negative numbers."""
    if not any(low or high for low, high in pairs):
        return x
    return pad_node(g, x, [(0, 0), (0, 0), *pairs], g.number(fill, dtype))


def _flipped(g: Graph, kernel: Tensor, shape: Sequence[int], spec: Sequence[int], groups: int) -> Tensor:
    """The kernel of a convolution as `ConvTranspose` reads it: [inputs, outputs of a group, *taps backwards]."""
    outputs, inputs = (shape[axis] for axis in spec[:2])
    split = (groups, outputs // groups, inputs, *(shape[axis] for axis in spec[2:]))
    perm, final = (0, 2, 1, *range(3, len(split))), (groups * inputs, outputs // groups, *split[3:])
    spatial = tuple(range(2, len(shape)))
    if kernel.value is not None:
        value = np.broadcast_to(np.asarray(kernel.value), shape).transpose(spec)
        return constant(np.flip(value.reshape(split).transpose(perm).reshape(final), spatial))
    name = g.reshape(g.node("Transpose", g.reshape(g.full(kernel, shape, spec), split), perm=perm), final)
    ends = [None, None] + [-(2**63)] * len(spatial)
    name = slice_node(g, name, range(len(shape)), [0, 0] + [-1] * len(spatial), ends, [1, 1] + [-1] * len(spatial))
    return Tensor(final, kernel.dtype, tuple(range(len(shape))), name)


# ---------------------------------------------------------------- pools


@dataclasses.dataclass(frozen=True)
class Cells:
    """Cells of an array, one for each window: those at `at + window * stride`; `fill` outside of the array."""

    source: Tensor
    whole: tuple[Any, ...]
    op: str
    at: frozenset[tuple[int, ...]]
    stride: tuple[int, ...]
    fill: float | None


def pad_(g: Graph, eqn: JaxprEqn, x: Tensor, fill: Tensor) -> Tensor:
    y, config = pad(g, eqn, x, fill), eqn.params["padding_config"]
    if fill.value is None or any(low < 0 or high < 0 for low, high, _ in config):
        return y
    start = frozenset([tuple(-low for low, *_ in config)])
    shape = operand_shape(eqn, 0)
    return dataclasses.replace(y, cells=Cells(x, shape, "", start, (1,) * x.rank, float(np.asarray(fill.value))))


def slice_of(g: Graph, eqn: JaxprEqn, x: Tensor) -> Tensor:
    y, p = slice_(g, eqn, x), eqn.params
    shape = operand_shape(eqn, 0)
    cells = x.cells or Cells(x, shape, "", frozenset([(0,) * x.rank]), (1,) * x.rank, None)
    starts, steps = p["start_indices"], p["strides"] or (1,) * x.rank
    if not all(isinstance(start, int) for start in starts):
        return y
    at = frozenset(
        tuple(a + start * s for a, start, s in zip(cell, starts, cells.stride, strict=True)) for cell in cells.at
    )
    stride = tuple(s * step for s, step in zip(cells.stride, steps, strict=True))
    return dataclasses.replace(y, cells=dataclasses.replace(cells, at=at, stride=stride))


def combined(g: Graph, eqn: JaxprEqn, a: Tensor, b: Tensor) -> Tensor:
    """`max` and `add`: of cells of the same windows, cells again."""
    op = "Max" if eqn.primitive.name == "max" else "Add"
    one, other, y = a.cells, b.cells, elementwise(g, eqn, a, b)
    if one is None or other is None or a.shape != b.shape:
        return y
    alike = (one.source, one.stride, one.fill) == (other.source, other.stride, other.fill)
    if not alike or {one.op, other.op} - {op, ""} or (op == "Add" and one.at & other.at):
        return y
    cells = dataclasses.replace(one, op=op, at=one.at | other.at)
    window = _window(cells)
    if window is None:
        return dataclasses.replace(y, cells=cells)
    return dataclasses.replace(y, cells=cells, instead=lambda: _pool_of(g, cells, y, *window))


def _window(cells: Cells) -> tuple[list[int], list[int], list[int]] | None:
    """First cell, size and dilation of a window on the inner axes; None if the cells are none."""
    axes = [sorted(set(positions)) for positions in zip(*cells.at, strict=True)]
    steps = [sorted({b - a for a, b in itertools.pairwise(v)}) or [1] for v in axes]
    sizes = [len(v) for v in axes]
    inner = sizes[0] == sizes[-1] == 1 and 3 <= len(axes) <= 5 and (cells.stride[0], cells.stride[-1]) == (1, 1)
    if not inner or any(len(v) > 1 for v in steps) or math.prod(sizes) != len(cells.at):
        return None
    return [v[0] for v in axes], sizes, [v[0] for v in steps]


def _pool_of(g: Graph, cells: Cells, y: Tensor, first: list[int], size: list[int], dilation: list[int]) -> Tensor:
    pads = []
    for n, out, low, k, d, s in zip(cells.whole, y.shape, first, size, dilation, cells.stride, strict=True):
        high = low + (out - 1) * s + (k - 1) * d + 1 - n if isinstance(n, int) else 0
        pads.append((-low, 0 if -s < high < 0 else high))  # too few cells for a further window are not read
    static = all(isinstance(n, int) for n in cells.whole[1:-1])
    if not static or (cells.fill is None and any(v > 0 for pair in pads for v in pair)) or (pads[0], pads[-1]) != (
        (0, 0), (0, 0),
    ):  # fmt: skip
        return dataclasses.replace(y, instead=None)
    fill = 0.0 if cells.fill is None else cells.fill
    source = g.written(cells.source)
    return _pool(g, cells.op, source, cells.whole, y, size, cells.stride, dilation, pads, fill)


def _pool(
    g: Graph, op: str, x: Tensor, shape: Sequence[Any], y: Tensor, size: Sequence[int], stride: Sequence[int],
    dilation: Sequence[int], pads: Sequence[tuple[int, int]], fill: float,
) -> Tensor:  # fmt: skip
    """`MaxPool`, or `AveragePool` times the cells of a window; all sizes for each axis of x."""
    still = [axis for axis in range(x.rank) if (size[axis], stride[axis], pads[axis]) == (1, 1, (0, 0))]
    if len(still) < 2:
        raise refuse("ONNX pools at most all axes but two", f"a window of {tuple(size)}")
    outer = (x.order[0], x.order[1]) if {*x.order[:2]} <= {*still} else (still[0], still[-1])
    axes = [axis for axis in range(x.rank) if axis not in outer]
    if len(axes) > 3:
        raise refuse("ONNX pools at most three axes", f"a window of {tuple(size)}")
    name = g.full(x, shape, (*outer, *axes))
    if not axes:  # no pool has no axes
        return dataclasses.replace(y, name=name, order=outer, instead=None)
    window = {
        "kernel_shape": [size[axis] for axis in axes],
        "strides": [stride[axis] for axis in axes],
        "dilations": [dilation[axis] for axis in axes],
    }
    around = [pads[axis] for axis in axes]
    own = fill == (-math.inf if op == "Max" else 0)
    if not own or any(not 0 <= v < size[axis] for axis in axes for v in pads[axis]):
        name, around = _padded(g, name, around, x.dtype, fill), [(0, 0)] * len(axes)
    window["pads"] = [low for low, _ in around] + [high for _, high in around]
    if op == "Max":
        name = g.node("MaxPool", name, **window)
    else:
        name = g.node("AveragePool", name, **window, count_include_pad=1)
        name = g.node("Mul", name, g.number(math.prod(size), x.dtype))
    return dataclasses.replace(y, name=name, order=(*outer, *axes), instead=None, value=None)


def reduce_window(g: Graph, eqn: JaxprEqn, x: Tensor) -> Tensor:
    """`reduce_window_max`, `reduce_window_min` and `reduce_window_sum`."""
    p, x, shape = eqn.params, g.written(x), operand_shape(eqn, 0)
    if any(d > 1 for d in p["base_dilation"]):
        raise refuse("ONNX pools undilated arrays", f"base_dilation={p['base_dilation']}")
    kind = eqn.primitive.name.removeprefix("reduce_window_")
    least: Any = kind == "min"
    if least:
        x = dataclasses.replace(x, name=g.node("Neg", g.name(x, x.order)), value=None)
    floats = np.issubdtype(x.dtype, np.floating)
    lowest = -math.inf if floats else int(np.iinfo(x.dtype).min)
    fill = 0.0 if kind == "sum" else lowest
    sizes = (p["window_dimensions"], p["window_strides"], p["window_dilation"], p["padding"])
    y = _pool(g, "Add" if kind == "sum" else "Max", x, shape, result(eqn, ""), *sizes, fill)
    return dataclasses.replace(y, name=g.node("Neg", y.name)) if least else y


WINDOWS: dict[str, Any] = {
    "add": combined,
    "conv_general_dilated": conv,
    "dot_general": dot_general,
    "max": combined,
    "pad": pad_,
    "reduce_window_max": reduce_window,
    "reduce_window_min": reduce_window,
    "reduce_window_sum": reduce_window,
    "slice": slice_of,
}
"""JAX's primitive -> `(graph, equation, *operands) -> result or results`, in place of those of the other tables."""
