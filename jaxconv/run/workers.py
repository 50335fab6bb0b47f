"""Runs in processes of their own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from jaxconv._base.errors import ConfigError, DataError, ShapeError
from jaxconv.run.config import Config
from jaxconv.run.training import StoppedError, resume, train
from jaxconv.training.running import DivergedError

__all__ = ["gpu_memory", "run_in_process"]

_EARLY = "interrupted before the first step of {}"

_POLL_SECONDS = 0.2
_MEMORY = "XLA_PYTHON_CLIENT_MEM_FRACTION"  # of a GPU, that a process takes at its start
_SHARE = 0.75  # JAX's default of it


def run_in_process(
    settings: Config,
    folder: Path,
    report: Callable[[Any], None],
    stop: Callable[[], bool],
    *,
    number: int,
    count: int,
) -> dict[str, Any]:
    """Train or resume a run in another process, which has a share of the CPU cores; it ends if this one does.

    Args:
      settings: the config.
      folder: the run's.
      report: called with each event of the run; what it raises stops the run, and is raised.
      stop: whether the run is to be saved and stopped.
      number: of the process, from 0.
      count: of processes that run at once.

    Returns:
      The content of `result.json`.

    Raises:
      DivergedError, StoppedError: as in `train`.
      ConfigError: with the text of any other error.
      ChildProcessError: if the process was killed.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, settings, folder, _cores(number, count)), daemon=True)
    process.start()
    theirs.close()
    asked: Exception | None = None
    stopped = False
    try:
        while True:
            if not stopped and stop():
                stopped = True
                process.terminate()
            if not ours.poll(_POLL_SECONDS):
                continue
            kind, *content = ours.recv()
            if kind == "result":
                return dict(content[0])
            if kind == "error":
                raise asked or _error(*content)
            try:
                report(content[0])
            except Exception as error:
                asked = error
                if not stopped:
                    stopped = True
                    process.terminate()
    except EOFError:
        process.join()
        if asked:
            raise asked from None
        if stopped:
            raise _StoppedInProcess(_EARLY.format(folder), folder, signal.SIGTERM) from None
        raise ChildProcessError(f"the process of {folder} ended with exit code {process.exitcode}") from None
    finally:
        ours.close()  # which ends the process if it is still there
        process.join()


def _cores(number: int, count: int) -> list[int]:
    """The CPU cores of one of several processes."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    found = sorted(os.sched_getaffinity(0))
    return found[number::count] or [found[number % len(found)]]


@contextlib.contextmanager
def gpu_memory(count: int) -> Iterator[None]:
    """An environment in which each of several processes takes its share of a GPU's memory, unless it says otherwise."""
    given = os.environ.get(_MEMORY)
    os.environ[_MEMORY] = given or f"{_SHARE / count:.3f}"
    try:
        yield
    finally:
        if given is None:
            del os.environ[_MEMORY]


class _StoppedInProcess(StoppedError):
    """A StoppedError of another process."""

    def __init__(self, text: str, folder: Path, signal_number: int) -> None:
        Exception.__init__(self, text)
        self.folder, self.signal_number = folder, signal_number


class _DivergedInProcess(DivergedError):
    """A DivergedError of another process."""

    def __init__(self, text: str, step: int) -> None:
        Exception.__init__(self, text)
        self.step = step


def _error(kind: str, text: str, notes: Sequence[str], about: Any) -> Exception:
    """The error of a process, as one of this."""
    found: Exception
    if kind == "StoppedError":
        found = _StoppedInProcess(text, *about)
    elif kind == "DivergedError":
        found = _DivergedInProcess(text, about)
    else:
        found = ConfigError(text)
    for note in notes:
        found.add_note(note)
    return found


def _work(connection: Connection, settings: Config, folder: Path, cores: Sequence[int]) -> None:
    """Train in this process; it is saved and ends when the other end of the connection is closed."""
    os.setsid()  # Ctrl-C is for the other process, which sends SIGTERM
    if cores:
        os.sched_setaffinity(0, cores)  # before XLA starts as many threads
    threading.Thread(target=_end_with, args=[connection], daemon=True).start()

    def send(*content: Any) -> None:
        with contextlib.suppress(OSError):  # the other process is gone
            connection.send(content)

    again = (folder / "config.toml").is_file()
    try:
        result = (resume if again else train)(folder=folder, settings=settings, report=lambda e: send("event", e))
    except StoppedError as error:
        send("error", "StoppedError", str(error), [], (error.folder, error.signal_number))
    except DivergedError as error:
        send("error", "DivergedError", str(error), getattr(error, "__notes__", []), error.step)
    except KeyboardInterrupt:
        send("error", "StoppedError", _EARLY.format(folder), [], (folder, signal.SIGINT))
    except Exception as error:
        if not isinstance(error, ConfigError | DataError | ShapeError | OSError | MemoryError):
            traceback.print_exc()
        send("error", type(error).__name__, f"{folder}: {error}", getattr(error, "__notes__", []), None)
    else:
        send("result", result)


def _end_with(connection: Connection) -> None:
    with contextlib.suppress(OSError, EOFError):
        connection.recv()  # nothing is ever sent
    os.kill(os.getpid(), signal.SIGTERM)
