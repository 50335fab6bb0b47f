"""A summary as HTML: a table for notebooks and pages, in light and dark."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from jaxconv.analysis.columns import COLUMNS, Column

__all__ = ["fragment", "page"]

THEMES = {
    "text": "--jp-content-font-color1 --vscode-editor-foreground --colab-primary-text-color",
    "quiet": "--jp-content-font-color2 --vscode-descriptionForeground --colab-secondary-text-color",
    "page": "--jp-layout-color0 --vscode-editor-background --colab-primary-surface-color",
    "line": "--jp-border-color2 --vscode-editorWidget-border --colab-border-color",
    "row": "--jp-layout-color2 --vscode-list-hoverBackground --colab-highlighted-surface-color",
}
"""Colors of the themes of JupyterLab, VS Code and Colab, which need not follow the system."""

STYLE = """
.jaxconv {--own-text: #1b1f24; --own-quiet: #57606a; --own-page: #fff; --own-line: #d8dee4; --own-row: #eef3f8}
@media (prefers-color-scheme: dark) {
  .jaxconv {--own-text: #e6edf3; --own-quiet: #9ea7b1; --own-page: #0d1117; --own-line: #30363d; --own-row: #1c2430}
}
.jaxconv {font: 14px/1.4 system-ui, sans-serif; color: var(--text); background: var(--page); padding: .5em}
.jaxconv .scroll {overflow: auto; max-height: 85vh}
.jaxconv table {border-collapse: separate; border-spacing: 0; font: inherit; color: inherit}
.jaxconv table {font-variant-numeric: tabular-nums}
.jaxconv th, .jaxconv td {padding: .25em .7em; text-align: right; white-space: nowrap; background: var(--page)}
.jaxconv th {position: sticky; top: 0; border-bottom: 2px solid var(--text); font-weight: 600}
.jaxconv th {white-space: normal; vertical-align: bottom; cursor: help; text-decoration: underline dotted 1px}
.jaxconv :is(th, td):first-child {position: sticky; left: 0}
.jaxconv th:first-child {z-index: 1}
.jaxconv td {border-bottom: 1px solid var(--line)}
.jaxconv .left {text-align: left}
.jaxconv tbody tr:hover td {background: var(--row)}
.jaxconv dl {display: grid; grid-template-columns: max-content 1fr; gap: .3em 1.2em; margin: .8em 0}
.jaxconv dt {color: var(--quiet)}
.jaxconv dd {margin: 0; overflow-wrap: anywhere}
.jaxconv summary {cursor: pointer; margin-top: .8em; color: var(--quiet)}
"""


def _colors() -> str:
    """Each color: a theme's, or else that of the system's scheme."""
    chains = {name: [*names.split(), f"--own-{name}"] for name, names in THEMES.items()}
    colors = (f"--{name}: {', '.join(f'var({v}' for v in names)}{')' * len(names)}" for name, names in chains.items())
    return f".jaxconv {{{'; '.join(colors)}}}"


def fragment(rows: Sequence[Sequence[str]], totals: Mapping[str, str]) -> str:
    """The table for a notebook. Heads have the meaning of their column as hover text, and a list below has them all.

    Args:
      rows: the text of every column for each layer.
      totals: totals of the net by name.
    """
    head = "".join(f"<th{_left(c)} title={_quoted(c.meaning)}>{html.escape(c.head)}</th>" for c in COLUMNS)
    lines = (zip(COLUMNS, row, strict=True) for row in rows)
    body = "\n".join(f"<tr>{''.join(f'<td{_left(c)}>{html.escape(v)}</td>' for c, v in line)}</tr>" for line in lines)
    return (
        f'<div class="jaxconv"><style>{_colors()}{STYLE}</style>{_list(totals)}\n'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>\n'
        f"<details><summary>Columns</summary>{_list({c.head: c.meaning for c in COLUMNS})}</details></div>"
    )


def _left(column: Column) -> str:
    return ' class="left"' if column.left else ""


def _quoted(text: str) -> str:
    return f'"{html.escape(text)}"'


def _list(words: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in words.items()) + "</dl>"


def page(rows: Sequence[Sequence[str]], totals: Mapping[str, str]) -> str:
    """A self-contained HTML page without scripts.

    Args:
      rows: the text of every column for each layer.
      totals: totals of the net by name.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        '<meta name="viewport" content="width=device-width"><title>Summary</title></head>\n'
        '<body style="margin: 0; display: grid; min-height: 100vh; grid-template-columns: 100%">'
        f"{fragment(rows, totals)}</body></html>\n"
    )
