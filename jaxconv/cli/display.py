"""Terminal output: progress and tables, plain lines where there is no terminal."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from jaxconv._base import interrupt
from jaxconv.training.progress import Compiled, Evaluation, Notice, Progress

if TYPE_CHECKING:
    from jaxconv.analysis.collectives import Collective
    from jaxconv.run.dry_run import Described

__all__ = ["clock", "columns", "described", "fits", "progress", "size", "table"]

_ROOMY = 72
_FOLDED = 10  # columns below which a longer value is not folded
_NOTICED = 0.01  # smallest share of time spent waiting for data that is shown
_JOIN_SECONDS = 2.0  # child processes may hold the pipe open


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, with hours if there are any.

    >>> clock(62), clock(3725)
    ('1:02', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextlib.contextmanager
def progress(console: Console, several: bool = False) -> Iterator[Callable[..., None]]:
    """Show the events of runs: a bar for each on a terminal, else one line for each event.

    Args:
      console: the output.
      several: whether there may be several runs, which have names.

    Yields:
      The function to call with each event of `jaxconv.training.loop.fit`, and the name of its run if it has one.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda event, name="": _print(_named(name, line(event)), console)
        return
    with Bar(*_bar(console.width), console=console) as bar, _stderr_above(bar):
        tasks: dict[str, Any] = {} if several else {"": bar.add_task("", total=None, rest="compiling")}

        def show(event: Any, name: str = "") -> None:
            brief = console.width < _ROOMY
            if isinstance(event, Progress):
                if name not in tasks:
                    tasks[name] = bar.add_task("", total=None, rest="")
                rest = _named(name, _brief(event) if brief or name else _full(event))
                bar.update(tasks[name], completed=event.step, total=event.steps, rest=rest)
                if name and event.step == event.steps:
                    bar.remove_task(tasks.pop(name))
            elif isinstance(event, Evaluation):
                bar.console.print(Text(_named(name, _brief_evaluation(event) if brief else line(event))))
            elif isinstance(event, Notice):
                bar.console.print(Text(_named(name, line(event))))

        yield show


def _named(name: str, text: str) -> str:
    return f"{name}: {text}" if name else text


def _print(text: str, console: Console) -> None:
    """Print a line; if the reader of a pipe is gone or the disk is full, the run continues without output."""
    try:
        print(text, file=console.file, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), console.file.fileno())
        if error.errno != errno.EPIPE:
            with contextlib.suppress(OSError):
                print(f"warning: cannot write the output: {error.strerror}; the run continues", file=sys.stderr)


@contextlib.contextmanager
def _stderr_above(bar: Bar) -> Iterator[None]:
    """Print above a bar what is written to file descriptor 2, as XLA does about a slow compilation."""
    if not os.isatty(2):
        yield
        return
    sys.stderr.flush()
    terminal, (ours, theirs) = os.dup(2), os.pipe()
    os.dup2(theirs, 2)
    os.close(theirs)

    def copy() -> None:
        with open(ours, encoding="utf-8", errors="backslashreplace") as lines:
            for text in lines:
                bar.console.print(Text(text.rstrip()))

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    try:
        with interrupt.printing_to(terminal):
            yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)  # closes the pipe's last writer, which ends the thread
        os.close(terminal)
        thread.join(_JOIN_SECONDS)


def _bar(width: int) -> list[Any]:
    bar = BarColumn(bar_width=None if width >= _ROOMY else 8)
    return [bar, TextColumn("{task.fields[rest]}", markup=False)]


def _full(event: Progress) -> str:
    accuracy = "" if event.accuracy is None else f"  accuracy {event.accuracy:.3f}"
    numbers = f"loss {event.loss:.3f}{accuracy}  {event.images_per_second:,.0f} images/s"
    waiting = f"  waiting {event.waiting:.0%}" if event.waiting >= _NOTICED else ""
    return f"{event.step}/{event.steps}  {numbers}{waiting}  {clock(event.seconds_left)}"


def _brief(event: Progress) -> str:
    return f"{event.step}/{event.steps} loss {event.loss:.2f} {clock(event.seconds_left)}"


def _brief_evaluation(event: Evaluation) -> str:
    return f"at {event.step}: loss {event.found.loss:.2f} {event.found.metric} {event.found.value:.4f}"


def line(event: Any) -> str:
    """One event as one line.

    >>> line(Progress(100, 1170, 0.3111, 0.9084, 12345.4, 62.0))
    'step 100/1170  loss 0.311  accuracy 0.908  12,345 images/s  1:02 left'
    """
    if isinstance(event, Compiled):
        return f"compiled in {event.seconds:.1f} s"
    if isinstance(event, Notice):
        return event.text
    if isinstance(event, Evaluation):
        found = event.found
        return f"evaluation at step {event.step}  loss {found.loss:.4f}  {found.metric} {found.value:.4f}"
    return f"step {_full(event)} left"


def size(count: float) -> str:
    """Bytes in a readable unit.

    >>> size(900), size(2_100_000)
    ('900 B', '2.1 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def described(console: Console, found: Described) -> None:
    """Print a dry run: layers, steps, memory and communication.

    Args:
      console: the output.
      found: from `jaxconv.run.dry_run.describe`.
    """
    layers = [
        {"layer": row.path, "output": "×".join(map(str, row.output[1:])), "parameters": f"{row.parameters:,}"}
        for row in found.net.rows
    ]
    columns(console, layers)
    many, state = bool(found.mesh), size(found.state_bytes)
    axes = ", ".join(f"{axis} {length}" for axis, length in found.mesh.items())
    numbers = {
        "parameters": f"{found.net.parameters:,}",
        "images": f"{found.images:,}",
        "steps": f"{found.steps:,}",
        **({"devices": f"{math.prod(found.mesh.values()):,}: {axes}"} if many else {}),
        "batch": f"{found.batch:,}{f', {found.share:,} on each device' if many else ''}",
        "memory": f"{size(found.all_bytes)}{' on each device' if many else ''}",
        "  state": f"{state} of {size(found.whole_bytes)}" if many else state,
        "  data": size(found.data_bytes),
        "  a step": size(found.step_bytes),
        **({"sent": f"{size(sum(row.sent for row in found.collectives))} by each device in a step"} if many else {}),
    }
    table(console, numbers)
    if found.collectives:
        console.print()
        columns(console, [_communication(row) for row in found.collectives])


def _communication(row: Collective) -> dict[str, str]:
    return {
        "collective": row.kind,
        "pass": row.phase,
        "among": f"{row.devices:,}",
        "calls": f"{row.calls:,}",
        "size": size(row.size),
        "sent by each": size(row.sent),
    }


def columns(console: Console, rows: list[dict[str, str]]) -> None:
    """Print rows under a header; separated by tabs if the output is no terminal.

    Args:
      console: the output.
      rows: each with the same keys.
    """
    if not console.is_terminal:
        for row in [{key: key for key in rows[0]}, *rows]:
            print("\t".join(row.values()), file=console.file)
        return
    if not fits(console, rows):  # would break words into letters
        for row in rows:
            table(console, row)
        return
    broken = _width(rows, map(len, rows[0])) > console.width
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for name in rows[0]:
        number = all(row[name][:1].isdigit() or not row[name] for row in rows)
        head = "\n".join(name.split()) if broken else name
        grid.add_column(head, overflow="fold", justify="right" if number else "left")
    for row in rows:
        grid.add_row(*map(Text, row.values()))
    console.print(grid)


def fits(console: Console, rows: list[dict[str, str]]) -> bool:
    """Whether rows under a header, whose words may be on lines of their own, are no wider than a terminal.

    Args:
      console: the output.
      rows: each with the same keys.
    """
    return _width(rows, [max(map(len, name.split()), default=0) for name in rows[0]]) <= console.width


def _width(rows: list[dict[str, str]], heads: Iterable[int]) -> int:
    """Characters that keep words together, with heads of such lengths."""
    values = (min(_FOLDED, max(len(row[name]) for row in rows)) for name in rows[0])
    return sum(map(max, heads, values)) + 2 * (len(rows[0]) - 1)


def table(console: Console, rows: dict[str, str]) -> None:
    """Print names and values, one pair a line.

    Args:
      console: the output.
      rows: value by name.
    """
    if not console.is_terminal:
        width = max(map(len, rows))
        for name, value in rows.items():
            print(f"{name:<{width}}  {value}", file=console.file)
        return
    names = max(map(len, rows))
    if names + 2 + min(_FOLDED, max(map(len, rows.values()))) > console.width:
        for name, value in rows.items():
            console.print(Text(name, style="dim", overflow="fold"))
            console.print(Text(value, overflow="fold"))
        return
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows.items():
        grid.add_row(Text(name), Text(value))
    console.print(grid)
