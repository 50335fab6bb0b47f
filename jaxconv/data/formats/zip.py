"""Trees of images in a `.zip` file, read without unpacking."""

from __future__ import annotations

import collections
import dataclasses
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from jaxconv._base.errors import DataError
from jaxconv._base.files import open_file
from jaxconv.data.encoded import Listed, some_of
from jaxconv.data.formats.tree import IGNORED_FILES, SUFFIXES, class_folders

__all__ = ["Members", "zip_tree"]

_HEADER = struct.Struct("<26xHH")  # …, lengths of name and extra field, which precede the content
_ENCRYPTED = 1  # flag of a member
_MAC = "__MACOSX"  # folder that macOS adds


@dataclasses.dataclass(frozen=True)
class Member:
    """A file in an archive: where it begins, its bytes there and unpacked, its method and checksum."""

    start: int
    packed: int
    size: int
    method: int
    crc: int


@dataclasses.dataclass(frozen=True)
class Members:
    """Images in an archive. Each read opens it, so that threads and processes share nothing.

    Args:
      archive: the `.zip` file.
      base: it, or a folder in it.
      files: paths relative to `base`.
      members: one for each.
    """

    archive: Path
    base: Path
    files: tuple[str, ...]
    members: tuple[Member, ...]

    def key(self, row: int) -> str:
        return self.files[row]

    def mark(self, row: int) -> str:
        member = self.members[row]
        return f"{member.size} {member.crc:08x}"

    def read(self, row: int) -> bytes:
        member = self.members[row]
        try:
            with open_file(self.archive) as file:
                file.seek(member.start)
                name, extra = _HEADER.unpack(file.read(_HEADER.size))
                file.seek(name + extra, os.SEEK_CUR)
                content = file.read(member.packed)
            if member.method == zipfile.ZIP_DEFLATED:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, member.size + 1)
        except (struct.error, zlib.error):
            content = b""
        if len(content) != member.size or zlib.crc32(content) != member.crc:
            name = self.base / self.files[row]
            raise DataError(f"{name} is damaged: its checksum differs from that in {self.archive.name}")
        return content


def zip_tree(path: Path) -> tuple[Listed, Listed | None]:
    """The images of an archive; a folder that holds all others, as a folder's archive has, is left out.

    Args:
      path: the `.zip` file.

    Raises:
      DataError: as `class_folders`; if the file is no complete archive, is encrypted, or has two files of one name.
    """
    tree = _Archive(path, _members(path))
    root = path
    while len(inside := tree.folders(root)) == 1 and tree.folders(root / inside[0]) and not tree.files(root, inside[0]):
        root = root / inside[0]
    return class_folders(root, tree)


def _members(path: Path) -> dict[str, Member]:
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            found = sorted(archive.infolist(), key=lambda info: info.filename.split("/"))
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} must be a complete .zip file: {reason}") from None
    counts = collections.Counter(info.filename for info in found)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise DataError(f"{path} has files of one name: {some_of(twice)}; remove all but one of each")
    wrong = {
        "encrypted": [info.filename for info in found if info.flag_bits & _ENCRYPTED],
        "compressed by another method than deflate": [
            info.filename for info in found if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        ],
    }
    for what, names in wrong.items():
        if names:
            raise DataError(f"{path} has files that are {what}: {some_of(names)}; write it anew by zip -r")
    return {
        info.filename: Member(info.header_offset, info.compress_size, info.file_size, info.compress_type, info.CRC)
        for info in found
    }


class _Archive:
    """Folders and files of an archive: `inside` has the names in each folder, None for a folder itself."""

    def __init__(self, archive: Path, members: dict[str, Member]):
        self.archive, self.members = archive, members
        self.inside: dict[str, dict[str, bool]] = collections.defaultdict(dict)
        for name in members:
            *above, last = name.split("/")  # that of a folder ends in /
            if any(part.startswith(".") or part == _MAC for part in (*above, last)):
                continue
            for depth, part in enumerate(above):
                self.inside["/".join(above[:depth])][part] = True
            if last:
                self.inside["/".join(above)][last] = False

    def _at(self, base: Path) -> str:
        inner = base.relative_to(self.archive).as_posix()
        return "" if inner == "." else inner

    def folders(self, base: Path) -> list[str]:
        return [name for name, is_folder in self.inside[self._at(base)].items() if is_folder]

    def files(self, base: Path, folder: str) -> list[str]:
        """Names of the files that are directly in a folder."""
        return [name for name, is_folder in self.inside[self._at(base / folder)].items() if not is_folder]

    def below(self, base: Path, folder: str) -> Iterator[tuple[str, int | None]]:
        for name, is_folder in self.inside[self._at(base / folder)].items():
            path = f"{folder}/{name}"
            if is_folder:
                yield from self.below(base, path)
            elif name not in IGNORED_FILES:
                size = self.members[self._at(base / path)].size
                yield path, size if name.lower().endswith(SUFFIXES) else None

    def store(self, base: Path, files: tuple[str, ...], sizes: tuple[int, ...]) -> Members:
        return Members(self.archive, base, files, tuple(self.members[self._at(base / file)] for file in files))
