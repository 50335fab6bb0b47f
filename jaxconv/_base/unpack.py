"""Limits on what a file may unpack to, checked before it is unpacked."""

from __future__ import annotations

import collections
import os
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

from jaxconv._base.errors import DataError

__all__ = ["DEFLATE_RATIO", "available_memory", "check_archive", "check_names", "check_room"]

DEFLATE_RATIO = 1032
"""Bytes that one byte of a deflate stream can unpack to, at most (https://zlib.net/zlib_tech.html)."""

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def available_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's where that is less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in map(Path, _LIMITS):
        try:
            limits.append(int(file.read_text("utf-8")))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(limits)


def check_room(name: object, needed: int) -> None:
    """Refuse what cannot fit into memory.

    Args:
      name: the file, or the part of it, for the message.
      needed: bytes that it unpacks to.

    Raises:
      DataError: if that is more than there is.

    >>> check_room("bomb.npz", 1 << 60)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    jaxconv.DataError: bomb.npz must fit into memory: it unpacks to 1,073,741,824.0 GiB, there are ... GiB
    """
    limit = available_memory()
    if needed > limit:
        sizes = ", there are ".join(f"{size / 2**30:,.1f} GiB" for size in (needed, limit))
        raise DataError(f"{name} must fit into memory: it unpacks to {sizes}")


def check_names(path: object, names: Sequence[str]) -> None:
    """Refuse names that stand for more than one thing: which of them is meant cannot be said.

    Args:
      path: the file, for the message.
      names: all that it holds.

    Raises:
      DataError: if one comes twice.

    >>> check_names("a.npz", ["x", "y", "x"])
    Traceback (most recent call last):
    jaxconv.DataError: a.npz must hold each name once; more than once there: x
    """
    twice = sorted(name for name, times in collections.Counter(names).items() if times > 1)
    if twice:
        raise DataError(f"{path} must hold each name once; more than once there: {', '.join(twice)}")


def check_archive(path: object, archive: zipfile.ZipFile) -> None:
    """Refuse a zip archive whose table of contents is inconsistent or does not fit into memory.

    Args:
      path: the file, for the message.
      archive: open for reading; only its table of contents is looked at.

    Raises:
      DataError: if members are missing from its table, two have one name, one is encrypted or in a method other than
        stored and deflate, one claims more than its packed bytes can hold, or all together do not fit into memory.
    """
    members = archive.infolist()
    if (count := _count(archive)) not in (len(members), _ZIP64):
        raise DataError(f"{path} was altered: its end says {count} members, its table has {len(members)}")
    check_names(path, [member.filename for member in members])
    for member in members:
        packed, size, stored = member.compress_size, member.file_size, member.compress_type == zipfile.ZIP_STORED
        if member.flag_bits & 1 or not (stored or member.compress_type == zipfile.ZIP_DEFLATED):
            raise DataError(f"{path}: {member.filename} must be stored or deflated, and not encrypted")
        if size > DEFLATE_RATIO * packed or (stored and size != packed):
            raise DataError(f"{path} was altered: {member.filename} claims {size:,} bytes in {packed:,} packed ones")
    check_room(path, sum(member.file_size for member in members))


_END, _ZIP64 = struct.Struct("<4s6xH8xH"), 0xFFFF


def _count(archive: zipfile.ZipFile) -> int:
    """Members that the archive's last record says there are, which zipfile does not compare with its table."""
    assert archive.fp is not None
    archive.fp.seek(-_END.size - len(archive.comment), 2)
    signature, count, _ = _END.unpack(archive.fp.read(_END.size))
    return count if signature == b"PK\x05\x06" else -1
