"""Folder of a run: created, reserved, locked."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from jaxconv._base.errors import ConfigError
from jaxconv._base.files import write_atomically, writing
from jaxconv._base.locks import file_lock
from jaxconv._base.processes import agreed, first

__all__ = ["at_once", "check_new", "combination_name", "locked", "made", "new_folder", "reserved", "short_name"]

_LOCK = ".lock"
_LONGEST_NAME = 220  # bytes; file systems take 255, and a date and a number may follow


def short_name(name: str) -> str:
    """Shorten a name that is too long for file systems to its first bytes and a checksum.

    >>> short_name("seed=0"), len(short_name("x" * 300))
    ('seed=0', 220)
    """
    content = name.encode()
    if len(content) <= _LONGEST_NAME:
        return name
    return f"{content[: _LONGEST_NAME - 13].decode(errors='ignore')}-{hashlib.sha256(content).hexdigest()[:12]}"


def combination_name(values: Mapping[str, str], prefix: str = "") -> str:
    """Folder name of a combination of a sweep's values.

    >>> combination_name({"optim.learning_rate": "0.1", "seed": "0"})
    'learning_rate=0.1,seed=0'
    """
    found = [(key.strip().rpartition(".")[2], re.sub(r"[^\w.+-]+", "_", text.strip())) for key, text in values.items()]
    return short_name(prefix + ",".join(f"{key}={text}" for key, text in found)) or "run"


def new_folder(stem: str, parent: str | Path = "runs") -> Path:
    """Make an empty folder for a run: `runs/<stem>-<YYYYmmdd-HHMMSS>`, `-2` and so on where that exists.

    Runs that start in the same second get different folders.

    Args:
      stem: name of the config file without its ending.
      parent: folder of all runs.

    Raises:
      WriteError: if it cannot be made.
    """
    name = f"{short_name(stem)}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    with writing(Path(parent) / name):
        Path(parent).mkdir(parents=True, exist_ok=True)
        for ending in itertools.chain([""], (f"-{number}" for number in itertools.count(2))):
            path = Path(parent) / f"{name}{ending}"
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                break
    return path


@contextlib.contextmanager
def reserved(stem: str, parent: str | Path = "runs") -> Iterator[Path]:
    """`new_folder`, removed at the end of the block if it is still empty; the same in all processes.

    Args:
      stem: name of the config file without its ending.
      parent: folder of all runs.
    """
    path = Path(agreed(str(new_folder(stem, parent)) if first() else "", "folder"))
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):  # it is not empty
            path.rmdir()


def check_new(folder: Path) -> None:
    """Raise ConfigError if a run would overwrite something."""
    if first() and folder.exists() and (not folder.is_dir() or any(entry.name != _LOCK for entry in folder.iterdir())):
        raise ConfigError(f"refusing to overwrite {folder}; give --out another folder")


@contextlib.contextmanager
def made(folder: Path, text: str) -> Iterator[None]:
    """Make a run's folder with its config, and lock it; only the first process does so.

    Args:
      folder: the run's; must be missing or empty.
      text: content of `config.toml`.

    Raises:
      ConfigError: if it is not empty, or another process writes to it.
      WriteError: if it cannot be written; nothing is left behind.
    """
    if not first():
        yield
        return
    check_new(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        check_new(folder)  # another process may have written to it since
        try:
            write_atomically(folder / "config.toml", text.encode())
        except OSError:
            (folder / _LOCK).unlink()
            folder.rmdir()
            raise
        yield


@contextlib.contextmanager
def at_once(folder: Path) -> Iterator[Path]:
    """A folder to write into, which gets its name at the end of the block: it is complete, or does not exist.

    Args:
      folder: must be missing or empty.

    Raises:
      ConfigError: if it is not empty.
      WriteError: if it cannot be written; nothing is left behind.
    """
    check_new(folder)
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name[:100]}.") as temporary:
            inner = Path(temporary) / "run"
            inner.mkdir()  # with the permissions of any other
            yield inner
            os.replace(inner, folder)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a run against other runs; the lock is the first process's, and ends with it.

    Raises:
      ConfigError: if another process has it.
      WriteError: if the lock file cannot be written.
    """
    if not first():
        yield
        return
    with file_lock(folder / _LOCK, f"{folder} is being written by another process; wait for it, or stop it"):
        yield
