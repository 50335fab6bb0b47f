"""The native kernels of normalization, in f32: sums down the rows, and layer norm as a whole (src/norm.h)."""

import itertools
import math
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxconv.engine.native.library import available
from jaxconv.engine.norm import Norm


class Sizes(NamedTuple):
    """x as [members, samples, rows, groups, channels] of src/norm.h."""

    members: int
    samples: int
    rows: int
    groups: int
    channels: int


def norm_sizes(x: Any, scale: Any, norm: Norm) -> Sizes | None:
    """The sizes of a norm that the kernels can run, else None.

    Axes of one value are left out, and neighbors of one kind (whether the statistics are over it, whether the scale has
    it) are one axis.
    """
    if x.dtype != np.float32 or 0 in x.shape or not available():
        return None
    kinds = [((i in norm.axes, scale.shape[i] == n), n) for i, n in enumerate(x.shape) if n > 1]
    merged = [(kind, math.prod(n for _, n in run)) for kind, run in itertools.groupby(kinds, lambda pair: pair[0])]
    order = [(False, True), (False, False), (True, False), (False, True), (True, True)]
    found, place = [1] * len(order), 0
    for kind, n in merged:
        if kind not in order[place:]:
            return None
        place = order.index(kind, place)
        found[place], place = n, place + 1
    sizes = Sizes(*found)
    return sizes if sizes.rows * sizes.channels > 1 else None


def moments_native(x: jax.Array, norm: Norm, sizes: Sizes) -> Any:
    """`engine.norm.moments`: center, rest and var, where there are several rows."""
    mean = jax.ShapeDtypeStruct(norm.of_mean(x.shape), x.dtype)
    return jax.ffi.ffi_call("jaxconv_moments", (mean,) * 3)(x, sizes=np.array(sizes))


def sums_native(
    dz: jax.Array, x: jax.Array, center: jax.Array, rest: jax.Array, rstd: jax.Array, rows: Any, sizes: Sizes
) -> Any:
    """`engine.norm.sums`, where there are several rows."""
    sums = jax.ShapeDtypeStruct(tuple(1 if axis in rows else n for axis, n in enumerate(x.shape)), x.dtype)
    return jax.ffi.ffi_call("jaxconv_sums", (sums,) * 2)(dz, x, center, rest, rstd, sizes=np.array(sizes))


def layer_norm_native(x: jax.Array, scale: jax.Array, bias: jax.Array, norm: Norm, sizes: Sizes) -> Any:
    """`engine.norm.normalize`, where there is one row."""
    mean = jax.ShapeDtypeStruct(norm.of_mean(x.shape), x.dtype)
    call = jax.ffi.ffi_call("jaxconv_layer_norm", (_like(x), mean, mean, mean))
    return call(x, scale, bias, sizes=np.array(sizes), eps=np.float64(norm.eps))


def layer_norm_gradient_native(*operands: jax.Array, sizes: Sizes) -> Any:
    """`engine.norm.gradient`, where there is one row."""
    x, scale = operands[3], operands[-1]
    call = jax.ffi.ffi_call("jaxconv_layer_norm_gradient", (_like(x), _like(scale), _like(scale)))
    return call(*operands, sizes=np.array(sizes))


def _like(v: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(v.shape, v.dtype)
