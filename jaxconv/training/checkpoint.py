"""Save and load a pytree as one safetensors file, each leaf under its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxconv._base.checksums import digest
from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import write_atomically
from jaxconv._base.paths import leaf_names

__all__ = ["fitted", "load", "read_tensors", "save"]

_SUM = "sha256"


def save(path: str | Path, tree: Any) -> None:
    """Write every leaf of a tree, and a checksum of them all; the file appears whole or not at all.

    Args:
      path: the file to write or replace.
      tree: a pytree of arrays.

    Raises:
      ConfigError: two leaves have the same name.
      WriteError: the file cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    names, leaves = leaf_names(tree), jax.device_get(jax.tree.leaves(tree))
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigError(f"leaves must have different names; more than one is called {', '.join(twice)}")
    # safetensors stores memory as it lies: row-major is made sure of. ascontiguousarray would turn
    # a scalar into a vector.
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in zip(names, leaves, strict=True)}
    write_atomically(path, to_bytes(arrays, {_SUM: digest(arrays)}))


def load(path: str | Path, like: Any) -> Any:
    """Read a tree that `save` wrote.

    Args:
      path: the file.
      like: a tree of arrays or `jax.ShapeDtypeStruct`s that says what must be there:
        `jax.eval_shape(net.init, key, x)` makes one without computing anything.

    Returns:
      A tree of the structure of `like`, with the file's values.

    Raises:
      DataError: the file is missing, unreadable, truncated, altered or no safetensors file.
      ConfigError: its names, shapes or types are not those of `like`; lists both trees and
        marks every difference.

    >>> import tempfile, pathlib
    >>> import jax.numpy as jnp
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "tree.safetensors"
    >>> save(file, {"a": jnp.arange(3), "b": {}})
    >>> load(file, {"a": jax.ShapeDtypeStruct([3], jnp.int32), "b": {}})
    {'a': Array([0, 1, 2], dtype=int32), 'b': {}}
    """
    return fitted(path, like, read_tensors(path))


def read_tensors(path: str | Path) -> dict[str, jax.Array]:
    """The arrays of a safetensors file by name, whatever wrote it; compared with its checksum where it has one.

    Raises:
      DataError: the file is missing, unreadable, truncated, altered or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.flax import load_file  # the reader for NumPy knows no bfloat16; this one makes plain jax arrays

    try:
        open(path, "rb").close()  # safetensors reports every file that it cannot open as missing
        with jax.ensure_compile_time_eval():
            found = load_file(path)
        with safe_open(path, "numpy") as file:
            expected = (file.metadata() or {}).get(_SUM)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        size = Path(path).stat().st_size
        raise DataError(
            f"{path} is truncated, altered or no safetensors file: {error}; it has {size:,} bytes\n"
            "  fix: get the file again"
        ) from error
    if expected is not None and digest(found) != expected:
        raise DataError(f"{path} was altered: its arrays differ from their checksum\n  fix: get the file again")
    return found


def fitted(path: str | Path, like: Any, found: dict[str, Any]) -> Any:
    """What was read, as a tree of the structure of `like`.

    Raises:
      ConfigError: names, shapes or types differ.
    """
    leaves, structure = jax.tree.flatten(like)
    names = leaf_names(like)
    expected = {name: _describe(leaf) for name, leaf in zip(names, leaves, strict=True)}
    actual = {name: _describe(leaf) for name, leaf in found.items()}
    if expected != actual:
        raise ConfigError(_difference(path, expected, actual))
    return jax.tree.unflatten(structure, [found[name] for name in names])


def _describe(leaf: Any) -> str:
    return f"{list(leaf.shape)} {np.dtype(leaf.dtype).name}"


def _difference(path: str | Path, expected: dict[str, str], actual: dict[str, str]) -> str:
    """Both trees beside each other, each leaf once, with a mark before those that differ."""
    rows = []
    for name in sorted(expected.keys() | actual.keys()):
        here, there = expected.get(name), actual.get(name)
        if here == there:
            rows.append(f"    {name}  {here}")
        elif here is None:
            rows.append(f"  - {name}  {there}  only in the file")
        elif there is None:
            rows.append(f"  + {name}  {here}  only in this net")
        else:
            rows.append(f"  ! {name}  {there} in the file, {here} in this net")
    differ = sum(row[2] != " " for row in rows)
    head = f"{path} is a checkpoint of another net: {differ} of {len(rows)} leaves differ"
    return "\n".join([head, *rows])
