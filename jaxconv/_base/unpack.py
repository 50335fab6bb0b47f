"""Limits on the unpacked size of files, checked before unpacking."""

from __future__ import annotations

import collections
import struct
import zipfile
from collections.abc import Sequence

from jaxconv._base import limits
from jaxconv._base.errors import DataError

__all__ = ["DEFLATE_RATIO", "check_archive", "check_names", "check_room"]

DEFLATE_RATIO = 1032
"""Bytes that one byte of a deflate stream can unpack to, at most (https://zlib.net/zlib_tech.html)."""


def check_room(name: object, needed: int) -> None:
    """Check that unpacked data fits into memory.

    Args:
      name: the file, or the part of it, for the message.
      needed: unpacked size in bytes.

    Raises:
      DataError: if it does not fit.

    >>> check_room("bomb.npz", 1 << 60)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    jaxconv.DataError: bomb.npz must fit into memory: it unpacks to 1,073,741,824.0 GiB, there are ... GiB
    """
    limit = limits.process_memory_bytes()
    if needed > limit:
        sizes = ", there are ".join(f"{size / 2**30:,.1f} GiB" for size in (needed, limit))
        raise DataError(f"{name} must fit into memory: it unpacks to {sizes}")


def check_names(path: object, names: Sequence[str]) -> None:
    """Check that names are unique.

    Args:
      path: the file, for the message.
      names: all names in it.

    Raises:
      DataError: if there are duplicates.

    >>> check_names("a.npz", ["x", "y", "x"])
    Traceback (most recent call last):
    jaxconv.DataError: a.npz must hold each name once; more than once there: x
    """
    twice = sorted(name for name, times in collections.Counter(names).items() if times > 1)
    if twice:
        raise DataError(f"{path} must hold each name once; more than once there: {', '.join(twice)}")


def check_archive(path: object, archive: zipfile.ZipFile) -> None:
    """Check the table of contents of a zip archive for consistency and size.

    Args:
      path: the file, for the message.
      archive: the archive, open for reading; only its table of contents is used.

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
    """Number of members according to the last record of the archive, which zipfile does not verify."""
    assert archive.fp is not None
    archive.fp.seek(-_END.size - len(archive.comment), 2)
    signature, count, _ = _END.unpack(archive.fp.read(_END.size))
    return count if signature == b"PK\x05\x06" else -1
