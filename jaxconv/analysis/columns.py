"""Columns of a summary: head, cells and meaning of each, for every rendering, the command's help and the docs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from jaxconv.analysis.symbolic_batch import Affine

if TYPE_CHECKING:
    from jaxconv.analysis.rows import Row

__all__ = ["COLUMNS", "Column", "in_bytes", "short", "window"]


def short(number: Any, units: Sequence[str] = ("", " k", " M", " G", " T")) -> str:
    """A count with at most three digits before the unit: 118.01 M."""
    if isinstance(number, Affine):
        return number.words(lambda n: short(n, units))
    for unit in units:
        if abs(number) < 1000 or unit == units[-1]:
            return f"{number:.2f}{unit}" if unit != units[0] else f"{number:.0f}{unit}"
        number /= 1000
    raise AssertionError


def in_bytes(number: Any) -> str:
    return short(number, (" B", " kB", " MB", " GB", " TB"))


def _by(values: Sequence[Any]) -> str:
    """One text if all axes are equal, else one for each: 3×3, 2."""
    return "×".join(map(_number, values))


def _each(values: Sequence[Any]) -> str:
    words = [_number(v) for v in values]
    return words[0] if len(set(words)) == 1 else "×".join(words)


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, tuple):
        return _number(value[0]) if value[0] == value[1] else ":".join(map(str, value))
    return f"{float(value):g}" if isinstance(value, float | Fraction) else str(value)


def window(row: Row) -> str:
    """A layer's windows in short: 3×3 s2 p1 d2 g32; ᵀ for a transposed convolution, "uneven" by its overlap."""
    if not row.size:
        return ""
    settings = {"s": row.stride, "p": row.padding, "d": row.dilation}
    usual = {"s": "1", "p": "0", "d": "1"}
    words = [f"{k}{_each(v)}" for k, v in settings.items() if _each(v) != usual[k]]
    words = [_by(row.size) + ("ᵀ" if row.transposed else ""), *words, *([f"g{row.groups}"] * (row.groups > 1))]
    return " ".join([*words, *(["uneven"] * row.uneven)])


def _placed(values: Sequence[Any]) -> str:
    return "–" if None in values else _each(values)


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
      head: its name.
      meaning: what its numbers are, in a line.
      cell: the text of a row, in a net of so many parameters, with a symbolic batch or "".
      goes: how early it is dropped for lack of room; 0: never.
      left: whether its text is aligned to the left.
    """

    head: str
    meaning: str
    cell: Callable[[Row, int, str], str]
    goes: int = 0
    left: bool = False


COLUMNS = (
    Column(
        "layer",
        "path of the layer; ×n: n times in a loop; #n: its nth call",
        lambda r, n, s: r.path + (f" ×{r.times}" if r.times != 1 else ""),
        left=True,
    ),
    Column(
        "output",
        "shape; with the batch only if it is symbolic",
        lambda r, n, s: "×".join(map(str, r.output[0 if s else 1 :])) or "1",
    ),
    Column(
        "window",
        "k×k, stride s, padding p, dilation d, groups g, ᵀ transposed",
        lambda r, n, s: window(r),
        8,
        left=True,
    ),
    Column(
        "parameters",
        "number of its own; shared ones count at their first use",
        lambda r, n, s: f"{r.parameters:,}" if r.parameters else "",
    ),
    Column(
        "share",
        "parameters as a share of the net's",
        lambda r, n, s: f"{r.parameters / n:.1%}" if r.parameters else "",
        5,
    ),
    Column(
        "MACs",
        "multiply-accumulates of convolutions and matrix products",
        lambda r, n, s: short(r.macs) if r.macs else "",
    ),
    Column(
        "MACs excl. padding",
        "MACs without those on padding, which multiply by zero",
        lambda r, n, s: short(r.inside) if r.macs else "",
        6,
    ),
    Column("bytes", "memory of the output (activation memory)", lambda r, n, s: in_bytes(r.bytes), 7),
    Column(
        "receptive field",
        "largest of the layer, in input cells, clipped to the input",
        lambda r, n, s: _by([f.size for f in r.field]),
        9,
    ),
    Column(
        "unclipped field",
        "receptive field with padding counted as input, as published",
        lambda r, n, s: "–" if any(f.unclipped is None for f in r.field) else _by([f.unclipped for f in r.field]),
        1,
    ),
    Column(
        "effective stride",
        "input cells between the receptive fields of adjacent outputs",
        lambda r, n, s: _placed([f.effective_stride for f in r.field]) if r.field else "",
        4,
    ),
    Column(
        "center",
        "input position of the center of output 0's unclipped field",
        lambda r, n, s: _placed([f.center for f in r.field]) if r.field else "",
        3,
    ),
    Column(
        "MACs/byte",
        "arithmetic intensity: MACs per byte read and written",
        lambda r, n, s: f"{r.macs / r.moved:.1f}" if r.macs and r.moved and not s else "",
        2,
    ),
)
"""The columns, from left to right."""
