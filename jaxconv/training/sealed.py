"""Content of one checkpoint: arrays as they are sharded, metadata, and a checksum of both.

Each part of an array is saved by the process that has it, and restored with any other sharding on any number of
processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from jaxconv._base.checksums import cell_sums, digest
from jaxconv._base.paths import leaf_names
from jaxconv._base.processes import gathered
from jaxconv.training.checkpoint import as_keys, fitted, without_keys
from jaxconv.training.placement import put

T = TypeVar("T")

__all__ = ["pack", "read", "score_of"]

_NOTES, _ARRAYS, _SUM, _SCORE = "notes", "arrays", "sha256", "score"


def pack(tree: Any, notes: dict[str, Any], score: float | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Orbax saves of a checkpoint: arrays by name, which are copies, and the metadata with checksums.

    Args:
      tree: a pytree of arrays, which may contain random keys.
      notes: metadata that JSON can represent.
      score: higher is better; None if not evaluated.
    """
    named = zip(leaf_names(tree), jax.tree.leaves(without_keys(tree)), strict=True)
    arrays = {_escape(name): _copy(leaf) for name, leaf in named}
    sums = _sums(arrays)
    listed = {name: [list(leaf.shape), np.dtype(leaf.dtype).name, sums[name]] for name, leaf in arrays.items()}
    sealed: dict[str, Any] = {_NOTES: notes, _ARRAYS: listed} | ({} if score is None else {_SCORE: score})
    return arrays, sealed | {_SUM: digest({}, sealed)}


def read(path: Path, like: T) -> tuple[T, dict[str, Any]]:
    """Read a checkpoint: its tree and its `notes`.

    Orbax's manager would wait for the other processes, one of which may find damage.

    Args:
      path: folder of the checkpoint.
      like: a tree of arrays or `jax.ShapeDtypeStruct`s with the expected names, shapes, dtypes and shardings; those
        without a sharding are restored on the default device.

    Raises:
      ConfigError: if names, shapes or dtypes are not those of `like`.
      Exception: of any kind, if the checkpoint is damaged.
    """
    import orbax.checkpoint as orbax

    state: Any = orbax.StandardCheckpointHandler()
    sealed = _metadata(path)
    expected = jax.eval_shape(without_keys, like)
    names, leaves, structure = leaf_names(expected), *jax.tree.flatten(expected)
    default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    places = [getattr(leaf, "sharding", None) or default for leaf in jax.tree.leaves(like)]
    if _ARRAYS not in sealed:
        whole, notes = _verified_whole(state.restore(path / "state"), sealed)
        tree = fitted(path, expected, {_unescape(name): leaf for name, leaf in whole.items()})
        return as_keys(like, jax.tree.unflatten(structure, map(put, jax.tree.leaves(tree), places))), notes
    if digest({}, {key: value for key, value in sealed.items() if key != _SUM}) != sealed[_SUM]:
        raise ValueError("its metadata differs from its checksum")
    listed = sealed[_ARRAYS]
    fitted(path, expected, {_unescape(name): _struct(shape, dtype) for name, (shape, dtype, _) in listed.items()})
    structs = (_struct(leaf.shape, leaf.dtype, place) for leaf, place in zip(leaves, places, strict=True))
    wanted = dict(zip(map(_escape, names), structs, strict=True))
    found = state.restore(path / "state", args=orbax.args.StandardRestore(wanted))
    if _sums(found) != {name: total for name, (_, _, total) in listed.items()}:
        raise ValueError("its content differs from its checksum")
    tree = jax.tree.unflatten(structure, [found[_escape(name)] for name in names])
    return as_keys(like, tree), sealed[_NOTES]


def score_of(path: Path) -> float | None:
    """The score of a checkpoint; None if it has none or is damaged.

    Args:
      path: folder of the checkpoint.
    """
    try:
        return float(_metadata(path)[_SCORE])
    except Exception:  # Orbax and JSON raise anything on an altered file, and `read` reports it
        return None


def _metadata(path: Path) -> dict[str, Any]:
    import orbax.checkpoint as orbax

    handler: Any = orbax.JsonCheckpointHandler()
    return handler.restore(path / "notes")


def _verified_whole(found: dict[str, Any], sealed: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays and the metadata of a checkpoint of a version that saved whole arrays."""
    if not {_NOTES, _SUM} & sealed.keys():  # written by a version without checksums
        return found, sealed
    if digest(found, sealed[_NOTES]) != sealed[_SUM]:
        raise ValueError("its content differs from its checksum")
    return found, sealed[_NOTES]


# Orbax would create a folder for each component of a name.
_SLASH = "|"


def _escape(name: str) -> str:
    return name.replace("/", _SLASH)


def _unescape(name: str) -> str:
    return name.replace(_SLASH, "/")


def _struct(shape: Sequence[int], dtype: Any, sharding: Any = None) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(shape), np.dtype(dtype), sharding=sharding)


def _sums(arrays: dict[str, Any]) -> dict[str, int]:
    """The checksum of each array, of which every process has parts."""
    everywhere = gathered(cell_sums(arrays), "checksums")
    return {name: sum(found[name] for found in everywhere) % 2**64 for name in arrays}


def _copy(leaf: Any) -> Any:
    """A copy of an array on CPUs, whose donated buffers are reused while Orbax writes; it copies others itself."""
    if not isinstance(leaf, jax.Array):
        return np.array(leaf)
    if any(shard.device.platform != "cpu" for shard in leaf.addressable_shards):
        return leaf
    parts = [jax.device_put(np.array(shard.data), shard.device) for shard in leaf.addressable_shards]
    return jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, parts)
