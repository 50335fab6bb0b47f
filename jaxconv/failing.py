"""What goes wrong in a command, told in a line or a few, and the command's exit code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import typer

from jaxconv import run
from jaxconv.errors import ConfigError, DataError, ShapeError
from jaxconv.fit import DivergedError

__all__ = ["BAD_INPUT", "INTERRUPTED", "fail", "told"]

BAD_INPUT, INTERRUPTED = 2, 130


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What the user can put right is told in a line or a few, without a traceback."""
    try:
        yield
    except (ConfigError, DataError, ShapeError, DivergedError) as error:
        notes = [note for note in getattr(error, "__notes__", []) if isinstance(error, DivergedError)]
        fail("\n  ".join([f"error: {error}", *notes]), BAD_INPUT)
    except run.StoppedError as stopped:
        fail(str(stopped), 128 + stopped.signal_number)
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)


def fail(message: str, code: int) -> Any:
    """Say it on stderr and end the command.

    Args:
      message: what went wrong.
      code: the exit code.
    """
    sys.stdout.flush()
    typer.echo(message, err=True)
    raise typer.Exit(code)
