"""Result of a comparison with a torch module, and its text."""

from __future__ import annotations

import dataclasses

from jaxconv.port.diagnose.conventions import Cause

__all__ = ["Comparison", "Pair"]


@dataclasses.dataclass(frozen=True)
class Pair:
    """A call of a layer, and of torch's module with the same name.

    Attributes:
      path, name: our path, and torch's name.
      kind, module: their types, "conv" and "Conv2d".
      error: |ours - theirs| / |theirs| of the outputs; infinity if their shapes differ.
      error_in: the same for the inputs; None if unknown.
      largest, at: the largest absolute difference, and its index.
      shapes: of the outputs, both in our layout.
    """

    path: str
    name: str
    kind: str
    module: str
    error: float
    error_in: float | None
    largest: float
    at: tuple[int, ...]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Result of `compare`; `print` shows the report.

    >>> print(Comparison((), None, None, None, (), None, (), ("conv0",), 1e-4))
    no layer has torch's name: nothing was compared
      without a pair, torch's: conv0

    Attributes:
      pairs: in the order that they ran.
      first: the first pair that differs; None if all agree.
      alone: the error of the first layer on torch's own input; None if it cannot run on that.
      cause: the cause of the difference, or None.
      notes: harmless differences: biased or unbiased running variances.
      stopped: the error that ended our run early, or None.
      ours, theirs: layers without a pair.
      tolerance: of `error`.
    """

    pairs: tuple[Pair, ...]
    first: Pair | None
    alone: float | None
    cause: Cause | None
    notes: tuple[str, ...]
    stopped: str | None
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether there are pairs, all of them agree, and our run was complete."""
        return self.first is None and self.stopped is None and bool(self.pairs)

    def __str__(self) -> str:
        return "\n".join([*(_differs(self, self.first) if self.first else [_all(self)]), *_rest(self)])


def _all(found: Comparison) -> str:
    if not found.pairs:
        return "no layer has torch's name: nothing was compared"
    worst = max(found.pairs, key=lambda pair: pair.error)
    if found.stopped is not None:
        return f"{len(found.pairs)} pairs of layers agree, then ours stops"
    return f"{len(found.pairs)} pairs of layers agree; the worst is {worst.path or 'the net'} with {worst.error:.1e}"


def _differs(found: Comparison, pair: Pair) -> list[str]:
    before = found.pairs.index(pair)
    lines = [
        f"{before} pairs of layers agree, then {pair.path or 'the net'} ({pair.kind}) differs from torch's "
        f"{pair.name or 'module'} ({pair.module})"
    ]
    ours, theirs = pair.shapes
    if ours != theirs:
        lines.append(f"  by: shape {ours}, torch's {theirs}")
    else:
        lines.append(f"  by: {pair.error:.1e} of torch's norm; at most {pair.largest:.3g}, at {pair.at}")
    if pair.error_in is not None:
        lines.append(f"  its input: {'agrees' if pair.error_in <= found.tolerance else 'differs'}, {pair.error_in:.1e}")
    if found.alone is not None:
        lines.append(f"  on torch's own input: {found.alone:.1e}")
    lines.append(f"  cause: {found.cause.words if found.cause else 'none of the known conventions'}")
    fix = found.cause.fix if found.cause else ""
    return lines + [f"  fix: {fix}"] * bool(fix)


def _rest(found: Comparison) -> list[str]:
    lines = [f"  ours stopped: {found.stopped}"] * (found.stopped is not None)
    lines += [f"  note: {note}" for note in found.notes]
    for whose, names in (("ours", found.ours), ("torch's", found.theirs)):
        if names:
            lines.append(f"  without a pair, {whose}: {', '.join(names[:12])}{', …' * (len(names) > 12)}")
    return lines
