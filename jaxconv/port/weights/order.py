"""Order of weights next to a flattened image, which differs between [N, *spatial, C] and [N, C, *spatial]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxconv._base.compat import ClosedJaxpr, Jaxpr
from jaxconv._base.jaxpr import called, interpret, opened

__all__ = ["channels_first", "flattened"]

# Elementwise operations; a norm's statistics have the axes of its input, or 1 in their place.
_CELLWISE = {
    "abs", "add", "add_any", "and", "cbrt", "ceil", "clamp", "convert_element_type", "copy", "copy_p", "cos", "div",
    "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le",
    "jaxconv_normalize", "log", "log1p", "logistic", "lt", "max", "min", "mul", "name", "ne", "neg", "not", "or", "pow",
    "reduce_precision", "rem", "round", "rsqrt", "select_n", "sign", "sin", "sqrt", "square", "stop_gradient",
    "sub", "tan", "tanh",
}  # fmt: skip


class _Axis:
    """An index space that runs along an axis of values and of weights; operations merge those that they combine."""

    def __init__(self) -> None:
        self.parent: _Axis | None = None
        self.maps: tuple[int, ...] | None = None  # (*spatial, C) of the maps that were flattened into it
        self.pieces: list[tuple[int, _Axis]] | None = None  # (length, axis) of the parts of a concatenation

    def root(self) -> _Axis:
        return self if self.parent is None else self.parent.root()

    def merge(self, other: _Axis) -> _Axis:
        here, there = self.root(), other.root()
        if here is not there:
            there.parent = here
            here.maps, here.pieces = here.maps or there.maps, here.pieces or there.pieces
        return here

    def order(self, size: int) -> np.ndarray | None:
        """For each of our positions the position with channels first; None if they are the same."""
        root = self.root()
        if root.maps is not None and math.prod(root.maps) == size:
            order = channels_first(root.maps)
        elif root.pieces is not None:
            starts = np.cumsum([0, *(length for length, _ in root.pieces)])
            orders = [axis.order(length) for length, axis in root.pieces]
            order = np.concatenate(
                [
                    s + (np.arange(n) if o is None else o)
                    for s, o, (n, _) in zip(starts, orders, root.pieces, strict=False)
                ]
            )
        else:
            return None
        return None if np.array_equal(order, np.arange(size)) else order


class _Value:
    """An array of the program: its axes, their permutation, and the flat axis that it was reshaped from."""

    def __init__(self, shape: Sequence[int], axes: Sequence[_Axis | None] = ()):
        self.shape = tuple(shape)
        self.axes: list[_Axis | None] = list(axes) or [None] * len(self.shape)
        self.turned = tuple(range(len(self.shape)))
        self.unfolded: _Axis | None = None

    def last(self) -> _Axis:
        """The axis of the last dimension, created if there was none."""
        axis = self.axes[-1] or _Axis()
        self.axes[-1] = axis
        return axis.root()


def channels_first(maps: Sequence[int]) -> np.ndarray:
    """For each position in a flattened [*spatial, C], its position in the flattened [C, *spatial].

    Args:
      maps: (*spatial, C).

    >>> channels_first((2, 1, 3))
    array([0, 2, 4, 1, 3, 5])
    """
    *spatial, channels = maps
    return np.moveaxis(np.arange(math.prod(maps)).reshape(channels, *spatial), 0, -1).ravel()


def flattened(function: Any, weights: Any, x: Any) -> dict[int, dict[int, tuple[tuple[int, ...], np.ndarray]]]:
    """Find the weights whose order depends on the position of an image's channel axis, from the jaxpr.

    An axis of a weight does if it runs along maps [N, *spatial, C] that were flattened to [N, values] (the rows of
    a head's dense layer, and any normalization or scale before it), or along values that are reshaped into maps
    for a convolution (the columns of a dense layer that starts a decoder).

    Args:
      function: (weights, x) -> y.
      weights: a pytree of structs or arrays.
      x: the input, a struct.

    Returns:
      {number of the leaf: {its axis: ((*spatial, C) or (), order)}}; channels_first_values[order] are ours.

    >>> from jaxconv.ops import flatten
    >>> shape = jax.ShapeDtypeStruct
    >>> found = flattened(lambda w, x: flatten(x) @ w, shape((4, 5), "float32"), shape((1, 2, 1, 2), "float32"))
    >>> found[0][0]
    ((2, 1, 2), array([0, 2, 1, 3]))
    """
    leaves = jax.tree.leaves(weights)
    closed = jax.make_jaxpr(function)(weights, x)
    inputs = []
    for number, var in enumerate(closed.jaxpr.invars):
        value = _Value(var.aval.shape)
        if number < len(leaves):
            value.axes = [_Axis() for _ in value.shape]
        inputs.append(value)
    _run(closed, inputs)
    found: dict[int, dict[int, tuple[tuple[int, ...], np.ndarray]]] = {}
    for number, (leaf, value) in enumerate(zip(leaves, inputs, strict=False)):
        for axis, run in enumerate(value.axes):
            if run is not None and (order := run.order(leaf.shape[axis])) is not None:
                found.setdefault(number, {})[axis] = (run.root().maps or (), order)
    return found


def _run(program: ClosedJaxpr | Jaxpr, inputs: Sequence[_Value]) -> list[_Value]:
    jaxpr, _ = opened(program)
    return interpret(jaxpr, [*map(_outside, jaxpr.constvars), *inputs], _step, _outside)


def _outside(atom: Any) -> _Value:
    """A constant: no weight and no map runs along its axes."""
    return _Value(getattr(atom.aval, "shape", ()))


def _step(eqn: Any, operands: list[_Value]) -> list[_Value]:
    name, params = eqn.primitive.name, eqn.params
    fresh = [_Value(getattr(var.aval, "shape", ())) for var in eqn.outvars]
    inner = called(eqn)
    if inner is not None and name != "shard_map":  # inside it, shapes are those of one device's share
        return _run(inner, operands)
    if name == "optimization_barrier":
        return operands
    if name in _CELLWISE:
        return [_cellwise(operands, y) for y in fresh]
    if rule := _RULES.get(name):
        return [rule(operands, fresh[0], params)]
    for operand in operands:
        _used_as_maps(operand)
    return fresh


def _cellwise(operands: list[_Value], y: _Value) -> _Value:
    """Elementwise operations merge axes; an operand may be broadcast along axes of length 1."""
    if len(y.shape) == 2 and y.axes[-1] is None:
        y.last()
    for operand in (x for x in operands if len(x.shape) == len(y.shape)):
        if operand.shape == y.shape:
            y.unfolded = y.unfolded or operand.unfolded
            y.turned = operand.turned if operand.turned != tuple(range(len(y.shape))) else y.turned
        for i, axis in enumerate(operand.axes):
            if operand.shape[i] == y.shape[i]:
                mine = y.axes[i]
                joint = axis if mine is None else mine if axis is None else mine.merge(axis)
                y.axes[i] = operand.axes[i] = joint
    return y


def _reshape(operands: list[_Value], y: _Value, params: Any) -> _Value:
    """Axes of 1 are added or removed; maps are flattened, or values reshaped into maps."""
    x = operands[0]
    many = [axis for axis, n in zip(x.axes, x.shape, strict=True) if n != 1]
    if [n for n in x.shape if n != 1] == [n for n in y.shape if n != 1] and not _flattens(x.shape, y.shape):
        rest = iter(many)
        y.axes = [None if n == 1 else next(rest) for n in y.shape]
        if len(x.shape) == len(y.shape):
            y.turned, y.unfolded = x.turned, x.unfolded
    elif _flattens(x.shape, y.shape):
        axis = y.last()
        if x.unfolded is not None and x.turned == tuple(range(len(x.shape))):
            y.axes[-1] = x.unfolded.merge(axis)  # a round trip, as in group norm
        elif x.turned == tuple(range(len(x.shape))):
            axis.maps = x.shape[1:]
    elif _flattens(y.shape, x.shape):
        y.unfolded = x.last()
    return y


def _flattens(maps: tuple[int, ...], row: tuple[int, ...]) -> bool:
    """Whether one shape is [N, *spatial, C] and the other [N, all of these]."""
    return len(row) == 2 and len(maps) > 2 and maps[0] == row[0] and math.prod(maps[1:]) == row[1]


def _broadcast(operands: list[_Value], y: _Value, params: Any) -> _Value:
    for axis, at in enumerate(params["broadcast_dimensions"]):
        if operands[0].shape[axis] == y.shape[at]:
            y.axes[at] = operands[0].axes[axis]
    if operands[0].shape == y.shape:
        y.turned, y.unfolded = operands[0].turned, operands[0].unfolded
    return y


def _transpose(operands: list[_Value], y: _Value, params: Any) -> _Value:
    """Transposed maps are in another order already; flattened, they need none."""
    x, turn = operands[0], params["permutation"]
    y.axes, y.turned = [x.axes[i] for i in turn], tuple(x.turned[i] for i in turn)
    return y


def _dot(operands: list[_Value], y: _Value, params: Any) -> _Value:
    ((left, right), batched), (a, b) = params["dimension_numbers"], operands
    for i, j in zip(left, right, strict=True):
        one, other = a.axes[i] or _Axis(), b.axes[j] or _Axis()
        one.merge(other)
        a.axes[i], b.axes[j] = one, other
    if not any(batched):
        y.axes = [axis for i, axis in enumerate(a.axes) if i not in left]
        y.axes += [axis for j, axis in enumerate(b.axes) if j not in right]
    return y


def _conv(operands: list[_Value], y: _Value, params: Any) -> _Value:
    """A dense layer may be a form of the engine: x times a matrix, with axes of 1 between the first and the last."""
    for operand in operands:
        _used_as_maps(operand)
    if params["form"].product and params["form"].slot == "y":
        x, kernel = operands
        one, other = x.axes[-1] or _Axis(), kernel.axes[-2] or _Axis()
        one.merge(other)
        x.axes[-1], kernel.axes[-2] = one, other
        y.axes = [*x.axes[:-1], kernel.axes[-1]]
    return y


def _concatenate(operands: list[_Value], y: _Value, params: Any) -> _Value:
    if len(y.shape) == 2 and params["dimension"] == 1:
        y.last().pieces = [(x.shape[1], x.last()) for x in operands]
        return y
    for x in operands:
        _used_as_maps(x)
    return y


def _used_as_maps(x: _Value) -> None:
    """Values that were reshaped, and not transposed since, are maps once an operation uses them as such."""
    if x.unfolded is not None and x.turned == tuple(range(len(x.shape))) and len(x.shape) > 3:
        root = x.unfolded.root()
        root.maps = root.maps or x.shape[1:]


_RULES = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "dot_general": _dot,
    "expand_dims": _reshape,
    "jaxconv_conv": _conv,
    "reshape": _reshape,
    "squeeze": _reshape,
    "transpose": _transpose,
}
