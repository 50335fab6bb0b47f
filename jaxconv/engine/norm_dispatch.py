"""Norms on one device, alone or with its part of x: the native kernels where they fit, the formulas elsewhere.

Of batch, group and instance norm the kernels compute the sums; what is left has no sums and is fused by XLA with the
operations around it, such as an activation or a residual addition. Layer norm is one kernel each way.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax

from jaxconv.engine import native
from jaxconv.engine import norm as formulas
from jaxconv.engine.norm import Norm
from jaxconv.engine.partitioning import Shard


def axis_names(v: Any, x: Any, scale: Any, norm: Norm) -> list[str | None]:
    """The axes of v, an array like x, its mean or its scale, by which devices may have parts of it.

    Not those of the statistics that the scale has, as the channels of layer norm.
    """
    whole = set(norm.axes) - set(norm.rows(scale))
    return [f"x{i}" if 1 < n == x.shape[i] and i not in whole else None for i, n in enumerate(v.shape)]


def normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array, *, norm: Norm, kernels: bool, shard: Shard
) -> tuple[jax.Array, ...]:
    """`engine.norm.normalize`."""
    sizes = native.norm_sizes(x, scale, norm) if kernels else None
    over = shard.over(_names(norm.rows(scale)))
    if sizes and sizes.rows == 1 and not over:
        return tuple(native.layer_norm_native(x, scale, bias, norm, sizes))
    own: formulas.Moments = native.moments_native(x, norm, sizes) if sizes else formulas.moments(x, norm.axes)
    center, rest, var = formulas.joined(*own, over)
    return formulas.scaled(x, center, rest, var, scale, bias, norm), center, rest, var


def gradient(
    *operands: jax.Array, norm: Norm, kernels: bool, shard: Shard, without: Sequence[int] = ()
) -> tuple[jax.Array, ...]:
    """`engine.norm.gradient`; `without`: the axes of x that scale lacks on all devices, but those of the statistics."""
    dz, _, _, x, center, rest, rstd, scale = operands
    sizes, rows = native.norm_sizes(x, scale, norm) if kernels else None, norm.rows(scale)
    if sizes and sizes.rows == 1 and not shard.over(_names(rows)):
        dx, dscale, dbias = native.layer_norm_gradient_native(*operands, sizes=sizes)
    else:
        found = (
            native.sums_native(dz, x, center, rest, rstd, rows, sizes)
            if sizes
            else formulas.sums(dz, x, center, rest, rstd, rows)
        )
        if not rows:  # else XLA computes these, of x's size, again for each use
            found = lax.optimization_barrier(found)
        count = norm.count(x.shape) * shard.count(_names(rows))
        dx, dscale, dbias = formulas.from_sums(*operands, *shard.sum(found, _names(rows)), norm=norm, count=count)
    return dx, *shard.sum((dscale, dbias), _names(without))


def _names(axes: Sequence[int]) -> list[str]:
    return [f"x{i}" for i in axes]
