"""Read weights into NumPy arrays by name, from a file, a state dict or a torch module."""

from __future__ import annotations

import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import open_file, read_text, user_path
from jaxconv._base.npz import read_arrays
from jaxconv._base.safetensors import read_safetensors
from jaxconv._base.unpack import check_archive, check_names
from jaxconv.port.weights.tensors import from_torch

__all__ = ["read"]

ENDINGS = {
    ".safetensors": "safetensors", ".npz": "npz",
    ".pth": "torch", ".pt": "torch", ".bin": "torch", ".ckpt": "torch", ".pth.tar": "torch",
    ".safetensors.index.json": "shards", ".bin.index.json": "shards",
}  # fmt: skip
# Of a folder's files: those that save_pretrained writes, else an index, else the only file of weights.
_IN_FOLDER = (
    "model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin",
    "*.index.json", "*",
)  # fmt: skip
_INSIDE = ("state_dict", "model_state_dict", "model", "params", "weights")
_DEEPEST = 8
_PARALLEL, _COMPILED, _AVERAGED = "module.", re.compile(r"(?:^|(?<=\.))_orig_mod\."), "n_averaged"
# torchvision's DenseNet files predate the rule that a module's name has no dot.
_OLD = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")


def read(weights: Any, entry: str | None = None) -> dict[str, np.ndarray]:
    """Read tensors by name. No code in a file is executed.

    Args:
      weights: a state dict (of torch tensors or arrays), a torch module, or the path of a .safetensors, .pth,
        .pt, .bin, .ckpt, .pth.tar, .npz, .safetensors.index.json or .bin.index.json file, or of a folder with one of
        them. The "state_dict" of a training checkpoint is found in it, and the prefixes of DataParallel,
        torch.compile and AveragedModel are removed. bfloat16 and FP8 become float32, sparse tensors dense, and
        quantized ones their values.
      entry: key of the state dict in a checkpoint that has several, such as "model_ema"; "/" joins nested keys. None
        for the trained weights ("state_dict", "model", ...), with a UserWarning that lists the others.

    Returns:
      Arrays by torch's names.

    Raises:
      DataError: if the file is missing, truncated or altered, or holds code.
      ConfigError: if it holds no state dict or no such entry, or torch is needed and not installed.

    >>> read({"module.fc.weight": np.ones([2, 3])})["fc.weight"].shape
    (2, 3)
    """
    where = "weights"
    if isinstance(weights, str | Path):
        path = user_path(weights)
        where, weights = str(path), _file(path)
    elif callable(getattr(weights, "state_dict", None)):
        weights = weights.state_dict()
    inner = _inner(where, weights if entry is None else _entry(where, weights, entry), warn=entry is None)
    arrays = {name: _array(where, name, value) for name, value in inner.items()}
    names = plain_names(arrays)
    check_names(where, list(names.values()))
    return {names[name]: array for name, array in arrays.items() if name in names}


def plain_names(given: Iterable[str]) -> dict[str, str]:
    """Each name without the prefixes of DataParallel, torch.compile and AveragedModel."""
    names = {name: _COMPILED.sub("", name) for name in given}
    averaged = names.keys() - {_AVERAGED}
    while averaged and all(names[name].startswith(_PARALLEL) for name in averaged):
        names = {name: names[name].removeprefix(_PARALLEL) for name in averaged}
    return {name: _OLD.sub(r"\1\2", plain) for name, plain in names.items()}


def _entry(where: str, found: Any, entry: str) -> Any:
    """The part of a checkpoint under a key, or under several joined by "/"."""
    for key in entry.split("/"):
        if not (isinstance(found, Mapping) and isinstance(found.get(key), Mapping)):
            dicts = _state_dicts(found) if isinstance(found, Mapping) else []
            known = ", ".join(map(repr, dicts)) or "no state dict under a key of its own"
            raise ConfigError(f"entry must be a key of {where}, which has {known}; got {entry!r}")
        found = found[key]
    return found


def _state_dicts(found: Mapping[Any, Any]) -> list[str]:
    """The keys of a checkpoint under which it has state dicts."""
    return [name for name, value in found.items() if isinstance(name, str) and _is_state_dict(value)]


def _inner(where: str, found: Any, warn: bool) -> dict[str, Any]:
    """The state dict in a training checkpoint."""
    for _ in range(_DEEPEST):
        inside = [word for word in _INSIDE if isinstance(found, Mapping) and isinstance(found.get(word), Mapping)]
        if not inside:
            break
        others = ", ".join(repr(name) for name in _state_dicts(found) if name != inside[0])
        if others and warn:
            warnings.warn(
                f"loaded {inside[0]!r} of {where}, which also has {others}: entry=... loads another",
                stacklevel=4,
            )
        found = found[inside[0]]
    else:
        raise ConfigError(f"{where} must be a state dict; got dicts in dicts, more than {_DEEPEST} deep")
    if isinstance(found, Mapping) and found and all(isinstance(name, str) for name in found):
        dicts = _state_dicts(found)
        # A few tensors beside it are the trainer's: its best accuracy, the state of a random generator.
        beside = sum(_is_tensor(value) for value in found.values())
        if len(dicts) == 1 and len(found[dicts[0]]) >= beside:
            return dict(found[dicts[0]])
        if len(dicts) > 1:
            raise ConfigError(
                f"{where} must hold one state dict; it has {len(dicts)}, {', '.join(map(repr, dicts))}\n"
                f"  fix: entry={dicts[0]!r}"
            )
        return dict(found)
    came = f"a {type(found).__name__}" if not isinstance(found, Mapping) else f"a dict of {', '.join(map(str, found))}"
    raise ConfigError(
        f"{where} must be a state dict, names to tensors; got {came if found != {} else 'an empty one'}\n"
        "  fix: model.state_dict(), or the path of a .safetensors, .pth or .npz file"
    )


def _is_state_dict(value: Any) -> bool:
    """Whether a value maps names to tensors."""
    if not (isinstance(value, Mapping) and value):
        return False
    return all(isinstance(name, str) and _is_tensor(tensor) for name, tensor in value.items())


def _is_tensor(value: Any) -> bool:
    """Whether a value is an array; torch's nested tensors raise if they are asked for their shape."""
    return hasattr(type(value), "shape")


def _array(where: str, name: str, value: Any) -> np.ndarray:
    """A tensor of torch, jax or NumPy as a NumPy array."""
    if hasattr(value, "detach"):
        return from_torch(where, name, value)
    if not _is_tensor(value) and not isinstance(value, int | float):
        raise ConfigError(
            f"{where} must hold tensors by name; {name!r} is a {type(value).__name__}\n"
            "  fix: model.state_dict() of the torch module"
        )
    return np.asarray(value)


def _file(path: Path) -> Any:
    if os.path.isdir(path):
        path = _in_folder(path)
    kind = next((kind for ending, kind in ENDINGS.items() if path.name.lower().endswith(ending)), None)
    try:
        open_file(path).close()
    except FileNotFoundError:
        raise DataError(f"cannot read {path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"cannot read {path}: it is a folder without a file of weights") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    if kind is None:
        raise ConfigError(f"weights must be a file of {', '.join(ENDINGS)}; got {path}")
    return {"safetensors": _safetensors, "npz": read_arrays, "torch": _torch, "shards": _shards}[kind](path)


def _in_folder(folder: Path) -> Path:
    """The file of weights in a folder; the folder itself if there is none."""
    for pattern in _IN_FOLDER:
        found = [path for path in sorted(folder.glob(pattern)) if path.name.lower().endswith(tuple(ENDINGS))]
        if len(found) > 1:
            names = ", ".join(path.name for path in found[:8])
            raise ConfigError(f"{folder} must hold one file of weights; it has {len(found)}: {names}")
        if found:
            return found[0]
    return folder


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of one file; bfloat16 and FP8, which NumPy has no arithmetic for, as float32."""
    from safetensors import safe_open

    arrays = read_safetensors(path)
    wide = {name: array if array.dtype.isbuiltin == 1 else array.astype(np.float32) for name, array in arrays.items()}
    with safe_open(path, "np") as file:
        metadata = file.metadata() or {}
    # `save_model` writes tied tensors once; its metadata has their other names.
    return wide | {name: wide[kept] for name, kept in metadata.items() if kept in wide and name not in wide}


def _shards(path: Path) -> dict[str, Any]:
    """The tensors of all files in a sharded checkpoint's index."""
    try:
        places = json.loads(read_text(path))["weight_map"]
        files = sorted({file for file in places.values() if Path(file).name == file})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(f'{path} must hold a "weight_map" of names to files beside it') from None
    shards = {file: _file(path.with_name(file)) for file in files if file.endswith((".safetensors", ".bin"))}
    if lost := [name for name, file in places.items() if name not in shards.get(file, ())]:
        raise DataError(f"{path} lists {len(lost)} tensors that are not in their files: {', '.join(lost[:8])}")
    return {name: shards[file][name] for name, file in places.items()}


def _torch(path: Path) -> Any:
    try:
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ConfigError(
            f"{path} needs torch, which is not installed\n"
            "  fix: pip install torch, or a .safetensors file of the same weights"
        ) from None
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_archive(path, archive)
        return torch.load(path, map_location="cpu", weights_only=True)
    except DataError:
        raise
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error).lower() and "unsupported" not in str(error).lower():
            raise DataError(f"{path} is truncated, altered or no file of torch's: {_line(error)}") from None
        asks = re.search(r"GLOBAL (\S+)", str(error))
        raise DataError(
            f"{path} holds code beside its weights: refused, and no code was executed\n"
            f"  got: {f'it needs {asks[1]}' if asks else _line(error)}\n"
            "  fix: if you trust it, torch.save(model.state_dict(), 'weights.pth') in the program that wrote it, "
            "or a .safetensors file"
        ) from None
    except Exception as error:  # torch raises nearly anything for a truncated or altered file
        raise DataError(f"{path} is truncated, altered or no file of torch's: {_line(error)}") from None


def _line(error: Exception) -> str:
    """The first line of torch's message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
