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

from jaxconv._base.compat import ShapedArray, mlir
from jaxconv._base.errors import ShapeError


def match_varying_axes(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cast both operands to vary over the same axes of a `shard_map`, as a primitive of two operands requires."""
    types = [jax.typeof(v) for v in (a, b)]
    varying: list[frozenset[Any]] = [
        t.mat.varying if hasattr(t, "mat") else getattr(t, "vma", frozenset()) for t in types
    ]
    both = varying[0] | varying[1]
    if not both:
        return a, b
    cast = [
        jax.lax.pcast(v, tuple(both - has), to="varying") if both - has else v
        for v, has in zip((a, b), varying, strict=True)
    ]
    return cast[0], cast[1]


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
                    fix="jax.sharding.reshard(x, P('data')) to shard only the batch",
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


def local_lowering(fun: Callable[..., jax.Array], **fixed: Any) -> Callable[..., Any]:
    """A lowering rule: `fun` traced without the mesh types of its operands, its result with the declared sharding."""

    def rule(ctx: Any, *operands: Any, **params: Any) -> Any:
        plain = [ShapedArray(a.shape, a.dtype, a.weak_type) for a in ctx.avals_in]
        (out,) = ctx.avals_out
        mesh = out.sharding.mesh
        explicit = {
            name: AxisType.Auto
            for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True)
            if kind == AxisType.Explicit
        }
        if not explicit:
            return mlir.lower_fun(functools.partial(fun, **fixed), multiple_results=False)(
                ctx.replace(avals_in=plain), *operands, **params
            )

        def constrained(*args: Any, **kwargs: Any) -> jax.Array:
            return jax.lax.with_sharding_constraint(fun(*args, **fixed, **kwargs), out.sharding.spec)

        with jax.sharding.use_abstract_mesh(mesh.update_axis_types(explicit)):
            return mlir.lower_fun(constrained, multiple_results=False)(ctx.replace(avals_in=plain), *operands, **params)

    return rule
