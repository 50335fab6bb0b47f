"""Folders of photographs, one subfolder per class."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from jaxconv._base.errors import DataError
from jaxconv._base.files import open_file
from jaxconv.data.encoded import Listed, some_of
from jaxconv.data.formats.shards import entries
from jaxconv.data.formats.tree import IGNORED_FILES, SUFFIXES, class_folders

__all__ = ["Files", "folder"]


@dataclasses.dataclass(frozen=True)
class Files:
    """Images in files of their own.

    Args:
      base: folder of the files.
      files: paths relative to it.
      sizes: bytes of each.
    """

    base: Path
    files: tuple[str, ...]
    sizes: tuple[int, ...]

    def key(self, row: int) -> str:
        return self.files[row]

    def mark(self, row: int) -> int:
        return self.sizes[row]

    def read(self, row: int) -> bytes:
        with open_file(self.base / self.files[row]) as file:
            return file.read()


def folder(root: Path) -> tuple[Listed, Listed | None]:
    """The images of a folder.

    Args:
      root: the folder.

    Raises:
      DataError: as `class_folders`; if a folder cannot be read or a link to one is broken.
    """
    return class_folders(root, _Disk())


class _Disk:
    """Folders and files of a file system."""

    store = Files

    def folders(self, base: Path) -> list[str]:
        if not base.is_dir():
            return []
        found = [entry for entry in entries(base) if not entry.name.startswith(".")]
        if lost := [entry.name for entry in found if _is_broken_link(entry)]:
            raise DataError(f"{base} has broken links: {some_of(lost)}")
        return [entry.name for entry in found if entry.is_dir()]

    def below(self, base: Path, folder: str) -> Iterator[tuple[str, int | None]]:
        return _below(base, folder, ())


def _is_broken_link(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a symbolic link that cannot be followed."""
    try:
        entry.stat()
    except OSError:
        return entry.is_symlink()
    return False


def _below(base: Path, folder: str, above: tuple[Path, ...]) -> Iterator[tuple[str, int | None]]:
    """Paths of all files below a folder, with the size of each image; None for others, and for a link to a parent."""
    above = (*above, (base / folder).resolve())
    for entry in entries(base / folder):
        path = f"{folder}/{entry.name}"
        if entry.name.startswith(".") or entry.name in IGNORED_FILES:
            continue
        if os.path.isdir(entry) and not any(parent.is_relative_to(Path(entry).resolve()) for parent in above):
            yield from _below(base, path, above)
        else:
            yield path, _size(entry) if entry.name.lower().endswith(SUFFIXES) else None


def _size(entry: os.DirEntry[str]) -> int | None:
    """Size of a file; 0 for a broken link, an unreadable image that `corrupt` handles; None for anything else."""
    if _is_broken_link(entry):
        return 0
    return entry.stat().st_size if entry.is_file() else None
