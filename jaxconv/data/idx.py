"""Reader of IDX, the format of MNIST's files (LeCun, http://yann.lecun.com/exdb/mnist, 1998)."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv._base.files import open_file
from jaxconv._base.unpack import DEFLATE_RATIO, check_room

__all__ = ["decode_idx", "read_file", "read_idx"]

_UINT8 = 0x08
_LONGEST_HEAD = 20
_PIECE = 1 << 20


def read_file(path: str | Path, *, size: int | None = None, md5: str | None = None) -> bytes:
    """Read a file and verify its size and checksum.

    Args:
      path: the file.
      size: expected size in bytes.
      md5: expected checksum, in hexadecimal.

    Returns:
      Its bytes.

    Raises:
      DataError: if it cannot be read, or its size or checksum differs.
    """
    path = Path(path)
    try:
        with open_file(path) as file:
            stored = os.fstat(file.fileno()).st_size
            if size is not None and stored != size:
                what = "is truncated" if stored < size else "has bytes too many"
                raise DataError(f"{path} {what}: expected {size:,} bytes, found {stored:,}{_REPLACE}")
            check_room(path, stored)
            content = file.read()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 is not None and found != md5:
        raise DataError(f"{path} was altered: expected md5 {md5}, found {found}{_REPLACE}")
    return content


_REPLACE = "; delete it and fetch it again"


def read_idx(path: str | Path, *, size: int | None = None, md5: str | None = None) -> np.ndarray:
    """Read an IDX file of unsigned bytes, compressed by gzip or not.

    Args:
      path: the file; compression is detected from its first bytes.
      size: expected size of the stored file in bytes, if known.
      md5: expected checksum of the stored file, if known.

    Returns:
      uint8 array of the shape declared in the header.

    Raises:
      DataError: if the file is missing, truncated, altered or not an IDX file of bytes.
    """
    content = read_file(path, size=size, md5=md5)
    if content[:2] == b"\x1f\x8b":
        try:
            return _unpack(content, str(path))
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path} is truncated or altered: its gzip stream is incomplete ({error})") from None
    return decode_idx(content, str(path))


def _unpack(packed: bytes, name: str) -> np.ndarray:
    """Decode a compressed IDX file; unpacks no more than its header declares."""
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
        content = bytearray(stream.read(_LONGEST_HEAD))
        start, shape = _head(bytes(content), name)
        expected = start + math.prod(shape)
        if expected > DEFLATE_RATIO * len(packed):
            raise DataError(
                f"{name} is truncated: {_sizes(shape)} needs {expected - start:,} bytes of values, which "
                f"{len(packed):,} packed ones cannot hold"
            )
        check_room(name, expected)
        while len(content) < expected and (piece := stream.read(min(_PIECE, expected - len(content)))):
            content += piece
        if stream.read(1):
            raise DataError(f"{name} has bytes too many: {_sizes(shape)} needs {expected - start:,} bytes of values")
    return decode_idx(memoryview(content).toreadonly(), name)


def decode_idx(content: bytes | memoryview, name: str = "data") -> np.ndarray:
    """Decode the bytes of an IDX file: two zeros, type, rank, big-endian sizes, values.

    Args:
      content: the uncompressed bytes.
      name: its name in messages.

    Returns:
      uint8 array of the declared shape, a read-only view.

    Raises:
      DataError: if the header is not that of an IDX file of unsigned bytes, or the number of values is not the product
        of the sizes.

    >>> decode_idx(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]))
    array([[7, 8, 9]], dtype=uint8)
    """
    start, shape = _head(content, name)
    expected, found = math.prod(shape), len(content) - start
    if found != expected:
        what = "is truncated" if found < expected else "has bytes too many"
        raise DataError(f"{name} {what}: {_sizes(shape)} needs {expected:,} bytes of values, found {found:,}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _head(content: bytes | memoryview, name: str) -> tuple[int, tuple[int, ...]]:
    """Offset of the values, and their shape."""
    if len(content) < 4:
        raise DataError(f"{name} is truncated: an IDX file starts with 4 bytes, found {len(content)} in all")
    zeros, kind, rank = struct.unpack(">HBB", content[:4])
    if zeros != 0 or kind != _UINT8 or not 1 <= rank <= 4:
        raise DataError(
            f"{name} is not an IDX file of unsigned bytes: its magic number must be 0x00000801 to 0x00000804, "
            f"found 0x{content[:4].hex()}"
        )
    start = 4 + 4 * rank
    if len(content) < start:
        raise DataError(f"{name} is truncated: its head must have {start} bytes, found {len(content)}")
    return start, struct.unpack(f">{rank}I", content[4:start])


def _sizes(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
