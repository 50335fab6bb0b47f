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

from jaxconv.train import Compiled, Evaluation, Progress

__all__ = ["clock", "progress", "table"]

_ROOMY = 72


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
      The function to call with each event of `jaxconv.train.fit`.
    """
    if not console.is_terminal:
        yield lambda event: print(line(event), file=console.file, flush=True)
        return
    with Bar(*_columns(console.width), console=console) as bar:
        task = bar.add_task("", total=None, rest="compiling")

        def show(event: Any) -> None:
            if isinstance(event, Progress):
                rest = _brief(event) if console.width < _ROOMY else _full(event)
                bar.update(task, completed=event.step, total=event.steps, rest=rest)
            elif isinstance(event, Evaluation):
                bar.console.print(Text(line(event)))

        yield show


def _columns(width: int) -> list[Any]:
    bar = BarColumn(bar_width=None if width >= _ROOMY else 8)
    return [bar, TextColumn("{task.fields[rest]}", markup=False)]


def _full(event: Progress) -> str:
    numbers = f"loss {event.loss:.3f}  accuracy {event.accuracy:.3f}  {event.images_per_second:,.0f} images/s"
    return f"{event.step}/{event.steps}  {numbers}  {clock(event.seconds_left)}"


def _brief(event: Progress) -> str:
    return f"{event.step}/{event.steps} loss {event.loss:.2f} {clock(event.seconds_left)}"


def line(event: Any) -> str:
    """One event as one line.

    >>> line(Progress(100, 1170, 0.3111, 0.9084, 12345.4, 62.0))
    'step 100/1170  loss 0.311  accuracy 0.908  12,345 images/s  1:02 left'
    """
    if isinstance(event, Compiled):
        return f"compiled in {event.seconds:.1f} s"
    if isinstance(event, Evaluation):
        return f"test at step {event.step}  loss {event.loss:.4f}  accuracy {event.accuracy:.4f}"
    return f"step {_full(event)} left"


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
