"""Device meshes: varying axes of operands, shardings of results, and lowering as code of one device.

The primitives carry the types of `shard_map` and of explicit meshes. Their formulations are traced without these types,
as code for one device or for XLA's partitioner. A formulation that transposes or loops would otherwise have to repeat
every cast of these types, and would sum over devices twice if one were missing.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxconv._base.compat import Primitive, ShapedArray, mlir
from jaxconv._base.errors import ShapeError

RESHARD = "jax.sharding.reshard(x, P('data')) to shard only the batch"
"""The fix for an array that is sharded along an axis that must be whole."""


def varying_axes(aval: Any) -> frozenset[Any]:
    """The mesh axes of a `shard_map` that an array of this type varies over."""
    return frozenset(aval.mat.varying if hasattr(aval, "mat") else getattr(aval, "vma", frozenset()))


def match_varying_axes(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Cast all operands to vary over the same axes of a `shard_map`, as a primitive requires."""
    varying = [varying_axes(jax.typeof(v)) for v in arrays]
    every = frozenset[Any]().union(*varying)
    return tuple(
        jax.lax.pcast(v, tuple(every - has), to="varying") if every - has else v
        for v, has in zip(arrays, varying, strict=True)
    )


def result_sharding(aval: Any, axes: Sequence[str | None], operands: Sequence[tuple[Any, Sequence[str | None]]]) -> Any:
    """Sharding of a result on an explicit mesh: each named axis is sharded as in the operands.

    A named axis that the result lacks is summed over; the partitioner completes the sum over devices. A mesh axis
    shards one axis of the result: the first that has it.

    Args:
      aval: type of an operand; for the mesh if no operand is on one.
      axes: names of the axes of the result; None for a spatial axis.
      operands: type of each operand, with the names of its axes.

    Raises:
      ShapeError: if a spatial axis is sharded.
    """
    mesh = next((t.sharding.mesh for t, _ in operands if not t.sharding.mesh.empty), aval.sharding.mesh)
    split: dict[str, Any] = {}
    for t, names in operands:
        for axis, (name, by) in enumerate(zip(names, t.sharding.spec, strict=True)):
            if by is not None and name is None:
                raise ShapeError(
                    "on an explicit mesh, spatial axes must not be sharded",
                    got=f"axis {axis} of {t.str_short()}",
                    fix=RESHARD,
                    kind="sharding",
                )
            if by is not None and name is not None:
                split.setdefault(name, by)
    used: set[Any] = set()
    spec: list[Any] = []
    for name in axes:
        by = split.get(name) if name else None
        mesh_axes = set(by) if isinstance(by, tuple) else {by} - {None}
        spec.append(None if mesh_axes & used else by)
        used |= mesh_axes
    return NamedSharding(mesh, PartitionSpec(*spec))


def check_sharding(must: str, arrays: Sequence[jax.Array], fix: str = RESHARD) -> None:
    """Raises ShapeError unless arrays of one rank are sharded alike on an explicit mesh."""
    types = [jax.typeof(v) for v in arrays]
    if len({t.sharding.spec for t in types}) > 1:
        raise ShapeError(must, got=", ".join(t.str_short() for t in types), fix=fix, kind="sharding")


def zeros_sharded_like(v: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Zeros of v's dtype, varying over the same mesh axes as v, and with the first axis sharded as v's."""
    zeros, sharding = jnp.zeros(shape, v.dtype), jax.typeof(v).sharding
    if any(by is not None for by in sharding.spec):
        spec = PartitionSpec(sharding.spec[0], *(None,) * (len(shape) - 1))
        zeros = jax.sharding.reshard(zeros, NamedSharding(sharding.mesh, spec))
    return match_varying_axes(zeros, v)[0]


def resharded(v: jax.Array, like: Any) -> jax.Array:
    """`v` with the sharding of the type `like`; without an explicit mesh, unchanged."""
    sharding = like.sharding
    return v if sharding.mesh.empty or jax.typeof(v).sharding == sharding else jax.sharding.reshard(v, sharding)


def on_explicit_mesh(aval: Any) -> bool:
    """Whether the type of an array has a mesh with an explicit axis."""
    return AxisType.Explicit in aval.sharding.mesh.axis_types


def one_device(module: Any) -> bool:
    """Whether the program will run on one device of this process: not exported, not partitioned by XLA."""
    if getattr(module.lowering_parameters, "for_export", True):
        return False
    context = module.axis_context
    if hasattr(context, "num_devices"):
        return bool(context.num_devices == 1)
    mesh = getattr(context, "mesh", None)  # shard_map: one device's shard, if every axis is manual
    return mesh is not None and (mesh.size == 1 or set(mesh.axis_names) == set(context.manual_axes))


def run_compiled(primitive: Primitive, *static: str) -> None:
    """Evaluate a primitive outside of `jit` by compiling it, also under `jax.disable_jit`, as it can run only compiled.

    Args:
      static: its parameters.
    """

    @functools.partial(jax.jit, static_argnames=static)
    def compiled(*operands: Any, **params: Any) -> Any:
        return primitive.bind(*operands, **params)

    def eager(*operands: Any, **params: Any) -> Any:
        with jax.disable_jit(False):
            return compiled(*operands, **params)

    primitive.def_impl(eager)


def local_lowering(fun: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
    """A lowering rule: `fun` traced without the mesh types of its operands, its results with the declared shardings.

    `fun` returns an array, or a sequence of them for a primitive with several results.
    """

    def rule(ctx: Any, *operands: Any, **params: Any) -> Any:
        plain = [ShapedArray(a.shape, a.dtype, a.weak_type) for a in ctx.avals_in]
        outs, several = ctx.avals_out, ctx.primitive.multiple_results
        mesh = outs[0].sharding.mesh
        explicit = {
            name: AxisType.Auto
            for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True)
            if kind == AxisType.Explicit
        }
        if not explicit:
            return mlir.lower_fun(functools.partial(fun, **fixed), multiple_results=several)(
                ctx.replace(avals_in=plain), *operands, **params
            )

        def constrained(*args: Any, **kwargs: Any) -> Any:
            results = fun(*args, **fixed, **kwargs)
            pairs = zip(results if several else [results], outs, strict=True)
            done = [jax.lax.with_sharding_constraint(v, out.sharding.spec) for v, out in pairs]
            return done if several else done[0]

        with jax.sharding.use_abstract_mesh(mesh.update_axis_types(explicit)):
            return mlir.lower_fun(constrained, multiple_results=several)(
                ctx.replace(avals_in=plain), *operands, **params
            )

    return rule
