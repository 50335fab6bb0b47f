"""Ctrl-C at the command line: no traceback; a second Ctrl-C ends the process immediately."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

__all__ = ["again", "at_the_command_line", "end", "leave", "printing_to", "saving", "saying"]

GRACE_SECONDS = 1.0  # time to clean up after the first Ctrl-C if there is nothing to save
_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_leaving = threading.Lock()
_watched = False
_saving = False
_message: Callable[[], str] | None = None
_stderr = 2


@contextlib.contextmanager
def at_the_command_line() -> Iterator[None]:
    """Handle Ctrl-C for the duration of a command; afterwards it ends the process silently."""
    global _watched
    before = sys.unraisablehook
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)

    def unraisable(problem: Any) -> None:
        # A KeyboardInterrupt in a destructor or a callback is printed and lost.
        if problem.exc_type is not None and issubclass(problem.exc_type, KeyboardInterrupt):
            leave(signal.SIGINT)
        before(problem)

    signal.signal(signal.SIGINT, _raise)
    # Python runs its handlers between two bytecodes of the main thread, which may be compiling for minutes.
    signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=[ours], daemon=True).start()
    sys.unraisablehook, _watched = unraisable, True
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the interpreter's shutdown would print a traceback
        signal.set_wakeup_fd(-1)
        sys.unraisablehook, _watched = before, False


@contextlib.contextmanager
def saving() -> Iterator[None]:
    """Context: the first signal saves the run, however long that takes."""
    global _saving
    before, _saving = _saving, True
    try:
        yield
    finally:
        _saving = before


@contextlib.contextmanager
def saying(message: Callable[[], str]) -> Iterator[None]:
    """Context: an interrupted command prints this message instead of "interrupted".

    Args:
      message: returns the text when it is needed.
    """
    global _message
    before, _message = _message, message
    try:
        yield
    finally:
        _message = before


@contextlib.contextmanager
def printing_to(descriptor: int) -> Iterator[None]:
    """Context: an interrupted command prints its message to this file descriptor, since 2 is redirected."""
    global _stderr
    before, _stderr = _stderr, descriptor
    try:
        yield
    finally:
        _stderr = before


def again(number: int) -> NoReturn:
    """Handle a second signal: end the process if it is a command, else raise KeyboardInterrupt."""
    if _watched:
        leave(number)
    raise KeyboardInterrupt


def leave(number: int) -> NoReturn:
    """End the process now because of a signal, without cleanup.

    Args:
      number: signal number; the exit code is 128 + number.
    """
    end(128 + number, "")


def end(code: int, cause: str | None = None) -> NoReturn:
    """End the process now, without cleanup, as kill -9 would; writes are atomic, so no file is left incomplete.

    Args:
      code: the exit code.
      cause: printed before the message; None if the user knows it already.
    """
    if not _leaving.acquire(blocking=False):
        threading.Event().wait()  # another thread is ending the process
    text = "interrupted"
    with contextlib.suppress(Exception):
        text = _message() if _message else text
    with contextlib.suppress(Exception):
        for child in sys.modules["multiprocessing"].active_children() if "multiprocessing" in sys.modules else []:
            child.kill()
    with contextlib.suppress(OSError):
        if os.isatty(1):
            os.write(1, b"\x1b[?25h\n")  # a progress bar hides the cursor
        if cause is not None:
            os.write(_stderr, f"{f'{cause}: ' if cause else ''}{text}\n".encode(errors="backslashreplace"))
    os._exit(code)


def _raise(number: int, frame: Any) -> None:
    """Handle the first Ctrl-C outside of training."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            leave(number)  # an extension module interrupted during import may crash
        frame = frame.f_back
    raise KeyboardInterrupt


def _watch(pipe: int) -> None:
    """End the process at the second signal, or if the first is not handled in time."""
    seen = 0
    while content := os.read(pipe, 1):
        if content[0] in _NUMBERS:
            seen += 1
            if seen > 1:
                leave(content[0])
            if not _saving:
                timer = threading.Timer(GRACE_SECONDS, leave, [content[0]])
                timer.daemon = True
                timer.start()


def _is_command() -> bool:
    """Whether this process was started as `jaxconv` or `python -m jaxconv` and is still importing."""
    first = getattr(sys, "argv", [""])[:1]
    return first == ["-m"] or [os.path.basename(name) for name in first] == ["jaxconv"]


if _is_command() and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command handles it: no traceback from an import
