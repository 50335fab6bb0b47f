"""Pictures in terminals that can show them: detection, and a picture beside lines of text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jaxconv.viz.terminal import fitted, half_blocks, kitty, sixel

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Kind", "Pictures", "beside", "kind_of"]

Kind = Literal["kitty", "sixel", "blocks", "none"]
Pictures = Annotated[
    Literal["auto", "kitty", "sixel", "blocks", "none"],
    typer.Option(help="Small pictures: by kitty's protocol, sixel or half blocks; auto: as the terminal can."),
]

ROWS = 10
_LEAST_TEXT = 24  # columns of text beside a picture; with fewer there is no picture
_CELL = (8, 16)  # pixels of a cell, if the terminal does not say: rather too few
_KITTY = {"kitty", "ghostty", "wezterm"}
_SIXEL = {"foot", "foot-extra", "mlterm", "contour", "mintty", "iterm.app", "yaft-256color"}
_KONSOLE = 220400  # first version with sixel


def kind_of(wanted: str, console: Console, environ: Mapping[str, str] = os.environ) -> Kind:
    """The best kind of picture that a terminal shows, from its environment: it is not asked, so that nothing can hang.

    Args:
      wanted: a kind, which is returned as it is; or "auto".
      console: the output.
      environ: environment variables.

    Returns:
      "none" if the output is no terminal, without color (NO_COLOR, TERM=dumb), or not UTF-8. Within tmux and screen,
      whose environment is that of the terminal they were started in, half blocks.
    """
    if wanted != "auto":
        return wanted  # type: ignore[return-value]
    colors = console.color_system in ("256", "truecolor")
    utf8 = console.encoding.lower().replace("-", "") == "utf8"
    if not console.file.isatty() or console.is_dumb_terminal or environ.get("NO_COLOR") or not (colors and utf8):
        return "none"
    term = environ.get("TERM", "").lower()
    names = {term.removeprefix("xterm-"), environ.get("TERM_PROGRAM", "").lower()}
    if environ.get("TMUX") or environ.get("STY") or term.startswith(("screen", "tmux")):
        return "blocks"
    # A terminal that another one started inherits these two.
    own = term.startswith("xterm") and not environ.get("TERM_PROGRAM") and not environ.get("VTE_VERSION")
    window, konsole = environ.get("KITTY_WINDOW_ID"), environ.get("KONSOLE_VERSION", "")
    if names & _KITTY or (own and window):
        return "kitty"
    if names & _SIXEL or (own and konsole.isdecimal() and int(konsole) >= _KONSOLE):
        return "sixel"
    return "blocks"


def beside(picture: Any, lines: Sequence[str], kind: Kind, console: Console) -> str:
    """A small picture at the left of lines of text.

    Args:
      picture: a `PIL.Image`.
      lines: of text, cut at the terminal's width.
      kind: how to draw the picture; "none": the text alone.
      console: the output.
    """
    from rich.cells import cell_len, set_cell_size

    cell = _cell(console) if kind in ("kitty", "sixel") else (1, 2)
    most = min(2 * ROWS, console.width - _LEAST_TEXT)
    if kind == "none" or most < ROWS:
        return "\n".join(lines)
    drawn = fitted(picture, most * cell[0], ROWS * cell[1])
    columns, rows = -(-drawn.width // cell[0]), -(-drawn.height // cell[1])
    room = console.width - columns - 2
    shown = [line if cell_len(line) <= room else set_cell_size(line, room - 1).rstrip() + "…" for line in lines]
    if kind == "blocks":
        blocks = half_blocks(fitted(picture, columns, 2 * rows), console.color_system != "256")
        blocks += [" " * columns] * (len(shown) - len(blocks))
        shown += [""] * (len(blocks) - len(shown))
        return "\n".join(f"{left}  {right}".rstrip() for left, right in zip(blocks, shown, strict=True))
    graphic = kitty(drawn, columns, rows) if kind == "kitty" else sixel(drawn)
    height = max(rows, len(shown))
    # Room first, which may scroll; then the picture at a saved place, and the text beside it.
    room_made = "\n" * height + f"\x1b[{height}A\x1b7{graphic}\x1b8"
    text = [f"\x1b[{columns + 2}C{line}" for line in shown] + [""] * (height - len(shown))
    return room_made + "\n".join(text)


def _cell(console: Console) -> tuple[int, int]:
    """Pixels of a cell as the kernel knows them."""
    try:
        import fcntl
        import struct
        import termios

        empty = struct.pack("HHHH", 0, 0, 0, 0)
        found = struct.unpack("HHHH", fcntl.ioctl(console.file.fileno(), termios.TIOCGWINSZ, empty))
        cell = found[2] // found[1], found[3] // found[0]
    except (ImportError, OSError, ZeroDivisionError):  # Windows; no terminal
        return _CELL
    return cell if min(cell) > 0 else _CELL
