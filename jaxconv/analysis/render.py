"""The record of a summary, and its renderings as text, Markdown and JSON."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Sequence
from typing import Any

from jaxconv.analysis.columns import COLUMNS, Column, in_bytes
from jaxconv.analysis.html import fragment, page
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
        """A table with as many columns as fit into `width` characters, the totals, and the meaning of the columns."""
        return text(self, width)

    def markdown(self) -> str:
        """A Markdown table of all columns, and the totals."""
        return markdown(self)

    def json(self) -> str:
        """All numbers as JSON."""
        return json_text(self)

    def html(self) -> str:
        """A self-contained HTML page."""
        return page(_cells(COLUMNS, self), totals(self))

    def _repr_html_(self) -> str:
        return fragment(_cells(COLUMNS, self), totals(self))


def _cells(columns: Sequence[Column], found: Summary) -> list[list[str]]:
    return [[c.cell(row, found.parameters, found.symbol) for c in columns] for row in found.rows]


def totals(found: Summary) -> dict[str, str]:
    """Totals of the net by name, as text."""
    large = f" where {found.symbol} is large" if found.symbol else ""
    kept, most = found.training.kept, found.training.peak
    known = kept is not None and most
    needed = f"{in_bytes(kept)} kept for the backward pass, {in_bytes(most)} at most" if known else "–"
    return {
        "input": "×".join(map(str, found.input)),
        "parameters": f"{found.parameters:,} ({in_bytes(found.parameter_bytes)})",
        "MACs": f"{found.macs:,}; {found.inside:,} excluding taps on padding",
        "other operations": f"{found.other:,}",
        "forward memory": f"peak {in_bytes(found.peak_bytes)}, at {found.peak_at}",
        "training memory": needed,
        "intensity": f"{found.intensity:.1f} operations per byte moved{large}",
        **{f"note {i}": note for i, note in enumerate(found.notes, 1)},
    }


def text(found: Summary, width: int = 80) -> str:
    """A plain table, no wider than `width` if possible, below it the totals, and the meaning of its columns."""
    columns = list(COLUMNS)
    while True:
        cells = _cells(columns, found)
        for line in cells:
            line[0] = line[0] if len(line[0]) <= LONGEST_PATH else "…" + line[0][-LONGEST_PATH + 1 :]
        lines = [*_heads(columns), *cells]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        leaving = [c for c in columns if c.goes]
        if sum(widths) + 2 * (len(widths) - 1) <= width or not leaving:
            break
        columns.remove(min(leaving, key=lambda c: c.goes))
    table = [
        "  ".join(v.ljust(w) if c.left else v.rjust(w) for v, w, c in zip(line, widths, columns, strict=True)).rstrip()
        for line in lines
    ]
    rule = "─" * min(max(map(len, table)), width)
    head, body = table[: -len(cells) or None], table[len(table) - len(cells) :]
    words = totals(found)
    longest = max(map(len, words))
    below = [f"{k.ljust(longest)}  {v}" for k, v in words.items()]
    return "\n".join([*head, rule, *body, rule, *below, rule, *_legend(columns, width)])


def _heads(columns: Sequence[Column]) -> list[list[str]]:
    """The lines of the heads, one word in each, aligned at the bottom."""
    words = [c.head.split() for c in columns]
    lines = max(map(len, words))
    return [[*line] for line in zip(*([""] * (lines - len(each)) + each for each in words), strict=True)]


def _legend(columns: Sequence[Column], width: int) -> list[str]:
    """The meaning of each column, in lines of at most `width` characters."""
    longest = max(len(c.head) for c in columns)
    indent = longest + 2 if width >= longest + 30 else 2
    lines = []
    for column in columns:
        words = f"{column.head.ljust(indent - 2)}  {column.meaning}"
        lines += textwrap.wrap(words, max(width, 20), subsequent_indent=" " * indent, break_on_hyphens=False)
    return lines


def markdown(found: Summary) -> str:
    """A Markdown table of every column, the totals and the meaning of the columns."""
    head = "| " + " | ".join(c.head for c in COLUMNS) + " |"
    rule = "|" + "|".join("---" if c.left else "---:" for c in COLUMNS) + "|"
    rows = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in _cells(COLUMNS, found)]
    legend = [f"- {c.head}: {c.meaning}" for c in COLUMNS]
    return "\n".join([head, rule, *rows, "", *(f"- {k}: {v}" for k, v in totals(found).items()), "", *legend, ""])


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
