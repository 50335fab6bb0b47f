"""Jaxprs: the primitives that hold inner jaxprs, one interpreter for values of any kind, and liveness."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import jax

from jaxconv._base.compat import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

__all__ = ["CALLS", "LOOPS", "Liveness", "called", "inlined", "interpret", "map_jaxprs", "opened"]

Value = TypeVar("Value")

CALLS = frozenset({
    "jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "composite", "shard_map", "custom_jvp_call",
    "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_vmap_call",
})  # fmt: skip
"""Primitives that run one jaxpr once, on their own operands (`shard_map` on one device's share of them)."""
LOOPS = frozenset({"scan", "while"})
"""Primitives that run a jaxpr many times. `cond` is the one primitive with inner jaxprs that is in neither set."""


def opened(jaxpr: ClosedJaxpr | Jaxpr) -> tuple[Jaxpr, Sequence[Any]]:
    """A jaxpr and its constants, of which an open one has none."""
    return (jaxpr.jaxpr, jaxpr.consts) if isinstance(jaxpr, ClosedJaxpr) else (jaxpr, ())


def called(eqn: JaxprEqn) -> ClosedJaxpr | Jaxpr | None:
    """The jaxpr that an equation calls with its own operands; None if it is not a call."""
    names = ("jaxpr", "call_jaxpr", "fun_jaxpr") if eqn.primitive.name in CALLS else ()
    return next((eqn.params[name] for name in names if name in eqn.params), None)


def map_jaxprs(param: Any, change: Callable[[ClosedJaxpr | Jaxpr], Any]) -> Any:
    """An equation's parameter with every jaxpr in it changed; one without any as it is."""
    if isinstance(param, (tuple, list)):
        holds = any(isinstance(item, (ClosedJaxpr, Jaxpr)) for item in param)
        return type(param)(map_jaxprs(item, change) for item in param) if holds else param
    return change(param) if isinstance(param, (ClosedJaxpr, Jaxpr)) else param


def inlined(jaxpr: Jaxpr) -> Jaxpr:
    """A jaxpr with the equations of its jits in place of the calls, but of those that ask for shardings or the like.

    >>> import jax
    >>> jaxpr = jax.make_jaxpr(lambda x: jax.jit(lambda x: x + 1)(x) * x)(2.0).jaxpr
    >>> [eqn.primitive.name for eqn in inlined(jaxpr).eqns]
    ['add', 'mul']
    """
    eqns: list[JaxprEqn] = []

    def visit(inner: Jaxpr, names: dict[Any, Any], scope: Any) -> list[Any]:
        def read(atom: Any) -> Any:
            return atom if isinstance(atom, Literal) else names.get(atom, atom)

        for eqn in inner.eqns:
            operands, stack = [read(atom) for atom in eqn.invars], eqn.source_info.name_stack
            stack = stack if scope is None else scope + stack
            body = _plain_jit(eqn)
            if body is not None:
                names.update(
                    zip(eqn.outvars, visit(body, dict(zip(body.invars, operands, strict=True)), stack), strict=True)
                )
                continue
            made = eqn.outvars if inner is jaxpr else [Var(v.aval) for v in eqn.outvars]  # a body may be called twice
            names.update(zip(eqn.outvars, made, strict=True))
            eqns.append(eqn.replace(operands, made, source_info=eqn.source_info.replace(name_stack=stack)))
        return [read(atom) for atom in inner.outvars]

    results = visit(jaxpr, {}, None)
    return jaxpr.replace(eqns=eqns, outvars=results)


def _plain_jit(eqn: JaxprEqn) -> Jaxpr | None:
    """The jaxpr of a jit without constants, donations, shardings, layouts and compiler options."""
    p = eqn.params
    if eqn.primitive.name not in ("jit", "pjit") or p["jaxpr"].consts or any(p["donated_invars"]):
        return None
    shardings = (*p["in_shardings"], *p["out_shardings"])
    layouts = (*p.get("in_layouts", ()), *p.get("out_layouts", ()))
    special = any(isinstance(s, jax.sharding.Sharding) for s in shardings) or any(v is not None for v in layouts)
    return None if special or p.get("compiler_options_kvs") else p["jaxpr"].jaxpr


def interpret(
    jaxpr: Jaxpr,
    inputs: Iterable[Value],
    step: Callable[[JaxprEqn, list[Value]], Sequence[Value]],
    outside: Callable[[Any], Value],
    equations: Iterable[JaxprEqn] | None = None,
) -> list[Value]:
    """Run a jaxpr on values of any kind: arrays, shapes, receptive fields, …

    Args:
      jaxpr: an open jaxpr; see `opened`.
      inputs: values of its constants, then of its arguments.
      step: (equation, operands) -> results of one equation. It alone decides what to do with inner jaxprs.
      outside: the value of a literal, or of a variable that no equation has set.
      equations: those to run, in order; all by default.

    Returns:
      The values of the jaxpr's results.

    >>> import jax
    >>> jaxpr = jax.make_jaxpr(lambda x: (x + 1) * x)(2.0).jaxpr
    >>> arithmetic = {"add": lambda a, b: a + b, "mul": lambda a, b: a * b}
    >>> interpret(jaxpr, [3], lambda eqn, x: [arithmetic[eqn.primitive.name](*x)], lambda atom: int(atom.val))
    [12]
    """
    values: dict[Any, Value] = dict(zip((*jaxpr.constvars, *jaxpr.invars), inputs, strict=True))

    def read(atom: Any) -> Value:
        return outside(atom) if isinstance(atom, Literal) or atom not in values else values[atom]

    for eqn in jaxpr.eqns if equations is None else equations:
        values.update(zip(eqn.outvars, step(eqn, [read(atom) for atom in eqn.invars]), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


class Liveness:
    """The equations of a jaxpr that its needed results depend on; memoized per jaxpr.

    >>> import jax
    >>> jaxpr = jax.make_jaxpr(lambda x: (x + 1, x * 2))(2.0).jaxpr
    >>> [eqn.primitive.name for eqn in Liveness()(jaxpr, [False, True])]
    ['mul']
    """

    def __init__(self) -> None:
        self._memory: dict[Any, tuple[dict[JaxprEqn, list[bool]], list[bool]]] = {}

    def __call__(self, jaxpr: Jaxpr, needed: Sequence[bool]) -> dict[JaxprEqn, list[bool]]:
        """Which results of each live equation are needed, given which results of the jaxpr are; in order."""
        return self._live(jaxpr, tuple(needed))[0]

    def _live(self, jaxpr: Jaxpr, needed: tuple[bool, ...]) -> tuple[dict[JaxprEqn, list[bool]], list[bool]]:
        """The same, and which inputs of the jaxpr are needed."""
        if (id(jaxpr), needed) in self._memory:
            return self._memory[id(jaxpr), needed]
        variables: set[Any] = set()

        def mark(atoms: Sequence[Any], needed: Sequence[bool]) -> None:
            variables.update(v for v, use in zip(atoms, needed, strict=True) if use and not isinstance(v, Literal))

        mark(jaxpr.outvars, needed)
        live: list[tuple[JaxprEqn, list[bool]]] = []
        for eqn in reversed(jaxpr.eqns):
            own = [v in variables for v in eqn.outvars]
            if eqn.effects or any(own):
                live.append((eqn, own))
                mark(eqn.invars, self._operands(eqn, own))
        found = dict(reversed(live)), [v in variables for v in jaxpr.invars]
        self._memory[id(jaxpr), needed] = found
        return found

    def _operands(self, eqn: JaxprEqn, needed: list[bool]) -> list[bool]:
        """Which operands an equation's needed results depend on: those of a call, by the jaxpr that it calls."""
        inner = called(eqn)
        if inner is None or eqn.effects or len(opened(inner)[0].invars) != len(eqn.invars):
            return [True] * len(eqn.invars)
        return self._live(opened(inner)[0], tuple(needed))[1]
