"""Writing files so that nothing half-written ever looks whole."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["write_atomically"]


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
