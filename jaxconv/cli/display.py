"""How a run looks: progress on a terminal, plain lines everywhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from jaxconv.run.dry_run import Described
from jaxconv.training.progress import Compiled, Evaluation, Notice, Progress

__all__ = ["clock", "columns", "described", "progress", "size", "table"]

_ROOMY = 72
_NOTICED = 0.01  # share of the time spent waiting for data that is worth a word


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, or hours where there are any.

    >>> clock(62), clock(3725)
    ('1:02', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextlib.contextmanager
def progress(console: Console) -> Iterator[Callable[[Any], None]]:
    """Show the events of a run: a bar on a terminal, a line for each where the output is none.

    Args:
      console: where to.

    Yields:
      The function to call with each event of `jaxconv.training.loop.fit`.
    """
    if not console.is_terminal:
        yield lambda event: print(line(event), file=console.file, flush=True)
        return
    with Bar(*_bar(console.width), console=console) as bar:
        task = bar.add_task("", total=None, rest="compiling")

        def show(event: Any) -> None:
            if isinstance(event, Progress):
                rest = _brief(event) if console.width < _ROOMY else _full(event)
                bar.update(task, completed=event.step, total=event.steps, rest=rest)
            elif isinstance(event, Evaluation | Notice):
                bar.console.print(Text(line(event)))

        yield show


def _bar(width: int) -> list[Any]:
    bar = BarColumn(bar_width=None if width >= _ROOMY else 8)
    return [bar, TextColumn("{task.fields[rest]}", markup=False)]


def _full(event: Progress) -> str:
    numbers = f"loss {event.loss:.3f}  accuracy {event.accuracy:.3f}  {event.images_per_second:,.0f} images/s"
    waiting = f"  waiting {event.waiting:.0%}" if event.waiting >= _NOTICED else ""
    return f"{event.step}/{event.steps}  {numbers}{waiting}  {clock(event.seconds_left)}"


def _brief(event: Progress) -> str:
    return f"{event.step}/{event.steps} loss {event.loss:.2f} {clock(event.seconds_left)}"


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
        return f"test at step {event.step}  loss {event.found.loss:.4f}  accuracy {event.found.accuracy:.4f}"
    return f"step {_full(event)} left"


def size(count: float) -> str:
    """Bytes for people.

    >>> size(900), size(2_100_000)
    ('900 B', '2.1 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def described(console: Console, found: Described) -> None:
    """Print what a run would be: its net layer by layer, its steps and its memory.

    Args:
      console: where to.
      found: from `jaxconv.run.dry_run.describe`.
    """
    layers = [
        {"layer": row.path, "output": "×".join(map(str, row.output[1:])), "parameters": f"{row.parameters:,}"}
        for row in found.net.rows
    ]
    columns(console, layers)
    memory = {"state": found.state_bytes, "data": found.data_bytes, "a step": found.step_bytes}
    numbers = {
        "parameters": f"{found.net.parameters:,}",
        "images": f"{found.images:,}",
        "steps": f"{found.steps:,}",
        "memory": ", ".join(f"{name} {size(count)}" for name, count in memory.items()),
    }
    table(console, numbers)


def columns(console: Console, rows: list[dict[str, str]]) -> None:
    """Print rows under their columns' names; where the output is no terminal, divided by tabs.

    Args:
      console: where to.
      rows: each with the same keys.
    """
    if not console.is_terminal:
        for row in [{key: key for key in rows[0]}, *rows]:
            print("\t".join(row.values()), file=console.file)
        return
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for name in rows[0]:
        number = all(row[name][:1].isdigit() or not row[name] for row in rows)
        grid.add_column(name, overflow="fold", justify="right" if number else "left")
    for row in rows:
        grid.add_row(*map(Text, row.values()))
    console.print(grid)


def table(console: Console, rows: dict[str, str]) -> None:
    """Print names and values, in columns on a terminal and in plain lines elsewhere.

    Args:
      console: where to.
      rows: value by name.
    """
    if not console.is_terminal:
        width = max(map(len, rows))
        for name, value in rows.items():
            print(f"{name:<{width}}  {value}", file=console.file)
        return
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows.items():
        grid.add_row(Text(name), Text(value))
    console.print(grid)
