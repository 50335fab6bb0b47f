"""Search for dataset files, and download of missing ones."""

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
from jaxconv._base.files import user_path, write_atomically

__all__ = ["RemoteFile", "cache_folder", "fetch", "find_folder", "search"]

VARIABLE = "JAXCONV_DATA"
TIMEOUT_SECONDS = 30.0
SLOWEST = 50_000
"""Minimum speed of a download in bytes per second."""
_PIECE = 1 << 16
Found = TypeVar("Found")


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A published file with its size and checksum, compressed and unpacked.

    Args:
      name: published name, ending in `.gz`; the unpacked file without that ending is accepted, too.
      size: bytes of the published file.
      md5: checksum of the published file.
      plain_size: unpacked size, if known.
      plain_md5: checksum of the unpacked file, if known.
    """

    name: str
    size: int
    md5: str
    plain_size: int | None = None
    plain_md5: str | None = None

    def found_in(self, folder: Path) -> Path | None:
        """The path of this file in a folder, compressed or unpacked; None if neither exists."""
        candidates = (folder / self.name, folder / self.name.removesuffix(".gz"))
        return next((path for path in candidates if path.is_file()), None)


def cache_folder(name: str) -> Path:
    """The folder for a dataset in the user's cache.

    Args:
      name: the dataset's name.
    """
    import platformdirs

    return Path(platformdirs.user_cache_dir("jaxconv")) / name


def find_folder(name: str, files: Sequence[RemoteFile], root: str | Path | None = None) -> Path | None:
    """Find the folder of a dataset: in `root`, `$JAXCONV_DATA` or the user's cache.

    Args:
      name: name of the dataset, and of its subfolder.
      files: its files.
      root: a folder with the files, directly or in a subfolder called `name`.

    Returns:
      The first folder with every file, or None.

    Raises:
      DataError: if `root` is given but lacks some of the files (falling back to a download would hide a wrong path).
    """

    def found_in(folder: Path) -> Path | None:
        return folder if all(file.found_in(folder) for file in files) else None

    return search(name, root, found_in, lambda base: _missing(name, files, base))


def search(
    name: str, root: str | Path | None, found_in: Callable[[Path], Found | None], missing: Callable[[Path], str]
) -> Found | None:
    """Search for a dataset in `root`, `$JAXCONV_DATA` and the user's cache.

    Args:
      name: name of the dataset, and of its subfolder.
      root: a folder with the dataset, directly or in a subfolder called `name`.
      found_in: folder -> the dataset's files in it, or None if it is incomplete.
      missing: folder -> error message for a `root` without the dataset.

    Returns:
      The result of `found_in` for the first folder with the dataset, or None.

    Raises:
      DataError: if `root` is given but lacks the dataset.
    """
    # The variable is shared by all datasets and need not have this one; an explicit root must.
    bases = [user_path(base) for base in (root, os.environ.get(VARIABLE)) if base]
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
    """Download missing files to a folder; each is verified before it gets its name.

    Args:
      name: name of the dataset, for messages.
      files: files that must exist afterwards.
      bases: base URLs to try in order.
      folder: destination; created if missing.

    Returns:
      The folder.

    Raises:
      DataError: if a file could not be downloaded from any URL; lists the files, where to put them manually, and the
        environment variable of that folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot create {folder} for {name}: {error.strerror or error}") from error
    for file in files:
        if file.found_in(folder):
            continue
        reasons = []
        for base in bases:
            try:
                _fetch_one(base + file.name, file, folder / file.name)
                break
            # Broken connections raise HTTPException or OSError.
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
    """Download at most the expected size before the deadline."""
    content = bytearray()
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as reply:
        # read1 returns available data; read would wait for a complete piece, however slow.
        while len(content) <= size and time.monotonic() < deadline and (piece := reply.read1(_PIECE)):
            content += piece
    if len(content) != size:
        received = f"{len(content):,}" if len(content) < size else "more"
        raise DataError(f"expected {size:,} bytes, received {received}")
    return bytes(content)


def _offline(name: str, files: Sequence[RemoteFile], folder: Path, reasons: list[str]) -> str:
    lines = [f"{name} is not on this machine and could not be downloaded:"]
    lines += [f"  {reason}" for reason in reasons]
    lines += ["Download these files elsewhere and copy them to one folder:"]
    lines += [f"  {file.name}  ({file.size:,} bytes, md5 {file.md5})" for file in files]
    lines += [f"either {folder}, or any other that data.root or the variable {VARIABLE} names."]
    return "\n".join(lines)
