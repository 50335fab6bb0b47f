"""Export weights to torch: its names, its layout, a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxconv._base.files import user_path, write_atomically
from jaxconv._base.types import InputSpec, Params, State
from jaxconv.layers.layer import Layer
from jaxconv.port.weights.leaves import leaves_of
from jaxconv.port.weights.match import PortError
from jaxconv.port.weights.names import Source, name_leaves
from jaxconv.port.weights.read import read

__all__ = ["save", "state_dict"]


def save(
    path: str | Path,
    net: Layer,
    params: Params,
    state: State,
    target: Source = "torchvision",
    *,
    x: InputSpec = (1, 224, 224, 3),
    like: Any = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Save a net's weights as a .safetensors file for torch, the inverse of `load`.

    In torch: `model.load_state_dict(safetensors.torch.load_file(path))`. The write is atomic.

    Args:
      path: the file to write or replace.
      net, params, state, target, x, like: see `state_dict`.
      metadata: further texts by name, for the file's header.

    Raises:
      PortError, ConfigError: as `state_dict`.
      OSError: if the folder is missing or cannot be written.

    >>> import tempfile
    >>> from jaxconv.layers import Dense, chain
    >>> net = chain(fc=Dense(2))
    >>> params, state = net.init(jax.random.key(0), (1, 3))
    >>> file = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> save(file, net, params, state, x=(1, 3))
    >>> {name: array.shape for name, array in read(file).items()}
    {'fc.bias': (2,), 'fc.weight': (2, 3)}
    """
    from safetensors.numpy import save as to_bytes

    arrays = state_dict(net, params, state, target, x=x, like=like)
    # safetensors writes raw buffers, so make them C-contiguous; transformers requires the `format` metadata key.
    notes = {**(metadata or {}), "format": "pt"}
    content = to_bytes({name: np.asarray(a, order="C") for name, a in arrays.items()}, metadata=notes)
    write_atomically(user_path(path), content)


def state_dict(
    net: Layer,
    params: Params,
    state: State,
    target: Source = "torchvision",
    *,
    x: InputSpec = (1, 224, 224, 3),
    like: Any = None,
) -> dict[str, np.ndarray]:
    """A net's weights under torch's names, in torch's layout.

    Args:
      net: a Layer.
      params, state: its own.
      target: naming scheme, as `source` in `load`.
      x: an input of the net: an array, a `jax.ShapeDtypeStruct` or a shape.
      like: a torch module or state dict whose names and shapes the result must have, for
        `load_state_dict(strict=True)` if it has a 1×1 convolution where the net has a dense layer; None for
        torchvision's shapes.

    Returns:
      Arrays by name, with `num_batches_tracked` = 0 for every batch norm.

    Raises:
      ConfigError: if params or state are not those of the net for this x.
      PortError: if names or shapes differ from those of `like`.

    >>> from jaxconv.layers import Conv, chain
    >>> net = chain(conv1=Conv(8, 5))
    >>> params, state = net.init(jax.random.key(0), (1, 9, 9, 3))
    >>> {name: array.shape for name, array in state_dict(net, params, state, x=(1, 9, 9, 3)).items()}
    {'conv1.bias': (8,), 'conv1.weight': (8, 3, 5, 5)}
    """
    leaves = leaves_of(net, x)
    names = name_leaves(leaves, target)
    arrays: dict[str, np.ndarray] = {}
    for leaf, array in zip(leaves, leaves.split(jax.device_get((params, state))), strict=True):
        tensor = np.ascontiguousarray(leaf.to_torch(np.asarray(array)))
        wide = leaf.keys[-1] == "layer_scale" and target == "torchvision"
        arrays[names[leaf.path]] = tensor[:, None, None] if wide else tensor
        if leaf.keys[-1] == "mean" and leaf.statistic:
            arrays[names[leaf.path].removesuffix("running_mean") + "num_batches_tracked"] = np.zeros((), np.int64)
    return arrays if like is None else _shaped(arrays, {name: array.shape for name, array in read(like).items()})


def _shaped(arrays: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The arrays reshaped to a model's shapes; all its names must be present."""
    counts = {name: array for name, array in arrays.items() if name.endswith("num_batches_tracked")}
    arrays = {name: array for name, array in arrays.items() if name not in counts or name in shapes}
    lines = [
        f"  + {name}  {list(shape)} of like is not in this net" for name, shape in shapes.items() if name not in arrays
    ]
    lines += [f"  - {name}  {list(array.shape)} is not in like" for name, array in arrays.items() if name not in shapes]
    for name, array in arrays.items():
        want = shapes.get(name, array.shape)
        alike = [n for n in want if n != 1] == [n for n in array.shape if n != 1]
        whole = len(want) > len(array.shape) == 2 and want[0] == array.shape[0] and array.size == np.prod(want)
        if alike or whole:
            arrays[name] = array.reshape(want)
        else:
            lines.append(f"  ! {name}  {list(array.shape)} here, {list(want)} in like")
    if lines:
        raise PortError("\n".join([f"this net's weights are not those of like: {len(lines)} differ", *lines]))
    return arrays
