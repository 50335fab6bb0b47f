"""Tensors of torch as NumPy arrays, for every dtype that floating point can represent."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv._base.safetensors import WIDER, refusal
from jaxconv._base.unpack import check_room

__all__ = ["from_torch"]


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
    import torch  # pyright: ignore[reportMissingImports]

    tensor = tensor.detach()
    if tensor.is_meta:
        raise ConfigError(
            refusal(where, name, "is on the device meta, without values", "load the weights into the module first")
        )
    if tensor.is_nested:
        raise ConfigError(
            refusal(where, name, "is a nested tensor, of several shapes", "torch.nested.to_padded_tensor")
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
        raise ConfigError(refusal(where, name, f"is {tensor.dtype}, {tensor.layout}", WIDER)) from None
