"""Tensors of torch and of safetensors files as NumPy arrays, each type that floating point can represent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import open_file
from jaxconv._base.unpack import check_names, check_room

__all__ = ["from_torch", "read_safetensors"]

# What safetensors calls them; the second are read as float32, for NumPy has no arithmetic for them.
_TYPES: dict[str, Any] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "C64": np.complex64, "BOOL": np.bool_,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8,
}  # fmt: skip
_SMALL: dict[str, Any] = {
    "BF16": jnp.bfloat16, "F8_E4M3": jnp.float8_e4m3fn, "F8_E5M2": jnp.float8_e5m2, "F8_E8M0": jnp.float8_e8m0fnu,
    "F8_E4M3FNUZ": jnp.float8_e4m3fnuz, "F8_E5M2FNUZ": jnp.float8_e5m2fnuz,
}  # fmt: skip


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name; bfloat16 and FP8 as float32.

    Raises:
      DataError: if the file cannot be read, is truncated, altered or no safetensors file, or holds a name twice.
      ConfigError: if a tensor has a type that NumPy cannot hold; names it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with open_file(path) as file:
            with safe_open(path, "np"):  # compares shapes and places of all tensors with the file's size
                pass
            start = 8 + int.from_bytes(file.read(8), "little")
            entries = json.loads(file.read(start - 8), object_pairs_hook=lambda pairs: _once(path, pairs))
            arrays = {}
            for name, entry in entries.items():
                if name != "__metadata__":
                    file.seek(start + entry["data_offsets"][0])
                    arrays[name] = _array(path, file, name, entry["dtype"], entry["shape"])
            return arrays
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except SafetensorError as error:
        size = path.stat().st_size
        raise DataError(
            f"{path} is truncated, altered or no safetensors file: {error}; it has {size:,} bytes\n"
            "  fix: get the file again"
        ) from None


def _once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    check_names(path, [name for name, _ in pairs])
    return dict(pairs)


def _array(path: Path, file: Any, name: str, kind: str, shape: list[int]) -> np.ndarray:
    dtype = _TYPES.get(kind) or _SMALL.get(kind)
    if dtype is None:
        raise ConfigError(_refusal(str(path), name, f"is {kind}", _WIDER))
    array = np.fromfile(file, np.uint8, int(np.prod(shape)) * np.dtype(dtype).itemsize).view(dtype).reshape(shape)
    return array.astype(np.float32) if kind in _SMALL else array


def from_torch(where: str, name: str, tensor: Any) -> np.ndarray:
    """A tensor of torch as an array: sparse ones made dense, quantized ones and small types as float32.

    Args:
      where: the file, or what stands for it.
      name: of the tensor.
      tensor: on any device.

    Raises:
      ConfigError: if it has no values, no single shape, or a type that NumPy cannot hold; names it.
      DataError: if it does not fit into memory.
    """
    import torch

    tensor = tensor.detach()
    if tensor.is_meta:
        raise ConfigError(
            _refusal(where, name, "is on the device meta, without values", "load the weights into the module first")
        )
    if tensor.is_nested:
        raise ConfigError(
            _refusal(where, name, "is a nested tensor, of several shapes", "torch.nested.to_padded_tensor")
        )
    check_room(f"{where}: {name}", 4 * tensor.numel())  # a few numbers can stand for any shape
    small = tensor.is_floating_point() and tensor.dtype not in (torch.float16, torch.float32, torch.float64)
    try:
        if tensor.is_quantized:
            tensor = tensor.dequantize()
        if tensor.layout is not torch.strided:
            tensor = tensor.to_dense()
        tensor = tensor.float() if small else tensor
        return tensor.cpu().resolve_conj().resolve_neg().numpy()
    # What torch says where it has no such conversion.
    except (TypeError, RuntimeError):
        raise ConfigError(_refusal(where, name, f"is {tensor.dtype}, {tensor.layout}", _WIDER)) from None


_WIDER = "tensor.float() in the program that wrote it"


def _refusal(where: str, name: str, what: str, fix: str) -> str:
    return f"{where} must hold tensors that NumPy can hold; {name!r} {what}\n  fix: {fix}"
