"""Reader of `.npz` files."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base.errors import DataError
from jaxconv._base.files import open_file
from jaxconv._base.unpack import check_archive, check_names

__all__ = ["read_arrays"]

_MAGIC = np.lib.format.MAGIC_PREFIX
_HEADERS: dict[tuple[int, int], Callable[..., Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a `.npz` file by name, without executing pickles.

    Raises:
      DataError: if the file is missing, incomplete, not a `.npz` file of plain arrays, has duplicate names, or does not
        fit into memory.
    """
    try:
        file = open_file(path)
    except FileNotFoundError:
        raise DataError(f"cannot read {path}: there is no such file") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    with file:
        if file.read(len(_MAGIC)) == _MAGIC:
            raise DataError(f"{path} must be a .npz file of several arrays, found a single one")
        try:
            with zipfile.ZipFile(file) as archive:
                check_archive(path, archive)
                names = [member.filename.removesuffix(".npy") for member in archive.infolist()]
                check_names(path, names)
                return {name: _array(archive, member) for name, member in zip(names, archive.infolist(), strict=True)}
        except DataError:
            raise
        # An inconsistent file makes zipfile and NumPy raise nearly anything.
        except Exception as error:
            raise DataError(f"{path} is no whole .npz file of plain arrays: {error}") from None


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Read one member; its header must match the stored size, since NumPy allocates that many bytes at once."""
    name = member.filename
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"{name} has version {version} of the format")
        shape, _, dtype = _HEADERS[version](stream)
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded when allow_pickle=False")
        needed, stored = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
        if needed != stored or dtype.itemsize == 0 or min(shape, default=0) < 0:
            raise ValueError(f"{name} promises {dtype} {list(shape)}, {needed:,} bytes; {stored:,} are stored")
        stream.seek(0)
        array = np.lib.format.read_array(stream)
        stream.read()  # zipfile verifies the CRC at the end
    return array
