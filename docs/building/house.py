"""The levels of the package as a picture, from the table in CONTRIBUTING.md."""

import pathlib
import re
from collections.abc import Iterator
from html import escape

ROOT = pathlib.Path(__file__).parents[2]
MARK = "<!-- the house -->"
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \|$", re.M)


def levels() -> Iterator[tuple[list[str], list[str]]]:
    """The paths of a level and what each contains, from the lowest."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for _, paths, contents in ROW.findall(text):
        found = re.findall(r"`([^`]+)`", paths)
        parts = contents.split("; ")
        yield found, parts if len(parts) == len(found) else [contents] * len(found)


def lines(path: str) -> int:
    """Lines of Python of a module or a package."""
    place = ROOT / path
    files = place.rglob("*.py") if place.is_dir() else [place]
    return sum(file.read_text("utf-8").count("\n") for file in files)


def house() -> str:
    """The picture as HTML: a row for each level, the highest first; packages as wide as their number of lines."""
    rows = []
    for paths, contents in reversed([*levels()]):
        cells = "".join(
            f'<div class="jc-room" style="flex-grow: {max(lines(path), 1500)}"><code>{escape(path)}</code>'
            f"<span>{escape(content)}</span><small>{lines(path):,} lines</small></div>"
            for path, content in zip(paths, contents, strict=True)
        )
        rows.append(f'<div class="jc-level">{cells}</div>')
    text = "Levels of the package, the highest first; each imports only from those below it"
    return f'<div class="jc jc-house" role="group" aria-label="{text}">{"".join(rows)}</div>'
