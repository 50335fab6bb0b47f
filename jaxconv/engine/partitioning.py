"""Kernels in programs that XLA partitions over several devices.

XLA divides its own operations, but gathers the operands of a call that it does not know. Here such a call is divided
by the names of its arrays' axes (`Form.axes`): axes of one name are cut alike, an axis without a name is whole on each
device, and a name that only the operands have is summed over, by the kernel for each device.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from jaxconv._base.compat import Primitive, ShapedArray, mlir

Names = Sequence[str | None]
"""The name of each axis of an array; None for one that is not cut."""


@dataclasses.dataclass(frozen=True)
class Shard:
    """One device's part of an operation.

    Attributes:
      parts: number of parts of each named axis that is cut.
      axes: mesh axes that cut it.
    """

    parts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    axes: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def over(self, names: Iterable[str]) -> tuple[str, ...]:
        """The mesh axes that cut these axes."""
        return tuple(axis for name in names for axis in self.axes.get(name, ()))

    def count(self, names: Iterable[str]) -> int:
        """How many parts these axes make together."""
        return math.prod(self.parts.get(name, 1) for name in names)

    def sum(self, v: Any, names: Iterable[str]) -> Any:
        """The sum, of each array of a pytree, over the parts of all devices among which these axes are cut."""
        over = self.over(names)
        return jax.lax.psum(v, over) if over else v


Local = Callable[[Shard], Callable[..., tuple[jax.Array, ...]]]


def partitioned(
    local: Local, operands: Sequence[Names], results: Sequence[Names], devices: Sequence[Any]
) -> Callable[..., tuple[jax.Array, ...]]:
    """An operation that XLA partitions over the devices of a program.

    Args:
      local: the function that a device runs on its parts, for a Shard.
      operands: names of the axes of each operand.
      results: names of the axes of each result.
      devices: those of the program, or as many others of their kind.
    """

    def partition(_: Any, args: Any, outs: Any) -> Any:
        arrays = [*zip(args, operands, strict=True), *zip(outs, results, strict=True)]
        mesh, axes = _cuts(arrays, devices)
        shard = Shard({name: math.prod(mesh.shape[a] for a in by) for name, by in axes.items()}, axes)
        into, out = (tuple(NamedSharding(mesh, _spec(names, axes)) for names in all_) for all_ in (operands, results))
        return mesh, functools.partial(part_p.bind, local=local(shard)), out, into

    whole = custom_partitioning(local(Shard()))
    whole.def_partition(partition, decode_shardings=False, **_sharding_rule(operands, results))
    return whole


part_p = Primitive("jaxconv_part")
"""One device's part of an operation, lowered without the mesh that is set while XLA partitions."""
part_p.multiple_results = True


def _part_type(*operands: Any, local: Callable[..., tuple[jax.Array, ...]]) -> list[ShapedArray]:
    with jax.sharding.use_abstract_mesh(AbstractMesh((), ())):
        results = jax.eval_shape(local, *(jax.ShapeDtypeStruct(v.shape, v.dtype) for v in operands))
    return [ShapedArray(v.shape, v.dtype) for v in results]


def _lower_part(ctx: Any, *operands: Any, local: Callable[..., tuple[jax.Array, ...]]) -> Any:
    plain = [ShapedArray(a.shape, a.dtype) for a in ctx.avals_in]
    with jax.sharding.use_abstract_mesh(AbstractMesh((), ())):
        return mlir.lower_fun(local, multiple_results=True)(ctx.replace(avals_in=plain), *operands)


part_p.def_abstract_eval(_part_type)
mlir.register_lowering(part_p, _lower_part)


def _spec(names: Names, axes: Mapping[str, tuple[str, ...]]) -> PartitionSpec:
    return PartitionSpec(*(axes.get(name) if name else None for name in names))


def _sharding_rule(operands: Sequence[Names], results: Sequence[Names]) -> dict[str, Any]:
    """Shardy's rule: which axes are cut alike, summed over, and not cut."""
    number, whole = itertools.count(), list[str]()

    def factors(names: Names) -> str:
        row = [name or f"whole{next(number)}" for name in names]
        whole.extend(word for word, name in zip(row, names, strict=True) if not name)
        return " ".join(row)

    # In the order of the rule's factors, as Shardy requires.
    given, made = (dict.fromkeys(name for names in all_ for name in names if name) for all_ in (operands, results))
    rule = " -> ".join(", ".join(map(factors, all_)) for all_ in (operands, results))
    return {
        "sharding_rule": rule,
        "reduction_factors": tuple(name for name in given if name not in made),
        "need_replication_factors": tuple(whole),
    }


def _cuts(arrays: Sequence[tuple[Any, Names]], devices: Sequence[Any]) -> tuple[Mesh, dict[str, tuple[str, ...]]]:
    """A mesh of the devices in their order, and its axes that cut each named axis.

    An axis of the mesh cuts one named axis, the first that it cuts in any array; and only into equal parts.
    """
    found = [
        (name, shape[a], block)
        for v, names in arrays
        for shape in [v.shape]
        for a, name, block in _blocks(v, names, devices)
    ]
    best: tuple[tuple[int, ...], dict[str, tuple[int, ...]]] = ((len(devices),), {})
    for sizes in sorted(set(itertools.permutations(_primes(len(devices))))):
        digits, axes = np.indices(sizes).reshape(len(sizes), -1), dict[str, tuple[int, ...]]()
        for name, size, block in found:
            by = _digits_of(block, digits)
            taken = {a for all_ in axes.values() for a in all_}
            if by and name not in axes and not taken & set(by) and size % (max(block) + 1) == 0:
                axes[name] = by
        if len(axes) >= len(best[1]):
            best = sizes, axes
    sizes, axes = best
    mesh = Mesh(np.array(devices, object).reshape(sizes), [f"mesh{a}" for a in range(len(sizes))])
    return mesh, {name: tuple(f"mesh{a}" for a in by) for name, by in axes.items()}


def _blocks(v: Any, names: Names, devices: Sequence[Any]) -> list[tuple[int, str, list[int]]]:
    """(axis, name, the part that each device has) for each named axis of an array that is cut."""
    if v.sharding is None:
        return []
    count = len(devices)  # parts of any axis divide it
    index = v.sharding.devices_indices_map((count,) * len(names))
    rows = []
    for axis, name in enumerate(names):
        cells = [index[device][axis].indices(count) for device in devices]
        block = [start // (stop - start) for start, stop, _ in cells]
        if name and max(block):
            rows.append((axis, name, block))
    return rows


def _digits_of(block: Sequence[int], digits: np.ndarray) -> tuple[int, ...]:
    """The axes of a mesh whose indices, the first the most significant, give each device's part; () if none do."""
    stride = {
        a: next((b for b, row in zip(block, digits.T, strict=True) if row[a] == row.sum() == 1), 0)
        for a in range(len(digits))
    }
    by = tuple(sorted((a for a in stride if stride[a]), key=lambda a: -stride[a]))
    made, size = np.zeros(digits.shape[1], int), 1
    for a in reversed(by):
        made, size = made + size * digits[a], size * (int(digits[a].max()) + 1)
    return by if np.array_equal(made, block) else ()


def _primes(n: int) -> list[int]:
    for p in range(2, n + 1):
        if n % p == 0:
            return [p, *_primes(n // p)]
    return []
