"""JAX primitives of normalization: the operation, its tangent map, and the transpose of that.

The tangent map is linear in the tangents of x, scale and bias, so its transpose, a primitive as well, is the gradient,
and theirs is the tangent map again. What is not linear in them (second derivatives) differentiates the formulas of
norm.py.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv._base.compat import (
    Primitive,
    ad,
    batching,
    for_partitioning,
    mlir,
    register_taylor_rule,
    taylor_series_of,
)  # fmt: skip
from jaxconv._base.dtypes import channelwise
from jaxconv.engine import native
from jaxconv.engine import norm as formulas
from jaxconv.engine import norm_dispatch as dispatch
from jaxconv.engine.norm import Norm, standardize
from jaxconv.engine.norm_dispatch import axis_names
from jaxconv.engine.partitioning import Shard, partitioned
from jaxconv.engine.placement import (
    local_lowering,
    match_varying_axes,
    one_device,
    resharded,
    result_sharding,
    run_compiled,
)

normalize_p = Primitive("jaxconv_normalize")
tangent_p = Primitive("jaxconv_normalize_tangent")
gradient_p = Primitive("jaxconv_normalize_gradient")


def normalize(
    x: jax.Array,
    axes: Sequence[int],
    eps: float,
    scale: jax.Array | None = None,
    bias: jax.Array | None = None,
    *,
    axis_name: Any = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(x - mean) / sqrt(var + eps) * scale + bias over `axes`, with the mean and the (biased) variance.

    It is accurate for values of 1e4 ± 1e-2 in f32.

    Args:
      x: an array in its accumulation dtype (f32 or wider).
      axes: axes to reduce.
      eps: added to the variance.
      scale, bias: of x's dtype; their axes are the last of x. None omits either.
      axis_name: mapped axis (of devices or `vmap`) to average the statistics over, too.

    Returns:
      z of x's shape; mean and var of size 1 along `axes`.
    """
    affine = [v if v is None else channelwise(v, x) for v in (scale, bias)]
    if axis_name is not None or not jnp.issubdtype(x.dtype, jnp.floating):
        y, mean, var = standardize(x, axes, eps, axis_name)
        y = y if affine[0] is None else y * affine[0]
        return (y if affine[1] is None else y + affine[1]), mean, var
    like = next((v.shape for v in affine if v is not None), (*(1,) * (x.ndim - 1), *x.shape[-1:]))
    full = [jnp.full(like, fill, x.dtype) if v is None else v for v, fill in zip(affine, (1, 0), strict=True)]
    z, center, rest, var = bind_normalize(x, *full, norm=Norm(tuple(sorted(axes)), float(eps)))
    return z, center + rest, var


def bind_normalize(x: jax.Array, scale: jax.Array, bias: jax.Array, *, norm: Norm) -> list[Any]:
    """z, center, rest and var; scale and bias of one shape, x's with 1 on some axes."""
    return _bind(normalize_p, x, scale, bias, norm=norm)


def bind_gradient(
    dz: jax.Array, x: jax.Array, center: jax.Array, rest: jax.Array, var: jax.Array, scale: jax.Array, *, norm: Norm
) -> list[Any]:
    """The cotangents of x, scale and bias from that of z, and from x, its moments and scale."""
    zero = jnp.zeros_like(var)
    return _bind(gradient_p, dz, zero, zero, x, center, rest, lax.rsqrt(var + norm.eps), scale, norm=norm)


def _bind(primitive: Primitive, *arrays: Any, norm: Norm) -> list[Any]:
    return list(primitive.bind(*match_varying_axes(*arrays), norm=norm))


# ---------------------------------------------------------------- types


def _result(kind: str, x: Any, scale: Any, norm: Norm, operands: Sequence[Any]) -> Any:
    """The type of an array like x, like its mean or like its scale; the axes that they share are sharded alike."""

    def names(shape: Sequence[int]) -> list[str]:
        return [f"{axis}" if n == x.shape[axis] else f"{axis} of 1" for axis, n in enumerate(shape)]

    shape = {"x": x.shape, "mean": norm.of_mean(x.shape), "scale": scale.shape}[kind]
    sharding = result_sharding(x, names(shape), [(t, names(t.shape)) for t in operands])
    return x.update(shape=shape, sharding=sharding, weak_type=False)


def _declare(primitive: Primitive, x_at: int, scale_at: int, kinds: Sequence[str], fun: Callable[..., Any]) -> None:
    """Types, evaluation and batching of a primitive."""
    primitive.multiple_results = True

    def abstract(*operands: Any, norm: Norm) -> list[Any]:
        return [_result(kind, operands[x_at], operands[scale_at], norm, operands) for kind in kinds]

    def batch(arrays: Any, axes: Any, *, norm: Norm) -> tuple[list[Any], list[int]]:
        """A new first axis that no statistics are over."""
        if axes[x_at] is None:
            outs = jax.vmap(functools.partial(fun, norm=norm), axes)(*arrays)
        else:
            count = arrays[x_at].shape[axes[x_at]]
            arrays = [
                jnp.broadcast_to(v, (count, *v.shape)) if axis is None else jnp.moveaxis(v, axis, 0)
                for v, axis in zip(arrays, axes, strict=True)
            ]
            outs = _bind(primitive, *arrays, norm=Norm(tuple(axis + 1 for axis in norm.axes), norm.eps))
        return list(outs), [0] * len(kinds)

    primitive.def_abstract_eval(abstract)
    run_compiled(primitive, "norm")
    batching.primitive_batchers[primitive] = batch
    register_taylor_rule(primitive, taylor_series_of(fun))


_declare(normalize_p, 0, 1, ("x", "mean", "mean", "mean"), formulas.normalize)
_declare(tangent_p, 3, 7, ("x", "mean", "mean"), formulas.tangent)
_declare(gradient_p, 3, 7, ("x", "scale", "scale"), formulas.gradient)

# ---------------------------------------------------------------- derivatives

LINEAR = 3
"""The operands of the tangent map and of the gradient that they are linear in, the first ones."""


def _normalize_jvp(primals: Any, tangents: Any, *, norm: Norm) -> tuple[Any, Any]:
    x, scale, _ = primals
    z, center, rest, var = _bind(normalize_p, *primals, norm=norm)
    rstd = lax.rsqrt(var + norm.eps)
    moved = map(ad.instantiate_zeros, tangents)
    dz, dmean, dvar = _bind(tangent_p, *moved, x, center, rest, rstd, scale, norm=norm)
    return [z, center, rest, var], [dz, dmean, jnp.zeros_like(rest), dvar]


def _linear_jvp(primitive: Primitive, fun: Callable[..., Any], primals: Any, tangents: Any, *, norm: Norm) -> Any:
    """Linear operands by the primitive, the others by the derivative of the formula."""
    given, moved = primals[:LINEAR], tangents[:LINEAR]
    fixed, shifted = primals[LINEAR:], tangents[LINEAR:]
    outs = _bind(primitive, *primals, norm=norm)
    parts = []
    if not all(isinstance(t, ad.Zero) for t in moved):
        parts.append(_bind(primitive, *map(ad.instantiate_zeros, moved), *fixed, norm=norm))
    if not all(isinstance(t, ad.Zero) for t in shifted):
        parts.append(
            jax.jvp(lambda *rest: fun(*given, *rest, norm=norm), fixed, tuple(map(ad.instantiate_zeros, shifted)))[1]
        )
    return outs, [functools.reduce(jnp.add, pair) for pair in zip(*parts, strict=True)]


def _transpose(other: Primitive, cts: Any, *operands: Any, norm: Norm) -> list[Any]:
    moved, fixed = operands[:LINEAR], operands[LINEAR:]
    if all(isinstance(ct, ad.Zero) for ct in cts):
        return [ad.Zero(v.aval) if ad.is_undefined_primal(v) else None for v in operands]
    found = _bind(other, *map(ad.instantiate_zeros, cts), *fixed, norm=norm)
    back = [resharded(ct, v.aval) if ad.is_undefined_primal(v) else None for ct, v in zip(found, moved, strict=True)]
    return [*back, *(None for _ in fixed)]


ad.primitive_jvps[normalize_p] = _normalize_jvp
ad.primitive_jvps[tangent_p] = functools.partial(_linear_jvp, tangent_p, formulas.tangent)
ad.primitive_jvps[gradient_p] = functools.partial(_linear_jvp, gradient_p, formulas.gradient)
ad.primitive_transposes[tangent_p] = functools.partial(_transpose, gradient_p)
ad.primitive_transposes[gradient_p] = functools.partial(_transpose, tangent_p)

# ---------------------------------------------------------------- lowering


def _lower(primitive: Primitive, x_at: int, scale_at: int, ctx: Any, *operands: Any, norm: Norm) -> Any:
    """On the CPU: by the kernels, also in programs that XLA partitions."""
    x, scale = ctx.avals_in[x_at], ctx.avals_in[scale_at]
    local = functools.partial(_WAYS[primitive], norm=norm, kernels=True)
    if one_device(ctx.module_context):
        return local_lowering(local, shard=Shard())(ctx, *operands)
    found = for_partitioning(ctx) if native.norm_sizes(x, scale, norm) else None
    if found is None:
        return local_lowering(_WAYS[primitive], kernels=False, shard=Shard())(ctx, *operands, norm=norm)
    if primitive is gradient_p:  # a device's part of scale may have size 1 where scale has not
        without = [axis for axis, n in enumerate(scale.shape) if n == 1 and axis not in norm.axes]
        local = functools.partial(local, without=without)
    ctx, devices = found
    given, made = ([axis_names(v, x, scale, norm) for v in avals] for avals in (ctx.avals_in, ctx.avals_out))
    whole = partitioned(lambda shard: lambda *arrays: local(*arrays, shard=shard), given, made, devices)
    return local_lowering(whole)(ctx, *operands)


_WAYS: dict[Primitive, Callable[..., Any]] = {normalize_p: dispatch.normalize, gradient_p: dispatch.gradient}
mlir.register_lowering(tangent_p, local_lowering(formulas.tangent))
for _primitive, _at in ((normalize_p, (0, 1)), (gradient_p, (3, 7))):
    mlir.register_lowering(_primitive, local_lowering(_WAYS[_primitive], kernels=False, shard=Shard()))
    mlir.register_lowering(_primitive, functools.partial(_lower, _primitive, *_at), platform="cpu")
