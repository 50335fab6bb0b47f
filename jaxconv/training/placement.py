"""Arrays on the devices of a mesh, of which each process may have a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, Sharding

from jaxconv._base.compat import prng_key

T = TypeVar("T")

__all__ = ["constrain", "from_own", "number_in", "own_indices", "put"]


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


def number_in(leaf: Any) -> float:
    """A number that all members of an ensemble have alike, or that of a single net.

    Args:
      leaf: a scalar array, or one with an axis of members, of which this process may have only some.
    """
    own = leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf
    return np.asarray(own).flat[0].item()


def own_indices(sharding: Sharding, shape: Sequence[int], axis: int) -> np.ndarray:
    """The indices along an axis of an array that this process's devices hold, ascending; all of them for one process.

    Args:
      sharding: of the array.
      shape: of the array.
      axis: the axis.
    """
    held: Any = sharding.addressable_devices_indices_map(tuple(shape)).values()
    return np.unique(np.concatenate([np.arange(shape[axis])[index[axis]] for index in held]))


def from_own(part: np.ndarray, sharding: Sharding, sizes: Mapping[int, int]) -> jax.Array:
    """An array of which each process gives what its own devices hold.

    Args:
      part: along each axis of `sizes`, only the `own_indices`.
      sharding: of the result.
      sizes: {axis: size of the result}.
    """
    shape = [sizes.get(axis, size) for axis, size in enumerate(part.shape)]
    own = {axis: own_indices(sharding, shape, axis) for axis in sizes}

    def place(axis: int, index: slice) -> slice:
        start, stop, _ = index.indices(shape[axis])
        first = int(np.searchsorted(own[axis], start)) if axis in own else start
        return slice(first, first + stop - start)

    def local(index: Any) -> np.ndarray:
        return part[tuple(place(axis, each) for axis, each in enumerate(index))]

    return jax.make_array_from_callback(tuple(shape), sharding, local)


def constrain(tree: T, sharding: NamedSharding) -> T:
    """The tree of a traced program with a sharding, on the mesh of the context if there is one.

    Args:
      tree: a pytree of arrays.
      sharding: of each of them; `Devices.vmap` makes axes of its mesh manual.
    """
    context = jax.sharding.get_abstract_mesh()
    here = sharding if context.empty else NamedSharding(context, sharding.spec)
    return jax.lax.with_sharding_constraint(tree, here)
