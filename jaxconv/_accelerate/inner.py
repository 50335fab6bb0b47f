"""Operations of a jaxpr that stay, with the jaxprs inside of them rewritten."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, Protocol

import jax

from jaxconv._base.compat import ClosedJaxpr, Jaxpr, JaxprEqn, bind, manual_axes
from jaxconv._base.jaxpr import CALLS, LOOPS, interpret, map_jaxprs, opened

ENTERED = CALLS - {"composite"} | LOOPS | {"cond"}
"""The primitives whose jaxprs are rewritten; a composite is left to the library that lowers it."""

REMAT = ("remat2", "checkpoint")


class Evaluate(Protocol):
    """Runs a jaxpr with some of its operations replaced; `loop`: whether it is the body of a loop."""

    def __call__(self, program: ClosedJaxpr | Jaxpr, loop: bool, /, *args: Any) -> list[Any]: ...


def run_inner(eqn: JaxprEqn, values: list[Any], evaluate: Evaluate, loop: bool) -> list[Any]:
    """Run an operation whose inner jaxprs, if it has any, are run by `evaluate`."""
    name = eqn.primitive.name
    if name not in ENTERED:
        return bind(eqn, values)
    if name == "shard_map":
        return _shard_map(eqn, values, evaluate, loop)
    if name in REMAT:
        return _remat(eqn, values, evaluate, loop)
    rewrite = functools.partial(_rewritten, evaluate, loop or name in LOOPS)
    return bind(eqn, values, {key: map_jaxprs(param, rewrite) for key, param in eqn.params.items()})


@contextlib.contextmanager
def scope(eqn: JaxprEqn) -> Iterator[None]:
    """The name stack and the context that an operation was traced under."""
    with contextlib.ExitStack() as stack:
        if name := str(eqn.source_info.name_stack):
            stack.enter_context(jax.named_scope(name))
        stack.enter_context(eqn.ctx.manager)
        yield


def _rewritten(evaluate: Evaluate, loop: bool, program: ClosedJaxpr | Jaxpr) -> ClosedJaxpr:
    avals = [v.aval for v in opened(program)[0].invars]
    return jax.make_jaxpr(functools.partial(evaluate, program, loop))(*avals)


def _remat(eqn: JaxprEqn, values: list[Any], evaluate: Evaluate, loop: bool) -> list[Any]:
    """A remat, whose jaxpr holds no constants: those of the rewritten one become operands."""
    closed = _rewritten(evaluate, loop, eqn.params["jaxpr"])
    avals = [v.aval for v in (*closed.jaxpr.constvars, *closed.jaxpr.invars)]
    same = jax.make_jaxpr(lambda *args: interpret(closed.jaxpr, args, bind, lambda literal: literal.val))(*avals)
    return bind(eqn, [*closed.consts, *values], {**eqn.params, "jaxpr": same.jaxpr})


def _shard_map(eqn: JaxprEqn, values: list[Any], evaluate: Evaluate, loop: bool) -> list[Any]:
    """Rebuild a shard_map by the public function, which puts the mesh axes in scope for the trace."""
    p = eqn.params
    inner = functools.partial(evaluate, p["jaxpr"], loop)
    return list(
        jax.shard_map(
            lambda *args: tuple(inner(*args)), mesh=p["mesh"], in_specs=p["in_specs"], out_specs=tuple(p["out_specs"]),
            check_vma=p["check_vma"], axis_names=manual_axes(eqn),
        )(*values)
    )  # fmt: skip
