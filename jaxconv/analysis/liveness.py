"""Which operations of a jaxpr lead to what is wanted of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax.extend.core import Literal

from jaxconv._accelerate.rewrite import INSIDE

__all__ = ["Live", "called"]

_CALLS = INSIDE | {"composite"}


def called(eqn: Any) -> Any:
    """The jaxpr that an equation calls as a function, with the equation's own inputs; None where it is no call."""
    words = ("jaxpr", "call_jaxpr", "fun_jaxpr") if eqn.primitive.name in _CALLS else ()
    return next((eqn.params[w] for w in words if w in eqn.params), None)


class Live:
    """Says it for one program; what it found of a jaxpr that is called again, it knows."""

    def __init__(self) -> None:
        self._found: dict[Any, tuple[list[list[bool] | None], list[bool]]] = {}

    def __call__(self, jaxpr: Any, wanted: Sequence[bool]) -> list[list[bool] | None]:
        """For each equation which of its results are needed; None for one that does nothing for those wanted."""
        return self._needs(jaxpr, tuple(wanted))[0]

    def _needs(self, jaxpr: Any, wanted: tuple[bool, ...]) -> tuple[list[list[bool] | None], list[bool]]:
        """The same, and which of a jaxpr's inputs are needed."""
        if (id(jaxpr), wanted) in self._found:
            return self._found[id(jaxpr), wanted]
        outs = zip(jaxpr.outvars, wanted, strict=True)
        needed = {v for v, want in outs if want and not isinstance(v, Literal)}
        live: list[list[bool] | None] = []
        for eqn in reversed(jaxpr.eqns):
            own = [v in needed for v in eqn.outvars]
            used = bool(eqn.effects) or any(own)
            live.append(own if used else None)
            if used:
                reads = zip(eqn.invars, self._reads(eqn, own), strict=True)
                needed.update(v for v, read in reads if read and not isinstance(v, Literal))
        found = live[::-1], [v in needed for v in jaxpr.invars]
        self._found[id(jaxpr), wanted] = found
        return found

    def _reads(self, eqn: Any, wanted: list[bool]) -> list[bool]:
        """Which inputs of an equation its results need: of a call, those that what it calls needs."""
        inner = called(eqn)
        inner = getattr(inner, "jaxpr", inner)
        if inner is None or eqn.effects or len(inner.invars) != len(eqn.invars):
            return [True] * len(eqn.invars)
        return self._needs(inner, tuple(wanted))[1]
