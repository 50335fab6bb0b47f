"""Normalization: z = (x - mean) / sqrt(var + eps) * scale + bias, its tangent map and the transpose of that.

The mean is kept as center + rest, two arrays, as one cannot hold the mean of values like 1e4 ± 1e-2. mean and var have
x's shape with 1 on the axes of the statistics; scale and bias have x's shape with 1 on some axes.

Values and gradients are sums down the rows (the axes of the statistics that scale lacks), which kernels and devices may
have their own ways for, and expressions of x's size without sums, which XLA fuses with the operations around them.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Moments = tuple[jax.Array, jax.Array, jax.Array]
"""The mean as center + rest, and the (biased) variance."""


@dataclasses.dataclass(frozen=True)
class Norm:
    """Static description of one normalization.

    Attributes:
      axes: of the statistics.
      eps: added to the variance.
    """

    axes: tuple[int, ...]
    eps: float

    def of_mean(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of mean and var for x of this shape."""
        return tuple(1 if axis in self.axes else n for axis, n in enumerate(shape))

    def count(self, shape: Sequence[int]) -> int:
        """How many values of x each mean is over."""
        return math.prod(shape[axis] for axis in self.axes)

    def rows(self, scale: Any) -> tuple[int, ...]:
        """The axes of the statistics that scale lacks."""
        return tuple(axis for axis in self.axes if scale.shape[axis] == 1)


def moments(x: jax.Array, axes: Sequence[int], axis_name: Any = None) -> Moments:
    """The moments of x, of size 1 along `axes`.

    Takes two passes; the second sums the squares and the rounding error of the first mean. It is accurate for values of
    1e4 ± 1e-2 in f32, for which E[x²] - E[x]² gives NaN.
    """
    center = mean(x, axes)
    centered = x - center
    rest = mean(centered, axes)
    var = jnp.maximum(mean(abs_square(centered), axes) - abs_square(rest), 0)
    return joined(center, rest, var, axis_name)


def joined(center: jax.Array, rest: jax.Array, var: jax.Array, axis_name: Any) -> Moments:
    """The moments of equally many values along each index of a mapped axis, from those of each index."""
    if not axis_name:
        return center, rest, var
    all_ = lax.pmean(center, axis_name)
    own = center - all_ + rest
    rest = lax.pmean(own, axis_name)
    return all_, rest, lax.pmean(var + abs_square(own - rest), axis_name)


def mean(v: jax.Array, axes: Sequence[int], axis_name: Any = None) -> jax.Array:
    """The mean over some axes, kept with size 1, and over a mapped axis, if any."""
    m = jnp.mean(v, axis=tuple(axes), keepdims=True)
    return m if axis_name is None else lax.pmean(m, axis_name)


def abs_square(v: jax.Array) -> jax.Array:
    """|v|², real for complex v, too: what variances and mean squares average."""
    return jnp.square(v.real) + jnp.square(v.imag) if jnp.iscomplexobj(v) else jnp.square(v)


# ---------------------------------------------------------------- without a primitive: complex, or over a mapped axis


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def standardize(
    x: jax.Array, axes: Sequence[int], eps: float, axis_name: Any = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(x - mean) / sqrt(var + eps) over `axes` and a mapped axis, if any, with the mean and the (biased) variance."""
    center, rest, var = moments(x, axes, axis_name)
    return (x - center - rest) * lax.rsqrt(var + eps).astype(x.dtype), center + rest, var


@standardize.defjvp
def _standardize_jvp(axes: Sequence[int], eps: float, axis_name: Any, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """ẏ = r (ẋ - E[ẋ] - y E[y ẋ]) with r = 1 / sqrt(var + eps): two reductions of x's size per gradient."""
    y, m, var = standardize(primals[0], axes, eps, axis_name)
    root, moved = jnp.sqrt(var + eps), tangents[0]
    product = jnp.real(jnp.conj(y) * moved) if jnp.iscomplexobj(y) else y * moved
    dmean, along = mean(moved, axes, axis_name), mean(product, axes, axis_name)
    dy = (moved - dmean - y * along.astype(y.dtype)) / root.astype(y.dtype)
    return (y, m, var), (dy, dmean, 2 * along * root)


# ---------------------------------------------------------------- the formulas of the primitives, for real x


def normalize(x: jax.Array, scale: jax.Array, bias: jax.Array, *, norm: Norm) -> tuple[jax.Array, ...]:
    """z, center, rest and var."""
    center, rest, var = moments(x, norm.axes)
    return scaled(x, center, rest, var, scale, bias, norm), center, rest, var


def scaled(
    x: jax.Array, center: jax.Array, rest: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, norm: Norm
) -> jax.Array:
    """z, from the moments."""
    rstd = lax.rsqrt(var + norm.eps)
    if not norm.rows(scale):
        return (x - center - rest) * rstd * scale + bias
    factor = rstd * scale  # smaller than x
    return (x - center) * factor + (bias - rest * factor)


def tangent(
    dx: jax.Array,
    dscale: jax.Array,
    dbias: jax.Array,
    x: jax.Array,
    center: jax.Array,
    rest: jax.Array,
    rstd: jax.Array,
    scale: jax.Array,
    *,
    norm: Norm,
) -> tuple[jax.Array, ...]:
    """The tangents of z, mean and var: linear in those of x, scale and bias."""
    centered = x - center - rest
    y = centered * rstd
    dmean, along = mean(dx, norm.axes), mean(centered * dx, norm.axes)
    dz = (dx - dmean - y * (along * rstd)) * rstd * scale + y * dscale + dbias
    return dz, dmean, 2 * along


def gradient(
    dz: jax.Array,
    dmean: jax.Array,
    dvar: jax.Array,
    x: jax.Array,
    center: jax.Array,
    rest: jax.Array,
    rstd: jax.Array,
    scale: jax.Array,
    *,
    norm: Norm,
) -> tuple[jax.Array, ...]:
    """The transpose of `tangent`: the cotangents of x, scale and bias from those of z, mean and var."""
    found = sums(dz, x, center, rest, rstd, norm.rows(scale))
    return from_sums(dz, dmean, dvar, x, center, rest, rstd, scale, *found, norm=norm, count=norm.count(x.shape))


def sums(
    dz: jax.Array, x: jax.Array, center: jax.Array, rest: jax.Array, rstd: jax.Array, rows: Sequence[int]
) -> tuple[jax.Array, jax.Array]:
    """The sums over rows of what each value adds to the cotangents of scale and bias."""
    return sum_over(dz * ((x - center - rest) * rstd), rows), sum_over(dz, rows)


def from_sums(
    dz: jax.Array,
    dmean: jax.Array,
    dvar: jax.Array,
    x: jax.Array,
    center: jax.Array,
    rest: jax.Array,
    rstd: jax.Array,
    scale: jax.Array,
    by_scale: jax.Array,
    by_bias: jax.Array,
    *,
    norm: Norm,
    count: int,
) -> tuple[jax.Array, ...]:
    """`gradient`, from the sums over rows; `count` values, here and on other devices, have one mean."""
    others = [axis for axis in norm.axes if axis not in norm.rows(scale)]
    slope = (2 * dvar - sum_over(scale * by_scale, others) * rstd**2) / count
    offset = (dmean - sum_over(scale * by_bias, others) * rstd) / count - slope * rest
    dx = dz * (rstd * scale) + ((x - center) * slope + offset)
    lacks = [axis for axis, n in enumerate(scale.shape) if n != by_scale.shape[axis]]
    return dx, sum_over(by_scale, lacks), sum_over(by_bias, lacks)


def sum_over(v: jax.Array, axes: Sequence[int]) -> jax.Array:
    """The sum over some axes, kept with size 1."""
    return jnp.sum(v, axis=tuple(axes), keepdims=True) if axes else v
