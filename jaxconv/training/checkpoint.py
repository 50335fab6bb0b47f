"""Save and load a pytree as one safetensors file, each leaf under its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.checksums import digest
from jaxconv._base.compat import prng_key
from jaxconv._base.errors import ConfigError
from jaxconv._base.files import user_path, write_atomically
from jaxconv._base.paths import leaf_names
from jaxconv._base.safetensors import CHECKSUM, read_safetensors

T = TypeVar("T")

__all__ = ["as_keys", "fitted", "load", "save", "without_keys"]


def save(path: str | Path, tree: Any) -> None:
    """Write every leaf of a tree, with a checksum of all of them. The write is atomic.

    Args:
      path: file to write or replace.
      tree: a pytree of arrays, which may contain random keys.

    Raises:
      ConfigError: if two leaves have the same name.
      WriteError: if the file cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    names, leaves = leaf_names(tree), jax.device_get(jax.tree.leaves(without_keys(tree)))
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigError(f"leaves must have different names; more than one is called {', '.join(twice)}")
    # safetensors writes raw buffers, so make them C-contiguous. ascontiguousarray would turn a scalar into a vector.
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in zip(names, leaves, strict=True)}
    write_atomically(user_path(path), to_bytes(arrays, {CHECKSUM: digest(arrays)}))


def load(path: str | Path, like: T) -> T:
    """Read a tree that `save` wrote.

    Args:
      path: the file.
      like: a tree of arrays or `jax.ShapeDtypeStruct`s with the expected names, shapes and dtypes:
        `jax.eval_shape(net.init, key, x)` makes one without computing anything.

    Returns:
      A tree of the structure of `like`, with the file's values.

    Raises:
      DataError: if the file is missing, unreadable, truncated, altered or not a safetensors file.
      ConfigError: if its names, shapes or dtypes are not those of `like`; lists both trees and
        marks every difference.

    >>> import tempfile, pathlib
    >>> import jax.numpy as jnp
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "tree.safetensors"
    >>> save(file, {"a": jnp.arange(3), "b": {}})
    >>> load(file, {"a": jax.ShapeDtypeStruct([3], jnp.int32), "b": {}})
    {'a': Array([0, 1, 2], dtype=int32), 'b': {}}
    """
    path, plain = user_path(path), jax.eval_shape(without_keys, like)
    arrays = read_safetensors(path)
    with jax.ensure_compile_time_eval():
        found = jax.tree.map(jnp.asarray, arrays)
    return as_keys(like, fitted(path, plain, found))


def without_keys(tree: Any) -> Any:
    """A tree with each random key replaced by its data, uint32."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def as_keys(like: Any, tree: Any) -> Any:
    """The inverse of `without_keys`.

    Args:
      like: a tree of arrays or `jax.ShapeDtypeStruct`s whose dtypes say which leaves are keys, and of which generator.
      tree: a tree of the same structure with plain arrays.
    """

    def wrap(like: Any, leaf: Any) -> Any:
        if not _is_key(like):
            return leaf
        # key_impl takes no ShapeDtypeStruct, but a tracer of one.
        jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), like)
        return jax.random.wrap_key_data(leaf, impl=found.pop())

    found: list[Any] = []
    return jax.tree.map(wrap, like, tree)


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, prng_key)


def fitted(path: str | Path, like: Any, found: dict[str, Any]) -> Any:
    """Arrays by name as a tree of the structure of `like`.

    Raises:
      ConfigError: if names, shapes or dtypes differ.
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
    """Side-by-side listing of both trees that marks the leaves that differ."""
    rows, differing = [], []
    for name in sorted(expected.keys() | actual.keys()):
        here, there = expected.get(name), actual.get(name)
        if here == there:
            rows.append(f"    {name}  {here}")
            continue
        differing.append(name)
        if here is None:
            rows.append(f"  - {name}  {there}  only in the file")
        elif there is None:
            rows.append(f"  + {name}  {here}  only in this net")
        else:
            rows.append(f"  ! {name}  {there} in the file, {here} in this net")
    what = "optimizer" if all(name.startswith("opt_state/") for name in differing) else "net"
    head = f"{path} is a checkpoint of another {what}: {len(differing)} of {len(rows)} leaves differ"
    return "\n".join([head, *rows])
