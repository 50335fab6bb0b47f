"""Reading of regular files; atomic writes."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_file", "read_text", "write_atomically"]

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_file(path: str | Path) -> BinaryIO:
    """Open a regular file for reading; a FIFO or a device, which may never end, is refused.

    Args:
      path: the file.

    Raises:
      OSError: if it cannot be opened, or is no regular file; `strerror` says why.

    >>> open_file("/dev/zero")
    Traceback (most recent call last):
    OSError: [Errno 22] expected a regular file, got a device: '/dev/zero'
    """
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind in _KINDS:  # asked before `open`, which waits for the other end of a FIFO
        raise OSError(errno.EINVAL, f"expected a regular file, got {_KINDS[kind]}", str(path))
    return open(path, "rb")


def read_text(path: str | Path) -> str:
    """Read a regular file of UTF-8, with or without a byte order mark; line ends are left as they are.

    Args:
      path: the file.

    Raises:
      OSError: as `open_file`.
      UnicodeDecodeError: if it is not UTF-8.
    """
    with open_file(path) as file:
        return file.read().decode("utf-8-sig")


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file so that, whatever moment this is killed at, no partial one has the name.

    Args:
      path: the file to write or replace.
      content: its bytes.

    Raises:
      OSError: its folder is missing or cannot be written; a file that was there stays as it was.

    >>> folder = Path(tempfile.mkdtemp())
    >>> write_atomically(folder / "note.txt", b"whole")
    >>> [path.name for path in folder.iterdir()], (folder / "note.txt").read_text()
    (['note.txt'], 'whole')
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes private files; these are as readable as any file that the user makes.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
