"""Read safetensors files into NumPy arrays of every dtype that JAX has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxconv._base.checksums import digest
from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import open_file
from jaxconv._base.unpack import check_names

__all__ = ["CHECKSUM", "WIDER", "read_safetensors", "refusal"]

CHECKSUM = "sha256"
"""The metadata key of the checksum that this package writes into its files."""
WIDER = "tensor.float() in the program that wrote it"

# By the format's names of them.
_DTYPES: dict[str, Any] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "C64": np.complex64, "BOOL": np.bool_,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
    "BF16": jnp.bfloat16, "F8_E4M3": jnp.float8_e4m3fn, "F8_E5M2": jnp.float8_e5m2, "F8_E8M0": jnp.float8_e8m0fnu,
    "F8_E4M3FNUZ": jnp.float8_e4m3fnuz, "F8_E5M2FNUZ": jnp.float8_e5m2fnuz,
}  # fmt: skip


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name, from any writer; its checksum is verified if it has one.

    Raises:
      DataError: if the file cannot be read, is truncated, altered or no safetensors file, or holds a name twice.
      ConfigError: if a tensor has a dtype that NumPy cannot hold; names it.

    >>> import tempfile
    >>> from safetensors.numpy import save_file
    >>> path = Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> save_file({"kernel": np.ones([2, 3], np.float32)}, path)
    >>> read_safetensors(path)["kernel"].shape
    (2, 3)
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with open_file(path) as file:
            with safe_open(path, "np"):  # compares shapes and offsets of all tensors with the file's size
                pass
            start = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(start - 8), object_pairs_hook=lambda pairs: _once(path, pairs))
            metadata, arrays = header.pop("__metadata__", {}), {}
            for name, entry in header.items():
                file.seek(start + entry["data_offsets"][0])
                arrays[name] = _array(path, file, name, entry["dtype"], entry["shape"])
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise DataError(
            f"{path} is truncated, altered or no safetensors file: {error}; it has {path.stat().st_size:,} bytes\n"
            "  fix: get the file again"
        ) from error
    if CHECKSUM in metadata and digest(arrays) != metadata[CHECKSUM]:
        raise DataError(f"{path} was altered: its arrays differ from their checksum\n  fix: get the file again")
    return arrays


def _once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    check_names(path, [name for name, _ in pairs])
    return dict(pairs)


def _array(path: Path, file: Any, name: str, kind: str, shape: list[int]) -> np.ndarray:
    if kind not in _DTYPES:
        raise ConfigError(refusal(path, name, f"is {kind}", WIDER))
    dtype = np.dtype(_DTYPES[kind])
    return np.fromfile(file, np.uint8, int(np.prod(shape)) * dtype.itemsize).view(dtype).reshape(shape)


def refusal(where: str | Path, name: str, problem: str, fix: str) -> str:
    """The message for a tensor that has no NumPy array."""
    return f"{where} must hold tensors that NumPy can hold; {name!r} {problem}\n  fix: {fix}"
