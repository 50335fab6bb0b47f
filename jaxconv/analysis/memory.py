"""Activation memory: the peak of a program, and what training stores for the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base.errors import ShapeError
from jaxconv.analysis.program import Array, Operation, Program
from jaxconv.analysis.symbolic_batch import affine
from jaxconv.analysis.walk import walk

__all__ = ["Grown", "Training", "peak"]

MIDDLE = "between forward and backward"


def peak(program: Program, without: Sequence[Array] = ()) -> tuple[int, Operation | None]:
    """Peak bytes of live arrays, and the operation at the peak.

    Operations run in order, each allocates its results, and an array is freed after its last use. Parameters and the
    arrays in `without` are not counted. A compiler that fuses operations needs less.
    """
    most, now, where, change = 0, 0, None, [0] * (len(program.operations) + 2)
    for array, born, dies in _lives(program, without):
        change[born] += array.bytes
        change[dies + 1] -= array.bytes
    for operation, step in zip(program.operations, change, strict=False):
        now += step
        if now > most:
            most, where = now, operation
    return most, where


def _lives(program: Program, without: Sequence[Array] = ()) -> Iterator[tuple[Array, int, int]]:
    """The first and last operation of the lifetime of each array that owns memory and is no parameter."""
    left_out, inputs = {id(a.root) for a in without}, {id(a) for a in program.inputs}
    born: dict[int, int] = {id(a): 0 for a in program.inputs}
    dies: dict[int, int] = {id(a.root): len(program.operations) for a in program.outputs}
    arrays: dict[int, Array] = {}
    for at, operation in enumerate(program.operations):
        for array in (a.root for a in (*operation.operands, *operation.results)):
            arrays[id(array)] = array
            born.setdefault(id(array), at)
            dies[id(array)] = max(dies.get(id(array), at), at)
    for name, array in arrays.items():
        if (array.maker is not None or name in inputs) and array.parameter is None and name not in left_out:
            yield array, born[name], dies[name]


class Training:
    """Memory of the gradient with respect to all floating parameters and inputs.

    Both numbers are None if JAX cannot differentiate the function in reverse mode.

    Attributes:
      kept: bytes of residuals between forward and backward pass, without parameters.
      peak: peak bytes over both passes, without parameters and the resulting gradients.
    """

    def __init__(self, fn: Callable[..., Any], params: Any, inputs: Any):
        self._arguments = fn, params, inputs

    @functools.cached_property
    def _program(self) -> Program | None:
        def both(fn: Any, p: Any) -> Any:
            y, pull = jax.vjp(fn, p)
            with jax.named_scope(MIDDLE):
                back, _ = jax.lax.optimization_barrier((jax.tree.map(jnp.ones_like, y), y))
            return pull(back)

        try:
            traced = _trace(both, *self._arguments)
        except (TypeError, ValueError, NotImplementedError):  # a while loop, or results that are integers
            return None
        return walk(*traced)

    @functools.cached_property
    def peak(self) -> int | None:
        return peak(self._program, self._program.outputs)[0] if self._program else None

    @functools.cached_property
    def kept(self) -> int | None:
        if self._program is None:
            return None
        mark = ("optimization_barrier", (MIDDLE,))
        middle = next(i for i, o in enumerate(self._program.operations) if (o.name, o.path) == mark)
        barrier = self._program.operations[middle]
        given = barrier.operands[: len(barrier.operands) // 2]  # the cotangents
        lives = _lives(self._program, given)
        return sum(array.bytes for array, born, dies in lives if born < middle < dies)


class Grown:
    """Training memory of a net with a symbolic batch; None if it is not affine in the batch size."""

    def __init__(self, found: Sequence[Any], symbol: str):
        self._found, self._symbol = found, symbol

    @property
    def kept(self) -> Any:
        return self._grown([each.kept for each in self._found])

    @property
    def peak(self) -> Any:
        return self._grown([each.peak for each in self._found])

    def _grown(self, values: Sequence[int | None]) -> Any:
        numbers = [value for value in values if value is not None]
        try:
            return affine(numbers, self._symbol, "bytes") if len(numbers) == len(values) else None
        except ShapeError:
            return None


def _trace(make: Callable[..., Any], fn: Callable[..., Any], params: Any, inputs: Any) -> tuple[Any, list[int | None]]:
    """The jaxpr of make(fn of the floating leaves, those leaves), and the parameter number of each input."""
    leaves, tree = jax.tree.flatten((params, inputs))
    floating = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]

    def run(*leaves: Any) -> Any:
        def of(some: list[Any]) -> Any:
            rest = iter(some)
            both = [next(rest) if f else leaf for leaf, f in zip(leaves, floating, strict=True)]
            return fn(*jax.tree.unflatten(tree, both))

        return make(of, [leaf for leaf, f in zip(leaves, floating, strict=True) if f])

    count = len(jax.tree.leaves(params))
    return jax.make_jaxpr(run)(*leaves), [i if i < count else None for i in range(len(leaves))]
