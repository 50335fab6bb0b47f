"""The record of a summary, and its renderings: text, Markdown, JSON and HTML."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from jaxconv.analysis.memory import Grown, Training
from jaxconv.analysis.rows import Row
from jaxconv.analysis.symbolic_batch import Affine

__all__ = ["Summary"]

LONGEST_PATH = 30


@dataclasses.dataclass(frozen=True)
class Summary:
    """Layers and totals of a net. As text a table of at most 80 characters.

    Attributes:
      rows: the layers, in execution order.
      input: shape of the input.
      parameters: number of parameters, including unused ones.
      macs: multiply-accumulates in convolutions and matrix products, for the full batch.
      inside: MACs excluding taps on padding.
      other: all other scalar operations.
      parameter_bytes: of all parameters.
      peak_bytes: peak activation memory of a forward pass, without fusion.
      peak_at: path of the layer at the peak.
      training: `.kept`, the bytes stored for the backward pass, and `.peak`; computed on access.
      notes: inexact numbers, unused parameters, transposed convolutions whose outputs overlap unevenly.
      symbol: name of a symbolic batch, else "". Numbers that grow with it, also those in rows, are then `Affine`:
        `found.macs(64)` is the number for a batch of 64.
    """

    rows: tuple[Row, ...]
    input: tuple[int, ...]
    parameters: int
    macs: int
    inside: int
    other: int
    parameter_bytes: int
    peak_bytes: int
    peak_at: str
    training: Training | Grown = dataclasses.field(repr=False)
    notes: tuple[str, ...] = ()
    symbol: str = ""

    @property
    def moved(self) -> int:
        """Bytes that all layers read and write, each fused into one operation."""
        return sum(row.moved for row in self.rows)

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: 2 * MACs / bytes moved; for a symbolic batch, the limit for large batches."""
        if isinstance(self.moved, Affine):
            return 2 * self.macs.each / self.moved.each if isinstance(self.macs, Affine) else 0.0
        return 2 * self.macs / self.moved if self.moved else 0.0

    def __str__(self) -> str:
        return text(self)

    def text(self, width: int = 80) -> str:
        """A table with as many columns as fit into `width` characters, and the totals."""
        return text(self, width)

    def markdown(self) -> str:
        """A Markdown table of all columns, and the totals."""
        return markdown(self)

    def json(self) -> str:
        """All numbers as JSON."""
        return json_text(self)

    def html(self) -> str:
        """A self-contained HTML page."""
        return page(self)

    def _repr_html_(self) -> str:
        return fragment(self)


def _short(number: Any, units: Sequence[str] = ("", " k", " M", " G", " T")) -> str:
    """A count with at most three digits before the unit: 118.01 M."""
    if isinstance(number, Affine):
        return number.words(lambda n: _short(n, units))
    for unit in units:
        if abs(number) < 1000 or unit == units[-1]:
            return f"{number:.2f}{unit}" if unit != units[0] else f"{number:.0f}{unit}"
        number /= 1000
    raise AssertionError


def _bytes(number: Any) -> str:
    return _short(number, (" B", " kB", " MB", " GB", " TB"))


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


@dataclasses.dataclass(frozen=True)
class Column:
    """A column: its head, its cells, how early it is dropped for lack of room (0: never), and its alignment."""

    head: str
    cell: Callable[[Row, Summary], str]
    goes: int = 0
    left: bool = False


COLUMNS = (
    Column("layer", lambda r, s: r.path + (f" ×{r.times}" if r.times != 1 else ""), left=True),
    Column("output", lambda r, s: "×".join(map(str, r.output[0 if s.symbol else 1 :])) or "1"),
    Column("window", lambda r, s: window(r), 7, left=True),
    Column("parameters", lambda r, s: f"{r.parameters:,}" if r.parameters else ""),
    Column("share", lambda r, s: f"{r.parameters / s.parameters:.1%}" if r.parameters else "", 4),
    Column("MACs", lambda r, s: _short(r.macs) if r.macs else ""),
    Column("w/o padding", lambda r, s: _short(r.inside) if r.macs else "", 5),
    Column("bytes", lambda r, s: _bytes(r.bytes), 6),
    Column("RF", lambda r, s: _by([f.size for f in r.field]), 8),
    Column("jump", lambda r, s: _each([f.jump for f in r.field]) if r.field else "", 3),
    Column("center", lambda r, s: _each([f.center for f in r.field]) if r.field else "", 2),
    Column("MAC/byte", lambda r, s: f"{r.macs / r.moved:.1f}" if r.macs and r.moved and not s.symbol else "", 1),
)


def totals(found: Summary) -> dict[str, str]:
    """Totals of the net by name, as text."""
    large = f" where {found.symbol} is large" if found.symbol else ""
    kept, most = found.training.kept, found.training.peak
    needed = f"{_bytes(kept)} kept for the backward pass, {_bytes(most)} at most" if kept is not None and most else "–"
    return {
        "input": "×".join(map(str, found.input)),
        "parameters": f"{found.parameters:,} ({_bytes(found.parameter_bytes)})",
        "MACs": f"{found.macs:,}; {found.inside:,} without the taps on padding",
        "other operations": f"{found.other:,}",
        "forward memory": f"peak {_bytes(found.peak_bytes)}, at {found.peak_at}",
        "training memory": needed,
        "intensity": f"{found.intensity:.1f} operations per byte moved{large}",
        **{f"note {i}": note for i, note in enumerate(found.notes, 1)},
    }


def text(found: Summary, width: int = 80) -> str:
    """A plain table, no wider than `width` if possible, and the totals below."""
    columns = list(COLUMNS)
    while True:
        cells = [[c.head for c in columns], *([c.cell(row, found) for c in columns] for row in found.rows)]
        for line in cells[1:]:
            line[0] = line[0] if len(line[0]) <= LONGEST_PATH else "…" + line[0][-LONGEST_PATH + 1 :]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        leaving = [c for c in columns if c.goes]
        if sum(widths) + 2 * (len(widths) - 1) <= width or not leaving:
            break
        columns.remove(min(leaving, key=lambda c: c.goes))
    lines = [
        "  ".join(v.ljust(w) if c.left else v.rjust(w) for v, w, c in zip(line, widths, columns, strict=True)).rstrip()
        for line in cells
    ]
    rule = "─" * min(max(map(len, lines)), width)
    words = totals(found)
    longest = max(map(len, words))
    return "\n".join([lines[0], rule, *lines[1:], rule, *(f"{k.ljust(longest)}  {v}" for k, v in words.items())])


def markdown(found: Summary) -> str:
    """A Markdown table of every column."""
    head = "| " + " | ".join(c.head for c in COLUMNS) + " |"
    rule = "|" + "|".join("---" if c.left else "---:" for c in COLUMNS) + "|"
    rows = ["| " + " | ".join(c.cell(row, found).replace("|", "\\|") for c in COLUMNS) + " |" for row in found.rows]
    return "\n".join([head, rule, *rows, "", *(f"- {k}: {v}" for k, v in totals(found).items()), ""])


def json_text(found: Summary) -> str:
    """All exact numbers as JSON."""
    numbers = (
        "parameters", "macs", "inside", "other", "parameter_bytes", "peak_bytes", "peak_at", "moved", "intensity",
    )  # fmt: skip
    whole: dict[str, Any] = {"input": found.input} | {name: getattr(found, name) for name in numbers}
    whole |= {"kept_bytes": found.training.kept, "training_peak_bytes": found.training.peak, "notes": found.notes}
    rows = [dataclasses.asdict(row) for row in found.rows]
    return json.dumps(whole | {"rows": rows}, indent=1, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Affine):
        return dataclasses.asdict(value)
    return int(value) if value.denominator == 1 else float(value)


STYLE = """
.jaxconv {font: 14px system-ui, sans-serif; color: #1b1f24; background: #fff}
.jaxconv table {border-collapse: collapse; font-variant-numeric: tabular-nums}
.jaxconv th, .jaxconv td {padding: .25em .7em; text-align: right; white-space: nowrap}
.jaxconv th {position: sticky; top: 0; background: #fff; border-bottom: 2px solid #1b1f24; font-weight: 600}
.jaxconv td {border-bottom: 1px solid #e4e7eb}
.jaxconv .left {text-align: left}
.jaxconv tr:hover td {background: #f3f6fa}
.jaxconv dl {display: grid; grid-template-columns: max-content auto; gap: .3em 1.2em}
.jaxconv dt {color: #57606a} .jaxconv dd {margin: 0}
"""


def fragment(found: Summary) -> str:
    """The table for a notebook."""

    def line(tag: str, cells: Sequence[str]) -> str:
        pairs = zip(COLUMNS, cells, strict=True)
        return "<tr>" + "".join(f"<{tag}{_left(c)}>{html.escape(v)}</{tag}>" for c, v in pairs) + "</tr>"

    body = "\n".join(line("td", [c.cell(row, found) for c in COLUMNS]) for row in found.rows)
    words = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in totals(found).items())
    head = line("th", [c.head for c in COLUMNS])
    return (
        f'<div class="jaxconv"><style>{STYLE}</style><dl>{words}</dl>\n'
        f"<table><thead>{head}</thead><tbody>\n{body}\n</tbody></table></div>"
    )


def _left(column: Column) -> str:
    return ' class="left"' if column.left else ""


def page(found: Summary) -> str:
    """A self-contained HTML page without scripts."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Summary</title></head>\n'
        f"<body>{fragment(found)}</body></html>\n"
    )
