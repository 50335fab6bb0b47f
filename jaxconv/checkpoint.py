"""A pytree in one safetensors file, each leaf under the path that leads to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxconv.errors import ConfigError, DataError
from jaxconv.files import write_atomically

__all__ = ["leaf_names", "load", "save"]


def leaf_names(tree: Any) -> list[str]:
    """The flat name of each leaf, in the tree's own order.

    Args:
      tree: any pytree.

    >>> leaf_names({"params": {"conv0": {"kernel": 1, "bias": 2}}, "state": {}})
    ['params/conv0/bias', 'params/conv0/kernel']
    """
    paths, _ = jax.tree.flatten_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]


def save(path: str | Path, tree: Any) -> None:
    """Write every leaf of a tree; the file appears whole or not at all.

    Args:
      path: the file to write or replace.
      tree: a pytree of arrays.

    Raises:
      ConfigError: two leaves have the same name.
    """
    from safetensors.numpy import save as to_bytes

    names, leaves = leaf_names(tree), jax.device_get(jax.tree.leaves(tree))
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigError(f"leaves must have different names; more than one is called {', '.join(twice)}")
    # safetensors stores memory as it lies: row-major is made sure of. ascontiguousarray would turn
    # a scalar into a vector.
    content = to_bytes({name: np.asarray(leaf, order="C") for name, leaf in zip(names, leaves, strict=True)})
    write_atomically(path, content)


def load(path: str | Path, like: Any) -> Any:
    """Read a tree that `save` wrote.

    Args:
      path: the file.
      like: a tree of arrays or `jax.ShapeDtypeStruct`s that says what must be there:
        `jax.eval_shape(net.init, key, x)` makes one without computing anything.

    Returns:
      A tree of the structure of `like`, with the file's values.

    Raises:
      DataError: the file is missing, truncated or no safetensors file.
      ConfigError: its names, shapes or types are not those of `like`; lists both trees and
        marks every difference.

    >>> import tempfile, pathlib
    >>> import jax.numpy as jnp
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "tree.safetensors"
    >>> save(file, {"a": jnp.arange(3), "b": {}})
    >>> load(file, {"a": jax.ShapeDtypeStruct([3], jnp.int32), "b": {}})
    {'a': Array([0, 1, 2], dtype=int32), 'b': {}}
    """
    from safetensors import SafetensorError, safe_open

    try:
        # Its reader for NumPy knows no bfloat16; the one called flax makes plain jax arrays.
        with safe_open(path, framework="flax") as stream:
            found = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise DataError(f"{path} is truncated, altered or no safetensors file: {error}") from error
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
