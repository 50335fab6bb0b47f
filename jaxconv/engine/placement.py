"""Meshes under the primitives: how operands vary over devices, how results are sharded, and lowering as local code.

The primitives carry the types of `shard_map` and of explicit meshes. What computes them is traced without: as
code for one device, or for XLA's partitioner to split. A formulation that transposes or loops would otherwise
have to repeat every cast of these types, and would sum over devices again where it forgets one.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import mlir
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxconv._base.errors import ShapeError


def match_varying_axes(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both varying over the same axes of a `shard_map`, as every primitive of two operands must have them."""
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
    """The sharding of a result on an explicit mesh: each named axis is split as the operands split it.

    What an operand splits and the result lacks is a sum, which the partitioner completes over the devices. A mesh
    axis splits one axis of the result: the first that asks for it.

    Args:
      aval: an operand's type, of the result's rank or not.
      axes: the result's axes by name; None for a spatial one.
      operands: the operands' types, each with its axes by name.

    Raises:
      ShapeError: a spatial axis that is split.
    """
    mesh = next((t.sharding.mesh for t, _ in operands if not t.sharding.mesh.empty), aval.sharding.mesh)
    split: dict[str, Any] = {}
    for t, names in operands:
        for axis, (name, by) in enumerate(zip(names, t.sharding.spec, strict=True)):
            if by is not None and name is None:
                raise ShapeError(
                    "on an explicit mesh spatial axes must be whole on every device",
                    got=f"axis {axis} of {t.str_short()}",
                    fix="jax.sharding.reshard(x, P('data')) splits the batch alone",
                )
            if by is not None and name is not None:
                split.setdefault(name, by)
    used: set[Any] = set()
    spec: list[Any] = []
    for name in axes:
        by = split.get(name) if name else None
        asked = set(by) if isinstance(by, tuple) else {by} - {None}
        spec.append(None if asked & used else by)
        used |= asked
    return NamedSharding(mesh, PartitionSpec(*spec))


def zeros_sharded_like(v: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Zeros of v's dtype that vary over devices as v does, and whose first axis is split as v's is."""
    zeros, sharding = jnp.zeros(shape, v.dtype), jax.typeof(v).sharding
    if any(by is not None for by in sharding.spec):
        spec = PartitionSpec(sharding.spec[0], *(None,) * (len(shape) - 1))
        zeros = jax.sharding.reshard(zeros, NamedSharding(sharding.mesh, spec))
    return match_varying_axes(zeros, v)[0]


def resharded(v: jax.Array, like: Any) -> jax.Array:
    """`v` with the sharding of the type `like`; on no mesh, or one that is not explicit, as it is."""
    sharding = like.sharding
    return v if jax.typeof(v).sharding == sharding else jax.sharding.reshard(v, sharding)


def local_lowering(fun: Callable[..., jax.Array], **fixed: Any) -> Callable[..., Any]:
    """A lowering rule: `fun` traced without the operands' mesh types, its result sharded as promised."""

    def rule(ctx: Any, *operands: Any, **params: Any) -> Any:
        plain = [jax.core.ShapedArray(a.shape, a.dtype, a.weak_type) for a in ctx.avals_in]
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
