"""Flatten a jaxpr into a list of operations: enter calls, run loops on shapes alone, track every array."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.compat import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, scan_operands
from jaxconv._base.jaxpr import Liveness, called, interpret, opened
from jaxconv.analysis.field_rules import through
from jaxconv.analysis.field_shape_rules import piece
from jaxconv.analysis.program import MOVES, Array, Operation, Program
from jaxconv.analysis.receptive_field import Reach, union
from jaxconv.analysis.windows import products

__all__ = ["walk"]

VIEWS = {"reshape", "squeeze", "expand_dims", "copy_p", "optimization_barrier"}
"""Operations whose result shares the memory of their operand."""


def walk(closed: ClosedJaxpr, parameters: Sequence[int | None], followed: int = 0, dims: Sequence[int] = ()) -> Program:
    """Flatten a jaxpr and all jaxprs that it calls.

    Args:
      closed: from `jax.make_jaxpr`.
      parameters: for each input its parameter number, or None.
      followed: index of the input to track receptive fields of.
      dims: dimensions of that input to track; without any, all fields are empty.
    """
    walker = _Walker(len(dims), sum(p is not None for p in parameters))
    inputs = [_array(v.aval) for v in closed.jaxpr.invars]
    for array, number in zip(inputs, parameters, strict=True):
        array.parameter = number
    x = inputs[followed]
    x.fields = tuple(Reach.of_input(x.shape, dim) for dim in dims)
    outputs = walker.run(closed, inputs, (), 1, None)
    return Program(walker.operations, inputs, outputs, walker.constants, walker.notes)


def _array(aval: Any, **rest: Any) -> Array:
    return Array(tuple(getattr(aval, "shape", ())), getattr(aval, "dtype", np.dtype(np.float32)), **rest)


class _Walker:
    def __init__(self, axes: int, parameters: int):
        self.axes, self.parameters = axes, parameters
        self.operations: list[Operation] = []
        self.constants: dict[int, Any] = {}
        self.notes: list[str] = []
        self.live = Liveness()
        self._numbers: dict[int, int] = {}
        self._calls = 0

    def constant(self, value: Any) -> Array:
        """An array that the function closes over; a floating one of JAX is a parameter."""
        array = _array(jax.typeof(value))
        if isinstance(value, jax.Array) and value.ndim and jnp.issubdtype(value.dtype, jnp.inexact):
            number = self._numbers.setdefault(id(value), self.parameters + len(self._numbers))
            self.constants[number], array.parameter = value, number
        return array

    def outside(self, atom: Any) -> Array:
        """A literal, or the result of an operation that is not live."""
        return self.constant(atom.val) if isinstance(atom, Literal) else _array(atom.aval)

    def run(
        self,
        program: ClosedJaxpr | Jaxpr,
        args: list[Array],
        path: tuple[str, ...],
        times: int,
        call: Any,
        needed: Sequence[bool] | None = None,
    ) -> list[Array]:
        """The results of a jaxpr, computed by its live operations alone; a result that is not needed has no field."""
        jaxpr, consts = opened(program)
        live = self.live(jaxpr, needed or [True] * len(jaxpr.outvars))

        def step(eqn: JaxprEqn, operands: list[Array]) -> list[Array]:
            return self.step(eqn, operands, (*path, *_scopes(eqn)), times, call, live[eqn])

        return interpret(jaxpr, [*map(self.constant, consts), *args], step, self.outside, live)

    def step(
        self, eqn: Any, operands: list[Array], path: tuple[str, ...], times: int, call: Any, needed: list[bool]
    ) -> list[Array]:
        name, p = eqn.primitive.name, eqn.params
        if name == "scan":
            return self.scan(eqn, operands, path, times, call)
        if name == "while":
            return self.loop(eqn, operands, path, times, call)
        if name == "cond":
            return self.cond(eqn, operands, path, times, call)
        inner = called(eqn)
        if inner is None:
            return self.leaf(eqn, operands, path, times, call)
        if call is None and (label := _known(eqn, inner)):
            self._calls += 1
            call = (label, self._calls)
        if name == "shard_map":
            times *= p["mesh"].size
            self.note("inside shard_map the shares of all devices are counted, and a result depends on the full input")
        results = self.run(inner, operands, path, times, call, needed)
        if name == "shard_map":
            return [_array(v.aval, fields=self.all_of(operands), maker=r.maker) for v, r in
                    zip(eqn.outvars, results, strict=True)]  # fmt: skip
        return results

    def leaf(self, eqn: Any, operands: list[Array], path: tuple[str, ...], times: int, call: Any) -> list[Array]:
        name, params = eqn.primitive.name, eqn.params
        shapes = [a.shape for a in operands]
        results = [_array(v.aval) for v in eqn.outvars]
        made = products(name, params, shapes, results[0].shape) if results else None
        operation = Operation(name, params, path, call, operands, results, times, made)
        self.operations.append(operation)
        for i, result in enumerate(results):
            result.maker = operation
            if name == "optimization_barrier":
                result.fields, result.store = operands[i].fields, operands[i]
            else:
                result.fields = (
                    self.piece(name, params, operands[0], i)
                    if name in ("split", "unstack")
                    else self.fields(name, params, shapes, operands, result.shape)
                )
        if name in VIEWS and name != "optimization_barrier" and operands:
            results[0].store = operands[0]
        if name in MOVES and operands[0].parameter is not None:
            results[0].parameter = operands[0].parameter
        return results

    def fields(self, name: str, params: Any, shapes: Any, operands: list[Array], out: tuple[int, ...]) -> Any:
        if all(a.fields is None for a in operands):
            return None
        if name in ("gather", "dynamic_slice"):
            self.note(
                f"the indices of a {name} are unknown: along the axes that it slices, its result depends on everything"
            )
        columns = ([None if a.fields is None else a.fields[i] for a in operands] for i in range(self.axes))
        return tuple(through(name, params, shapes, column, out) for column in columns)

    def piece(self, name: str, params: Any, operand: Array, which: int) -> Any:
        fields = operand.fields
        return fields and tuple(piece(name, params, operand.shape, f, which) for f in fields)

    def all_of(self, operands: list[Array]) -> Any:
        """Fields of an array each of whose cells depends on all operands."""
        return self.fields("?", {}, [a.shape for a in operands], operands, ())

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    # ---------------------------------------------------------------- loops

    def scan(self, eqn: Any, operands: list[Array], path: tuple[str, ...], times: int, call: Any) -> list[Array]:
        """Run every step, as fields grow from one to the next; count the last one times the length."""
        p, inner = eqn.params, eqn.params["jaxpr"]
        fixed, carried = scan_operands(eqn)
        first = fixed + carried
        carry, length = operands[fixed:first], p["length"]
        stacked = [_array(v.aval) for v in eqn.outvars[carried:]]
        slices: list[list[Any]] = [[] for _ in stacked]
        for i in range(length):
            at = length - 1 - i if p["reverse"] else i
            xs = [self.element(a, at) for a in operands[first:]]
            before = len(self.operations)
            self.operations.append(Operation("loop", {}, path, call, operands[fixed:first], stacked, 1, None))
            outs = self.run(inner, [*operands[:fixed], *carry, *xs], path, times * length, call)
            same = all(_alike(a.fields, b.fields) for a, b in zip(outs, carry, strict=False))
            carry = outs[:carried]
            for kept, y in zip(slices, outs[carried:], strict=True):
                kept.append(y)
            if i < length - 1 and not (same and all(a.fields is None for a in operands[first:])):
                del self.operations[before:]
            elif i < length - 1:
                break
        for array, ys in zip(stacked, slices, strict=True):
            if ys:
                array.maker = ys[-1].maker
                array.fields = self.stack(ys[::-1] if p["reverse"] else ys, array.shape)
        return [*carry, *stacked]

    def element(self, array: Array, at: int) -> Array:
        """One slice along the first axis, without that axis."""
        part = Array(array.shape[1:], array.dtype, maker=array.maker, parameter=array.parameter, store=array)
        if array.fields is not None:
            cut = {"start_indices": (at, *(0,) * len(part.shape)), "strides": None}
            sliced = Array((1, *part.shape), array.dtype)
            sliced.fields = self.fields("slice", cut, [array.shape], [array], sliced.shape)
            part.fields = self.fields("squeeze", {"dimensions": (0,)}, [sliced.shape], [sliced], part.shape)
        return part

    def stack(self, ys: list[Array], shape: tuple[int, ...]) -> Any:
        """Fields of arrays stacked along a new first axis."""
        if all(y.fields is None for y in ys):
            return None
        ys = ys + ys[-1:] * (shape[0] - len(ys))
        spread = {"broadcast_dimensions": tuple(range(1, len(shape)))}
        rows = [Array((1, *y.shape), y.dtype) for y in ys]
        for row, y in zip(rows, ys, strict=True):
            row.fields = self.fields("broadcast_in_dim", spread, [y.shape], [y], row.shape)
        return self.fields("concatenate", {"dimension": 0}, [row.shape for row in rows], rows, shape)

    def loop(self, eqn: Any, operands: list[Array], path: tuple[str, ...], times: int, call: Any) -> list[Array]:
        self.note("a while loop is counted as one step, and its result depends on all its inputs")
        p = eqn.params
        results = self.run(p["body_jaxpr"], operands[p["cond_nconsts"] :], path, times, call)
        return [_array(v.aval, fields=self.all_of(operands), maker=r.maker) for v, r in
                zip(eqn.outvars, results, strict=True)]  # fmt: skip

    def cond(self, eqn: Any, operands: list[Array], path: tuple[str, ...], times: int, call: Any) -> list[Array]:
        """Count the most expensive branch; a result has the union of its fields in all branches."""
        self.note("for a cond, the branch with the most MACs is counted")
        begin, tried = len(self.operations), []
        for branch in eqn.params["branches"]:
            results = self.run(branch, operands[1:], path, times, call)
            tried.append((self.operations[begin:], results))
            del self.operations[begin:]
        operations, chosen = max(tried, key=lambda t: sum(o.products.macs for o in t[0] if o.products))
        self.operations.extend(operations)
        for i, result in enumerate(chosen):
            every = [branch[1][i] for branch in tried]
            if any(a.fields is not None for a in every):
                columns = ([a.fields[j] if a.fields else None for a in every] for j in range(self.axes))
                merged = tuple(union(list(c), len(result.shape)) for c in columns)
                chosen[i] = dataclasses.replace(result, fields=merged)
        return chosen


def _alike(a: Any, b: Any) -> bool:
    """Whether two arrays have equal fields."""
    if a is None or b is None:
        return a is b
    pairs = [(f, g) for f, g in zip(a, b, strict=True) if f is not g]
    return all(
        f is not None and g is not None and all(map(np.array_equal, f.arrays, g.arrays)) and f.stride == g.stride
        for f, g in pairs
    )


def _known(eqn: Any, inner: Any) -> str | None:
    """The name of a called function that gets a row: one of `jax.nn`, or a pool of ours."""
    name = str(eqn.params.get("name", ""))
    if hasattr(jax.nn, name):
        return name
    info = getattr(opened(inner)[0], "debug_info", None)
    return _POOLS.get(str(getattr(info, "func_name", "")))


_POOLS = {"window_max": "max_pool", "window_sum": "window_sum", "_norm": "lp_pool"}


def _scopes(eqn: Any) -> tuple[str, ...]:
    """The names of `jax.named_scope` around an operation, without those that vmap, grad and `jnp.einsum` add."""
    names = (str(p.name) for p in getattr(eqn.source_info.name_stack, "stack", ()) if type(p).__name__ == "Scope")
    return tuple(name for name in names if "->" not in name)
