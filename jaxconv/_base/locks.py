"""Locks of files between processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from jaxconv._base.errors import ConfigError
from jaxconv._base.files import WriteError, writing

__all__ = ["file_lock"]


@contextlib.contextmanager
def file_lock(path: Path, busy: str | None) -> Iterator[None]:
    """Lock a file against other processes; the lock ends with the block or its process.

    Whoever has the lock may remove the file.

    Args:
      path: the file, made if it is missing.
      busy: the message if another process has the lock; None to wait for it.

    Raises:
      ConfigError: if another process has it.
      WriteError: if it cannot be written.
    """
    while True:
        with writing(path):
            handle = open(path, "w", encoding="utf-8")  # noqa: SIM115
        with handle:
            try:
                with writing(path):
                    fcntl.flock(handle, fcntl.LOCK_EX | (0 if busy is None else fcntl.LOCK_NB))
            except WriteError as error:
                if busy is None or error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                raise ConfigError(busy) from None
            if _is_at(handle.fileno(), path):
                yield
                return


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file still has this name: its last owner may have removed it in between."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False
