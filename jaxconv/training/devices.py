"""Devices of training: the one place that decides how batches and the train state are sharded.

A mesh has the axes "members", "data", "fsdp" and "model", all left to XLA's partitioner (`AxisType.Auto`): a step is
the program of one device, and gives its numbers. The members of an ensemble are spread along "members". Batches are
sharded over "data" and "fsdp". Along "fsdp", parameters or only what the optimizer holds of them are sharded, too, by
rules on their paths; along "model", the output channels of kernels.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxconv._base.errors import ConfigError, ShapeError, count, did_you_mean, either
from jaxconv._base.paths import fits, leaf_names
from jaxconv.layers.layer import Layer
from jaxconv.training.ensemble import member
from jaxconv.training.optim.masks import partition
from jaxconv.training.placement import constrain, from_own, own_indices, put
from jaxconv.training.step import Step, TrainState

T = TypeVar("T")

__all__ = ["Devices", "Kind", "make_devices"]

AXES = ("members", "data", "fsdp", "model")
ROWS = ("data", "fsdp")
Kind = Literal["params", "optimizer", "none"]
"""Sharding along "fsdp": of parameters with their optimizer state and averages (FSDP), of these two alone (ZeRO-1), or
none."""


@dataclasses.dataclass(frozen=True)
class Devices:
    """The mesh of a run, and the sharding of everything in it.

    Args:
      mesh: from `make_devices`.
      shard: {path pattern: a `Kind`}; the first that matches a parameter decides.
    """

    mesh: Mesh
    shard: Mapping[str, Kind]

    @property
    def parts(self) -> int:
        """Number of parts that a batch is divided into."""
        return math.prod(self.mesh.shape[axis] for axis in ROWS)

    @property
    def whole(self) -> NamedSharding:
        """Sharding of an array that every device has whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    def rows(self, axis: int = 0, *, members: bool = False) -> NamedSharding:
        """Sharding of an array whose `axis` is that of a batch; with `members`, the axis before it is theirs."""
        before = [None] * (axis - members) + ["members"] * members
        return NamedSharding(self.mesh, PartitionSpec(*before, ROWS))

    def check_batch(self, size: int, accumulate: int = 1) -> None:
        """Check that a global batch, or each of its micro-batches, divides into equal parts.

        Raises:
          ConfigError: if it does not; names the nearest sizes that do.
        """
        unit = self.parts * accumulate
        if size % unit:
            below, above = size - size % unit, size - size % unit + unit
            nearest = f"nearest that do are {below} or {above}" if below else f"nearest that does is {above}"
            micro = f" in {accumulate} micro-batches" if accumulate > 1 else ""
            raise ConfigError(
                f"train.batch_size must divide into equal parts for {self.parts} devices{micro}; got {size}, "
                f"the {nearest}"
            )

    def shardings(self, train: TrainState) -> TrainState:
        """The sharding of each leaf of a train state.

        Args:
          train: a state, or its shapes; of an ensemble with a leading axis.

        Raises:
          ConfigError: if a pattern of `shard` matches no parameter, or an axis of the mesh shards nothing.
        """
        kinds = self._kinds(train.params) | self._kinds(train.state)
        self._check_patterns(train.params)
        members = ("members",) * train.step.ndim

        def sharding(name: str, leaf: Any) -> NamedSharding:
            field, *parts = name.split("/")
            path = next((p for i in range(len(parts)) if (p := "/".join(parts[i:])) in kinds), None)
            kind = "none" if path is None else kinds[path]
            along = kind == "params" or (kind == "optimizer" and field in ("opt_state", "average"))
            return self._sharding(leaf.shape[len(members) :] if path is not None else (), along, members)

        leaves, structure = jax.tree.flatten(train)
        found = [sharding(name, leaf) for name, leaf in zip(leaf_names(train), leaves, strict=True)]
        self._check_use(found, set(kinds.values()), train.params)
        return jax.tree.unflatten(structure, found)

    def place(self, train: TrainState) -> TrainState:
        """A train state on the devices: from one device, the same in every process, or from another mesh."""
        return jax.tree.map(put, train, self.shardings(train))

    def structs(self, train: TrainState) -> TrainState:
        """Shapes and dtypes of a train state, with their shardings."""

        def struct(leaf: Any, sharding: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        return jax.tree.map(struct, train, self.shardings(train))

    def own(self, size: int) -> np.ndarray:
        """The rows of a batch of `size` that this process's devices hold, ascending; all of them for one process."""
        return own_indices(self.rows(), [size], 0)

    def own_members(self, count: int) -> np.ndarray:
        """The members, of `count`, that this process's devices train, ascending; all of them for one process."""
        return own_indices(NamedSharding(self.mesh, PartitionSpec("members")), [count], 0)

    def copies(self, tree: Any) -> Any:
        """Arrays that every process has, copied to every device."""
        return jax.tree.map(lambda array: put(array, self.whole), tree)

    def batch(self, batch: Any, size: int | None = None, axis: int = 0, *, members: int = 0) -> Any:
        """A batch divided among the devices.

        Args:
          batch: arrays of all rows of the batch, or of those that are this process's `own`, and its `own_members`.
          size: number of rows of the whole batch; None if `batch` is the whole batch.
          axis: that of the rows.
          members: number of members, whose axis is before it; 0 if there is none.
        """
        sharding = self.rows(axis, members=members > 0)
        if size is None:
            return jax.tree.map(lambda array: put(array, sharding), batch)
        sizes = {axis: size} | ({axis - 1: members} if members else {})
        return jax.tree.map(lambda array: from_own(array, sharding, sizes), batch)

    def all(self, tree: T) -> T:
        """Arrays with all their parts in every process; every process must call this.

        One array at a time: each is waited for, since XLA on CPUs starts at most 32 programs at once, and those above
        block the threads that the collectives of the others need.
        """

        def whole(leaf: Any) -> Any:
            return leaf if leaf.is_fully_replicated else self._gather(leaf).block_until_ready()

        return jax.tree.map(whole, tree)

    @functools.cached_property
    def _gather(self) -> Any:
        return jax.jit(lambda leaf: leaf, out_shardings=self.whole)

    def step(self, step: Step) -> Step:
        """The step on a batch that is divided among the devices."""
        if self.parts == 1:
            return step

        def run(train: TrainState, batch: Any) -> Any:
            return step(train, constrain(batch, self.rows()))

        return run

    def layer(self, net: Layer) -> Layer:
        """The net with its parameters gathered along "fsdp" when it is applied, as the input is divided along it."""
        if self.mesh.shape["fsdp"] == 1:
            return net

        def gathered(tree: T) -> T:
            return jax.tree.map(lambda leaf: constrain(leaf, self._sharding(leaf.shape, False)), tree)

        def apply(params: Any, state: Any, x: Any, **options: Any) -> Any:
            return net.apply(gathered(params), gathered(state), x, **options)

        return dataclasses.replace(net, apply=apply)

    def vmap(self, function: Callable[..., T], in_axes: Sequence[int | None]) -> Callable[..., T]:
        """`jax.vmap` over members of an ensemble, each computed on its own devices.

        Args:
          function: of arrays of one member.
          in_axes: of each argument, 0 for its axis of members or None if it is the same for all of them.
        """
        if self.mesh.shape["members"] == 1:
            return jax.vmap(function, in_axes)

        def local(*args: Any) -> T:
            own = jax.tree.leaves([v for v, axis in zip(args, in_axes, strict=True) if axis == 0])
            if own[0].shape[0] > 1:
                return jax.vmap(function, in_axes)(*args)
            alone = [v if axis is None else member(v, 0) for v, axis in zip(args, in_axes, strict=True)]
            return jax.tree.map(lambda leaf: leaf[None], function(*alone))

        cut = PartitionSpec("members")
        specs = tuple(PartitionSpec() if axis is None else cut for axis in in_axes)
        alone = self.mesh.size == self.mesh.shape["members"]
        return jax.shard_map(
            local, mesh=self.mesh, in_specs=specs, out_specs=cut, axis_names=set(AXES if alone else AXES[:1])
        )

    def _kinds(self, tree: Any) -> dict[str, str]:
        """{path: kind} of the leaves of a tree of parameters or state."""
        rules = self.shard.items()
        matching = {path: [kind for pattern, kind in rules if fits(path, pattern)] for path in leaf_names(tree)}
        return {path: kinds[0] if kinds else "none" for path, kinds in matching.items()}

    def _check_patterns(self, params: Any) -> None:
        try:
            partition(params, {str(i): pattern for i, pattern in enumerate(self.shard)})
        except ShapeError as error:
            raise ConfigError(f"devices.shard: {error}") from None

    def _check_use(self, found: Sequence[NamedSharding], kinds: set[str], params: Any) -> None:
        """Raise ConfigError if "model", or "fsdp" where it is to shard parameters, divides no axis of any of them."""
        used = {axis for sharding in found for axis in sharding.spec}
        for axis in ("fsdp", "model"):
            size = self.mesh.shape[axis]
            if size > 1 and axis not in used and (axis == "model" or kinds != {"none"}):
                channels = sorted({leaf.shape[-1] for leaf in jax.tree.leaves(params) if leaf.ndim > 1})
                raise ConfigError(
                    f"devices.{axis} must divide the channels of at least one kernel, "
                    f"{', '.join(map(str, channels))}; got {size}"
                )

    def _sharding(self, shape: Sequence[int], along: bool, members: Sequence[str] = ()) -> NamedSharding:
        """Sharding of a leaf; `along` the "fsdp" axis its largest axis that divides is sharded, if any does.

        Args:
          shape: of one member.
          along: whether it is sharded along "fsdp".
          members: mesh axis of a leading axis of members, if there is one.
        """
        fsdp, model = self.mesh.shape["fsdp"], self.mesh.shape["model"]
        axes: list[str | None] = [None] * len(shape)
        if model > 1 and len(shape) > 1 and shape[-1] % model == 0:
            axes[-1] = "model"
        free = [i for i, n in enumerate(shape) if axes[i] is None and n and n % fsdp == 0]
        if along and fsdp > 1 and free:
            axes[max(free, key=lambda i: shape[i])] = "fsdp"
        return NamedSharding(self.mesh, PartitionSpec(*members, *axes))


def make_devices(
    data: int = -1,
    fsdp: int = 1,
    model: int = 1,
    shard: Mapping[str, Kind] | None = None,
    devices: Sequence[Any] | None = None,
    *,
    members: int = 1,
) -> Devices:
    """The mesh of a run over this machine's devices, or over one of them.

    Args:
      data, fsdp, model: sizes of the mesh's axes; -1, of one of them, for all devices that the others leave. Fewer than
        there are may be used.
      shard: see `Devices`; `{"*": "params"}` if None.
      devices: all of JAX's if None.
      members: size of an ensemble, whose members are spread over as many parts of `data` as divide them, too.

    Raises:
      ConfigError: if the sizes do not fit the number of devices, or `shard` has another kind.

    >>> make_devices(data=1).parts
    1
    """
    here = devices is None
    devices = jax.devices() if devices is None else devices
    shard = {"*": "params"} if shard is None else shard
    for pattern, kind in shard.items():
        if kind not in get_args(Kind):
            known = either(*map(repr, get_args(Kind)))
            raise ConfigError(
                f"devices.shard: {pattern!r} must be {known}; got {kind!r}{did_you_mean(kind, get_args(Kind))}"
            )
    sizes, there = [data, fsdp, model], len(devices)
    given = math.prod(n for n in sizes if n != -1)
    if sizes.count(-1) > 1 or min(n for n in (*sizes, 1) if n != -1) < 1:
        raise ConfigError(
            f"devices: data, fsdp and model must be sizes of at least 1, and -1 for one of them; "
            f"got data={data}, fsdp={fsdp}, model={model}"
        )
    if given > there or (-1 in sizes and there % given):
        raise ConfigError(
            f"devices: data*fsdp*model must {'divide' if -1 in sizes else 'be at most'} the {count(there, 'device')} "
            f"here; got data={data}, fsdp={fsdp}, model={model}"
        )
    shape = [there // given if n == -1 else n for n in sizes]
    used = devices[: math.prod(shape)]
    if here and (idle := jax.process_count() - len({device.process_index for device in used})):
        raise ConfigError(
            f"devices: every process must have a device of the mesh; got data={data}, fsdp={fsdp}, model={model}, "
            f"but {idle} of {count(jax.process_count(), 'process')} had none; fix: devices.data=-1, or fewer processes"
        )
    apart = math.gcd(shape[0], members)
    grid = np.asarray(used, object).reshape(apart, shape[0] // apart, *shape[1:])
    return Devices(Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES)), shard)
