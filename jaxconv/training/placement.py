"""Arrays on the devices of a mesh, of which each process may have a part."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, Sharding

from jaxconv._base.compat import prng_key

T = TypeVar("T")

__all__ = ["constrain", "from_rows", "own_rows", "put"]


def put(leaf: Any, sharding: Sharding) -> Any:
    """An array that every process has, as it is sharded; `jax.device_put` would compare it among the processes.

    Args:
      leaf: an array, or random keys.
      sharding: of the result.
    """
    if sharding.is_fully_addressable or getattr(leaf, "sharding", None) == sharding:
        return jax.device_put(leaf, sharding)
    if jnp.issubdtype(leaf.dtype, prng_key):
        return jax.random.wrap_key_data(put(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, host.__getitem__)


def own_rows(sharding: Sharding, size: int) -> np.ndarray:
    """The rows that this process's devices hold, ascending; all of them for one process.

    Args:
      sharding: of an array whose first axis is that of the rows.
      size: number of rows.
    """
    held = sharding.addressable_devices_indices_map((size,)).values()
    return np.unique(np.concatenate([np.arange(size)[index] for index in held]))


def from_rows(part: np.ndarray, rows: np.ndarray, sharding: Sharding, size: int, axis: int) -> jax.Array:
    """An array of which each process gives the rows of its own devices.

    Args:
      part: array with only these rows.
      rows: from `own_rows`.
      sharding: of the result.
      size: number of rows of the result.
      axis: that of the rows.
    """

    def local(index: Any) -> np.ndarray:
        start, stop, _ = index[axis].indices(size)
        first = int(np.searchsorted(rows, start))
        return part[*index[:axis], slice(first, first + stop - start), *index[axis + 1 :]]

    return jax.make_array_from_callback((*part.shape[:axis], size, *part.shape[axis + 1 :]), sharding, local)


def constrain(tree: T, sharding: NamedSharding) -> T:
    """The tree of a traced program with a sharding, on the mesh of the context if there is one.

    Args:
      tree: a pytree of arrays.
      sharding: of each of them; `Devices.vmap` makes axes of its mesh manual.
    """
    context = jax.sharding.get_abstract_mesh()
    here = sharding if context.empty else NamedSharding(context, sharding.spec)
    return jax.lax.with_sharding_constraint(tree, here)
