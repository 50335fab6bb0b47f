"""Weights as plain arrays by name, from a file or from what torch holds."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv.checkpoint import read_tensors
from jaxconv.data.npz import read_arrays
from jaxconv.errors import ConfigError, DataError

__all__ = ["read"]

ENDINGS = {".safetensors": "safetensors", ".npz": "npz", ".pth": "torch", ".pt": "torch", ".bin": "torch"}
_INSIDE = ("state_dict", "model_state_dict", "model", "params", "weights")
_AROUND = ("module.", "_orig_mod.")
# The files of torchvision's DenseNets are from a time when a name could have a dot of its own.
_OLD = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")


def read(weights: Any) -> dict[str, np.ndarray]:
    """Reads tensors by name; nothing that a file holds is run.

    Args:
      weights: a state dict (of torch tensors or arrays), a torch module, or the path of a .safetensors, .pth,
        .pt, .bin or .npz file. A training checkpoint's "state_dict" is found in it, and what
        torch.nn.DataParallel and torch.compile put before every name is left out.

    Returns:
      Arrays by torch's names.

    Raises:
      DataError: the file is missing, truncated or altered, or holds code.
      ConfigError: what is no state dict, or torch is needed and not there.

    >>> read({"module.fc.weight": np.ones([2, 3])})["fc.weight"].shape
    (2, 3)
    """
    where = "weights"
    if isinstance(weights, str | Path):
        path = Path(weights).expanduser()
        where, weights = str(path), _file(path)
    elif callable(getattr(weights, "state_dict", None)):
        weights = weights.state_dict()
    arrays = {name: _array(where, name, value) for name, value in _inner(where, weights).items()}
    for prefix in _AROUND:
        if arrays and all(name.startswith(prefix) for name in arrays):
            arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return {_OLD.sub(r"\1\2", name): array for name, array in arrays.items()}


def _inner(where: str, found: Any) -> dict[str, Any]:
    """The state dict itself, where it stands among other things that a training run kept."""
    if isinstance(found, Mapping):
        inside = [word for word in _INSIDE if isinstance(found.get(word), Mapping)]
        if inside and not any(hasattr(value, "shape") for value in found.values()):
            return _inner(where, found[inside[0]])
        if found and all(isinstance(name, str) for name in found):
            return dict(found)
    came = f"a {type(found).__name__}" if not isinstance(found, Mapping) else f"a dict of {', '.join(map(str, found))}"
    raise ConfigError(
        f"{where} must be a state dict, names to tensors; got {came if found != {} else 'an empty one'}\n"
        "  fix: model.state_dict(), or the path of a .safetensors, .pth or .npz file"
    )


def _array(where: str, name: str, value: Any) -> np.ndarray:
    """A tensor of torch, jax or NumPy as NumPy's; bfloat16, which torch cannot hand over, as float32."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        return value.numpy()
    if not hasattr(value, "shape") and not isinstance(value, int | float):
        raise ConfigError(
            f"{where} must hold tensors by name; {name!r} is a {type(value).__name__}\n"
            "  fix: model.state_dict() of the torch module"
        )
    return np.asarray(value)


def _file(path: Path) -> Any:
    kind = ENDINGS.get(path.suffix.lower())
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise DataError(f"cannot read {path}: {what}")
    if kind is None:
        raise ConfigError(f"weights must be a file of {', '.join(ENDINGS)}; got {path}")
    return {"safetensors": read_tensors, "npz": read_arrays, "torch": _torch}[kind](path)


def _torch(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise ConfigError(
            f"{path} can be read by torch alone, which is not installed\n"
            "  fix: pip install torch, or a .safetensors file of the same weights"
        ) from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error).lower() and "unsupported" not in str(error).lower():
            raise DataError(f"{path} is truncated, altered or no file of torch's: {_line(error)}") from None
        asks = re.search(r"GLOBAL (\S+)", str(error))
        raise DataError(
            f"{path} holds code beside its weights: it was refused, and nothing in it was run\n"
            f"  got: {f'it asks for {asks[1]}' if asks else _line(error)}\n"
            "  fix: where you trust it, torch.save(model.state_dict(), 'weights.pth') in the program that wrote it, "
            "or a .safetensors file"
        ) from None
    except Exception as error:  # torch says nearly anything of a file that was cut or altered
        raise DataError(f"{path} is truncated, altered or no file of torch's: {_line(error)}") from None


def _line(error: Exception) -> str:
    """The first line of torch's long advice."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
