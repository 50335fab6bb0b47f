"""Finding files on this machine and fetching those that are missing."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from jaxconv._base.deadline import within
from jaxconv._base.errors import DataError
from jaxconv._base.files import write_atomically

__all__ = ["RemoteFile", "cache_folder", "fetch", "find_folder", "search"]

VARIABLE = "JAXCONV_DATA"
TIMEOUT_SECONDS = 30.0
SLOWEST = 50_000
"""Bytes a second, below which a download is given up."""
_PIECE = 1 << 16
Found = TypeVar("Found")


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, and the size and checksum it has as published and unpacked.

    Args:
      name: as published, ending in `.gz`; it may also lie unpacked, without that ending.
      size: bytes of the published file.
      md5: checksum of the published file.
      plain_size: bytes after unpacking, where they are known.
      plain_md5: checksum after unpacking, where it is known.
    """

    name: str
    size: int
    md5: str
    plain_size: int | None = None
    plain_md5: str | None = None

    def found_in(self, folder: Path) -> Path | None:
        """The path of this file in a folder, packed or unpacked; None where neither lies there."""
        candidates = (folder / self.name, folder / self.name.removesuffix(".gz"))
        return next((path for path in candidates if path.is_file()), None)


def cache_folder(name: str) -> Path:
    """The folder of the user's own cache that holds a data set.

    Args:
      name: the data set's name.
    """
    import platformdirs

    return Path(platformdirs.user_cache_dir("jaxconv")) / name


def find_folder(name: str, files: Sequence[RemoteFile], root: str | Path | None = None) -> Path | None:
    """Look for a data set: in `root`, else in `$JAXCONV_DATA`, else in the user's cache.

    Args:
      name: the data set's name, and of the sub-folder that may hold it.
      files: what it consists of.
      root: a folder that holds the files directly or in a sub-folder called `name`.

    Returns:
      The first folder that holds every file, or None.

    Raises:
      DataError: `root` is given but lacks some of the files: to go on and download would hide
        that the wrong place was given.
    """

    def found_in(folder: Path) -> Path | None:
        return folder if all(file.found_in(folder) for file in files) else None

    return search(name, root, found_in, lambda base: _missing(name, files, base))


def search(
    name: str, root: str | Path | None, found_in: Callable[[Path], Found | None], missing: Callable[[Path], str]
) -> Found | None:
    """Ask one folder after the other for a data set: of `root`, of `$JAXCONV_DATA`, of the user's cache.

    Args:
      name: the data set's name, and of the sub-folder that may hold it.
      root: a folder that holds it directly or in a sub-folder called `name`.
      found_in: what a folder holds of it; None where it lacks something.
      missing: what to say of a `root` that holds nothing.

    Returns:
      What `found_in` says of the first folder that holds it, or None.

    Raises:
      DataError: `root` is given but lacks it.
    """
    # The variable is shared by all sets and need not hold this one; an explicit root must.
    bases = [Path(base).expanduser() for base in (root, os.environ.get(VARIABLE)) if base]
    for index, base in enumerate(bases):
        for folder in (base, base / name):
            if (found := found_in(folder)) is not None:
                return found
        if root and index == 0:
            raise DataError(missing(base))
    return found_in(cache_folder(name))


def _missing(name: str, files: Sequence[RemoteFile], base: Path) -> str:
    where = f"data.root = {base} does not hold {name}"
    if not base.is_dir():
        return f"{where}: there is no such folder"
    lacking = [file.name for file in files if not (file.found_in(base) or file.found_in(base / name))] or [
        file.name for file in files
    ]
    return f"{where}; not found there or in {base / name} (with or without .gz): {', '.join(lacking)}"


def fetch(name: str, files: Sequence[RemoteFile], bases: Sequence[str], folder: Path) -> Path:
    """Download what a folder lacks, each file checked before it gets its name.

    Args:
      name: the data set's name, for errors.
      files: what must lie in the folder afterwards.
      bases: addresses to try in order; a file's name is appended to each.
      folder: where to put them; made if missing.

    Returns:
      The folder.

    Raises:
      DataError: a file could not be had from any address; lists the files, where they may be
        put by hand, and the variable that says where they lie.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make {folder} to keep {name} in: {error.strerror or error}") from error
    for file in files:
        if file.found_in(folder):
            continue
        reasons = []
        for base in bases:
            try:
                _fetch_one(base + file.name, file, folder / file.name)
                break
            # HTTPException and OSError together cover everything that a broken connection raises.
            except (OSError, http.client.HTTPException, DataError) as error:
                if isinstance(error, urllib.error.HTTPError):
                    error.close()  # it holds the connection
                reasons.append(f"{base}{file.name}: {getattr(error, 'reason', None) or error}")
        else:
            raise DataError(_offline(name, files, folder, reasons))
    return folder


def _fetch_one(url: str, file: RemoteFile, target: Path) -> None:
    limit = TIMEOUT_SECONDS + file.size / SLOWEST
    content = within(limit, lambda: _received(url, file.size, time.monotonic() + limit))
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != file.md5:
        raise DataError(f"expected md5 {file.md5}, received {found}")
    write_atomically(target, content)


def _received(url: str, size: int, deadline: float) -> bytes:
    """The bytes at an address, no more than there should be, and none after the deadline."""
    content = bytearray()
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as reply:
        # read1 returns with what has come; read would wait for a whole piece, however slowly it comes.
        while len(content) <= size and time.monotonic() < deadline and (piece := reply.read1(_PIECE)):
            content += piece
    if len(content) != size:
        received = f"{len(content):,}" if len(content) < size else "more"
        raise DataError(f"expected {size:,} bytes, received {received}")
    return bytes(content)


def _offline(name: str, files: Sequence[RemoteFile], folder: Path, reasons: list[str]) -> str:
    lines = [f"{name} is not on this machine and could not be downloaded:"]
    lines += [f"  {reason}" for reason in reasons]
    lines += ["Get these files on any machine and put them together in one folder:"]
    lines += [f"  {file.name}  ({file.size:,} bytes, md5 {file.md5})" for file in files]
    lines += [f"either {folder}, or any other that data.root or the variable {VARIABLE} names."]
    return "\n".join(lines)
