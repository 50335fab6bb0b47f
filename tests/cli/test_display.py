"""A run's events on terminals of several widths, on a dumb one, and in a pipe."""

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import termios

import pytest
from rich.console import Console

from jaxconv.cli import display
from jaxconv.training.progress import Compiled, Evaluation, Notice, Progress, Score

EVENTS = [
    Compiled(1.5),
    Progress(100, 300, 0.3111, 0.9084, 12345.4, 62.0),
    Evaluation(100, Score(0.1234, 0.9876)),
    Notice("curves.png is skipped"),
]
ALARM = "*" * 20 + "\n[Compiling module jit_run] Very slow compile?\n"


@contextlib.contextmanager
def terminal(width):
    """A pseudo-terminal as standard error and as the file of a console; yields the file and what reads all of it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    stderr = os.dup(2)
    os.dup2(theirs, 2)

    def text():
        os.set_blocking(ours, False)
        return b"".join(iter(lambda: read(ours), b"")).decode()

    try:
        with open(theirs, "w", encoding="utf-8") as file:
            yield file, text
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(ours)


def read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("width", [40, 80, 200])
def test_what_others_write_to_standard_error_goes_above_the_bar(width, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv(
        "COLORTERM", raising=False
    )  # with more colors the bar fills the terminal, which is read at the end
    with terminal(width) as (file, text):
        with display.progress(Console(file=file, width=width, force_terminal=True)) as report:
            os.write(2, ALARM.encode())
            for event in EVENTS:
                report(event)
        os.write(2, b"afterwards\n")
        shown = text()
    rows = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", row).strip() for row in shown.replace("\r", "\n").split("\n")]
    assert max(map(len, rows)) <= width
    assert "*" * 20 in rows
    assert any(row.startswith("[Compiling module jit_run] Very slow") for row in rows)
    brief = "at 100: loss 0.12 accuracy 0.9876"
    assert (brief if width == 40 else "evaluation at step 100  loss 0.1234  accuracy 0.9876") in rows
    assert "curves.png is skipped" in rows
    assert any("100/300" in row for row in rows)
    assert [row for row in rows if row][-1] == "afterwards"


@pytest.mark.parametrize("dumb", [True, False])
def test_without_a_terminal_that_moves_its_cursor_each_event_is_a_line(dumb, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    file = io.StringIO()
    with display.progress(Console(file=file, force_terminal=dumb)) as report:
        for event in EVENTS:
            report(event)
    assert file.getvalue().splitlines() == [
        "compiled in 1.5 s",
        "step 100/300  loss 0.311  accuracy 0.908  12,345 images/s  1:02 left",
        "evaluation at step 100  loss 0.1234  accuracy 0.9876",
        "curves.png is skipped",
    ]


def test_runs_at_once_are_told_apart_by_their_names(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    first, last = Progress(100, 300, 0.3, 0.9, 1.0, 62.0), Progress(300, 300, 0.1, 1.0, 1.0, 0.0)
    for terminal_ in (False, True):
        file = io.StringIO()
        with display.progress(Console(file=file, width=80, force_terminal=terminal_), several=True) as report:
            for name in ("seed=0", "seed=1"):
                report(first, name)
            report(last, "seed=0")
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).replace("\r", "\n").splitlines()
        assert all(any(f"{name}: " in row and "100/300" in row for row in shown) for name in ("seed=0", "seed=1"))
    assert "seed=1" in shown[-1]  # only its bar is left
    assert "seed=0" not in shown[-1]


def test_a_full_disk_for_the_output_ends_no_run(capsys):
    with open("/dev/full", "w", encoding="utf-8") as full, display.progress(Console(file=full)) as report:
        for event in EVENTS:
            report(event)
    assert capsys.readouterr().err == ("warning: cannot write the output: No space left on device; the run continues\n")


@pytest.mark.parametrize("width", [10, 12, 30])
def test_a_narrow_terminal_shows_complete_values(width):
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    display.table(console, {"test accuracy": "94.43%", "run": "runs/a"})
    display.columns(console, [{"run": "cifar10-2", "net": "resnet18", "accuracy": "91.25%", "seconds": "12"}])
    rows = [row.split()[-1] for row in file.getvalue().splitlines() if row.strip()]
    for value in ("94.43%", "runs/a", "cifar10-2", "resnet18", "91.25%", "12"):
        assert value in rows, (value, rows)
