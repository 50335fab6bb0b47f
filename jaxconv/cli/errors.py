"""User-facing errors and exit codes."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import typer

from jaxconv._base.errors import ConfigError, DataError, ShapeError
from jaxconv._base.files import WriteError
from jaxconv._base.processes import first

__all__ = ["BAD_INPUT", "INTERRUPTED", "IO_ERROR", "fail", "user_errors"]

BAD_INPUT, IO_ERROR, INTERRUPTED = 2, 74, 130  # 74 is EX_IOERR of sysexits.h
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_CACHE = "jax/_src/compiler.py"  # warns of a compilation cache that cannot be read or written
_LESS_MEMORY = "a smaller train.batch_size, images or net need less memory"


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Print user errors without a traceback, and exit with their code; print deprecation warnings in one line."""
    try:
        with _warnings():
            yield
    except (ConfigError, DataError, ShapeError) as error:
        fail(f"error: {error}", BAD_INPUT)
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of the output is gone: click exits quietly
            raise
        fail("; ".join([f"error: {_described(error)}", *getattr(error, "__notes__", [])]), IO_ERROR)
    except MemoryError:
        fail(f"error: out of memory; {_LESS_MEMORY}", BAD_INPUT)
    except KeyboardInterrupt:
        fail("interrupted", INTERRUPTED)
    except Exception as error:
        if not isinstance(error, ImportError):  # nothing more can be imported after one
            _fail_of_training(error)
        raise


def _fail_of_training(error: Exception) -> None:
    """Exit if the error is one of training that a user can fix."""
    import jax

    from jaxconv.run import StoppedError
    from jaxconv.training.running import DivergedError

    if isinstance(error, DivergedError | StoppedError) and not first():  # of all processes the first one prints it
        raise typer.Exit(128 + error.signal_number if isinstance(error, StoppedError) else BAD_INPUT)
    if isinstance(error, DivergedError):
        fail("\n  ".join([f"error: {error}", *getattr(error, "__notes__", [])]), BAD_INPUT)
    if isinstance(error, StoppedError):
        fail(str(error), 128 + error.signal_number)
    if isinstance(error, jax.errors.JaxRuntimeError) and str(error).startswith("RESOURCE_EXHAUSTED"):  # status code
        fail(f"error: {str(error).splitlines()[0]}; {_LESS_MEMORY}", BAD_INPUT)


@contextlib.contextmanager
def _warnings() -> Iterator[None]:
    """Print deprecation warnings about a user's config, which Python ignores by default; one of the cache is enough."""
    with warnings.catch_warnings():
        other, said = warnings.showwarning, list[str]()

        def show(message: Any, category: type[Warning], file: str, *place: Any) -> None:
            if issubclass(category, DeprecationWarning):
                typer.echo(f"warning: {message}", err=True)
            elif not file.endswith(_CACHE):
                other(message, category, file, *place)
            elif not said:
                said.append(file)
                typer.echo(f"warning: {str(message).splitlines()[0]}", err=True)

        warnings.filterwarnings("default", category=DeprecationWarning, module=r"jaxconv\b")
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def fail(message: str, code: int) -> Any:
    """Print a message to stderr and exit.

    Args:
      message: the error.
      code: the exit code.
    """
    try:
        sys.stdout.flush()
    except OSError:  # the rest of the buffer would fail again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    typer.echo(message, err=True)
    raise typer.Exit(code)


def _described(error: OSError) -> str:
    """An operating system's error in one line: the file and the reason.

    >>> _described(PermissionError(13, "Permission denied", "runs/a/result.json"))
    'cannot read runs/a/result.json: Permission denied'
    """
    if isinstance(error, WriteError) or error.strerror is None:
        return str(error)
    verb = "write" if error.errno in _FULL else "read"
    what = error.filename if error.filename is not None else "the output" if verb == "write" else None
    return error.strerror if what is None else f"cannot {verb} {os.fsdecode(what)}: {error.strerror}"
