"""Reading of regular files, atomic writes, and errors that name the file that could not be written."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["WriteError", "open_file", "read_text", "user_path", "write_atomically", "writing"]

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_file(path: str | Path) -> BinaryIO:
    """Open a regular file for reading; refuse FIFOs and devices, which may never end.

    Args:
      path: the file.

    Raises:
      OSError: if it cannot be opened or is not a regular file; `strerror` says why.

    >>> open_file("/dev/zero")
    Traceback (most recent call last):
    OSError: [Errno 22] expected a regular file, got a device: '/dev/zero'
    """
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind in _KINDS:  # checked before `open`, which blocks on a FIFO
        raise OSError(errno.EINVAL, f"expected a regular file, got {_KINDS[kind]}", str(path))
    return open(path, "rb")


def read_text(path: str | Path) -> str:
    """Read a regular file of UTF-8, with or without a byte order mark; line endings are preserved.

    Args:
      path: the file.

    Raises:
      OSError: as `open_file`.
      UnicodeDecodeError: if it is not UTF-8.
    """
    with open_file(path) as file:
        return file.read().decode("utf-8-sig")


class WriteError(OSError):
    """A file cannot be written: the disk is full, its folder is gone or read-only, or a limit is reached.

    >>> print(WriteError(28, "No space left on device", "runs/a/result.json"))
    cannot write runs/a/result.json: No space left on device
    """

    def __str__(self) -> str:
        return f"cannot write {self.filename}: {self.strerror}"


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Raise any OSError of the block as a WriteError that names `path`.

    Args:
      path: the file or folder that the block writes.

    Raises:
      WriteError: with the errno of the original error.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(error.errno, error.strerror or str(error), str(path)) from error


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file so that no partial file ever has its name, even if the process is killed.

    Args:
      path: the file to write or replace.
      content: its bytes.

    Raises:
      WriteError: if its folder is missing or not writable; an existing file is left unchanged.

    >>> folder = Path(tempfile.mkdtemp())
    >>> write_atomically(folder / "note.txt", b"complete")
    >>> [path.name for path in folder.iterdir()], (folder / "note.txt").read_text()
    (['note.txt'], 'complete')
    """
    path = Path(path)
    with writing(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            # mkstemp creates private files; give this one the permissions of any other new file.
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def user_path(text: str | Path) -> Path:
    """Expand ~ and $VARIABLES in a path: shells do not in `--out=~/run` and in configs."""
    try:
        return Path(os.path.expandvars(text)).expanduser()
    except RuntimeError:  # no such user
        return Path(text)
