"""Report of `accelerate`: the convolutions and norms of a program, how XLA runs each, and how the engine does."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Self

import jax

from jaxconv._base.compat import ShapedArray
from jaxconv.engine import native
from jaxconv.engine.form import EXACT_IN_F32
from jaxconv.engine.window import all_static


@dataclasses.dataclass(frozen=True)
class Found:
    """One convolution of a program.

    Attributes:
      where: the name stack.
      lhs, rhs, out: shapes.
      lax: how XLA would run it.
      slot: "y" for a forward pass, "x" for the input's gradient, "k" for the kernel's.
      engine: the formulation that the engine chooses.
    """

    where: str
    lhs: tuple[int, ...]
    rhs: tuple[int, ...]
    out: tuple[int, ...]
    lax: str
    slot: str
    engine: str


@dataclasses.dataclass(frozen=True)
class FoundNorm:
    """One norm of a program.

    Attributes:
      where: the name stack.
      shape: of the array that is normalized.
      axes: of the statistics, without those of length 1.
      engine: "native" if the norm is replaced, "XLA" if not.
      detail: the replaced parts, or why there are none.
    """

    where: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    engine: str
    detail: str


class Report(tuple[Found, ...]):
    """Result of `accelerate.report`: the convolutions; as text tables with a line for each of them and for each norm.

    A last line gives the reason if the native kernels are not available on this CPU.

    Attributes:
      norms: the norms, and other roots of sums.
    """

    norms: tuple[FoundNorm, ...]

    def __new__(cls, found: Iterable[Found | FoundNorm]) -> Self:
        found = tuple(found)
        report = super().__new__(cls, [row for row in found if isinstance(row, Found)])
        report.norms = tuple(row for row in found if isinstance(row, FoundNorm))
        return report

    def __str__(self) -> str:
        head = ("where", "lhs", "rhs", "result", "XLA alone", "jaxconv")
        word = {"y": "", "x": " (input's gradient)", "k": " (kernel's gradient)"}
        lines = _table([head] + [
            (row.where, *map(_sizes, (row.lhs, row.rhs, row.out)), row.lax, row.engine + word[row.slot]) for row in self
        ])  # fmt: skip
        if self.norms:
            lines += _table([("where", "norm of", "over axes", "jaxconv")] + [
                (row.where, _sizes(row.shape), str(row.axes), f"{row.engine}: {row.detail}") for row in self.norms
            ])  # fmt: skip
        if jax.default_backend() == "cpu" and not native.available():
            lines.append(f"native kernels: not available: {native.reason()}")
        return "\n".join(lines)


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def xla_alone(p: Any, lhs: ShapedArray, rhs: ShapedArray, loop: bool, platform: str) -> str:
    """How XLA runs a convolution with parameters p, in a few words; for CPU according to its source code."""
    if platform != "cpu":
        return f"XLA's {platform} convolution"
    numbers = p["dimension_numbers"]
    n, k = ([a.shape[i] for i in spec[2:]] for a, spec in ((lhs, numbers.lhs_spec), (rhs, numbers.rhs_spec)))
    last = lhs.ndim - 1
    fast = (0, last, *range(1, last)), (last, last - 1, *range(last - 1)), (0, last, *range(1, last))
    if p["batch_group_count"] > 1:
        return f"{p['batch_group_count']} times the work (batch groups)"
    if p["feature_group_count"] > 1:
        return f"{p['feature_group_count']} groups, one small contraction each"
    if str(lhs.dtype) not in EXACT_IN_F32:
        return f"a naive loop ({lhs.dtype})"
    if all_static((*n, *k)) and any(taps > cells for taps, cells in zip(k, n, strict=True)):
        return "a naive loop (kernel larger than the input)"
    if tuple(map(tuple, (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec))) != fast:
        return "a naive loop (layout, in a loop body)" if loop else "its fast loop, after transposing"
    return "its fast loop" + (", zeros multiplied" if max(p["lhs_dilation"]) > 1 else "")


def _sizes(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
