"""Resampling of axes by fixed matrices with few weights in each row: interpolation, and its adjoint.

On one CPU device it is a native kernel where that fits, elsewhere the formula, which XLA partitions.
"""

import dataclasses
import functools
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.compat import Primitive, ad, batching, mlir, register_taylor_rule
from jaxconv.engine import native
from jaxconv.engine.placement import local_lowering, one_device, resharded, result_sharding, run_compiled

CATMULL_ROM, KEYS = -0.5, -0.75
"""Slopes of the cubic kernel: of antialiased resizing, as in Pillow, and of torch's, as in OpenCV."""


@dataclasses.dataclass(frozen=True)
class Resampling:
    """A linear map from n to `out` cells along one axis, or its adjoint.

    Attributes:
      n, out: number of cells.
      mode: "nearest", "nearest-exact", "linear", "cubic" or "area".
      step: input cells from one result to the next.
      align_corners: whether the centers of the first and last cells coincide; the borders do otherwise.
      antialias: whether the kernel is widened by a step above 1.
      wide: whether positions and weights are computed in float64, else in float32: torch's, to the bit.
      adjoint: whether this is the transposed map, from `out` to n cells.
    """

    n: int
    out: int
    mode: str
    step: float
    align_corners: bool = False
    antialias: bool = False
    wide: bool = False
    adjoint: bool = False

    @property
    def size(self) -> int:
        """Number of cells of the result."""
        return self.n if self.adjoint else self.out

    @property
    def stride(self) -> Fraction:
        """Operand cells from one cell of the result to the next."""
        ends = self.align_corners and self.n > 1 and self.out > 1
        step = Fraction(self.n - ends, self.out - ends)
        return 1 / step if self.adjoint else step

    @property
    def transposed(self) -> "Resampling":
        """The adjoint map."""
        return dataclasses.replace(self, adjoint=not self.adjoint)

    def taps(self) -> tuple[np.ndarray, np.ndarray]:
        """Cells [size, t] that each cell of the result is a sum of, and their weights.

        Cells beyond the borders stand for those at the border.
        """
        return _transposed(self.transposed) if self.adjoint else _taps(self)


@functools.lru_cache(maxsize=256)
def _taps(r: Resampling) -> tuple[np.ndarray, np.ndarray]:
    real: Any = np.float64 if r.wide else np.float32
    o, step = np.arange(r.out, dtype=real), real(r.step)
    if r.mode in ("nearest", "nearest-exact"):
        half = real(0.5 if r.mode == "nearest-exact" else 0)
        at = (o.astype(np.float64) + half) * step - half  # rounded once, then again, as torch does
        at = np.floor((at.astype(real) + half).astype(np.float32)).astype(np.int64)
        return np.minimum(at, r.n - 1)[:, None], np.ones((r.out, 1), real)
    if r.mode == "area":
        low, high = np.arange(r.out) * r.n // r.out, -(-np.arange(1, r.out + 1) * r.n // r.out)
        cells = low[:, None] + np.arange((high - low).max())
        return cells, np.where(cells < high[:, None], 1 / (high - low)[:, None], 0).astype(real)
    if r.antialias:
        return _wide_taps(r, o, step)
    at = o * step if r.align_corners else (o + real(0.5)) * step - real(0.5)
    first = np.floor(at)
    part = (at - first)[:, None]
    if r.mode == "linear":
        cells, weights = np.arange(2), np.concatenate([1 - part, part], axis=1)
    else:
        cells = np.arange(-1, 3)
        weights = _cubic(part - cells.astype(real), KEYS)
    return first.astype(np.int64)[:, None] + cells, weights


def _wide_taps(r: Resampling, o: np.ndarray, step: Any) -> tuple[np.ndarray, np.ndarray]:
    """Taps of a kernel as wide as the step, normalized over the cells that it covers."""
    real = o.dtype.type
    width = np.maximum(step, real(1))
    reach = (1 if r.mode == "linear" else 2) * width
    center = (o + real(0.5)) * step
    low = np.maximum((center - reach + real(0.5)).astype(np.int64), 0)
    high = np.minimum((center + reach + real(0.5)).astype(np.int64), r.n)
    cells = low[:, None] + np.arange((high - low).max())
    distance = (cells.astype(real) - center[:, None] + real(0.5)) / width
    kernel = np.maximum(1 - np.abs(distance), 0) if r.mode == "linear" else _cubic(distance, CATMULL_ROM)
    weights = np.where(cells < high[:, None], kernel, 0).astype(real)
    return cells, weights / weights.sum(1, keepdims=True)


def _cubic(x: np.ndarray, slope: float) -> np.ndarray:
    """Cubic convolution kernel with the given slope at distance 1. Source: Keys, 1981."""
    a, x = x.dtype.type(slope), np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0)).astype(x.dtype)


@functools.lru_cache(maxsize=256)
def _transposed(r: Resampling) -> tuple[np.ndarray, np.ndarray]:
    """The taps of the adjoint of a forward map; a cell that fewer results take than others has weights of 0."""
    cells, weights = _taps(r)
    results = np.broadcast_to(np.arange(r.out)[:, None], cells.shape).ravel()
    cells, weights = np.clip(cells, 0, r.n - 1).ravel(), weights.ravel()
    matrix = np.zeros((r.n, r.out), weights.dtype)
    np.add.at(matrix, (cells, results), weights)
    taken = matrix != 0
    most = max(int(taken.sum(1).max()), 1)
    order = np.argsort(~taken, axis=1, kind="stable")[:, :most]
    found = np.take_along_axis(matrix, order, axis=1)
    return np.where(found != 0, order, order[:, :1]), found


# ---------------------------------------------------------------- the primitive

resample_p = Primitive("jaxconv_resample")

Maps = tuple[tuple[int, Resampling], ...]
"""The axes along which an array is resampled, in this order, and how."""


def resample(x: jax.Array, maps: Maps) -> jax.Array:
    """Linear maps along axes of x [N, *spatial, C]."""
    return resample_p.bind(x, maps=maps) if maps else x


def apply_taps(x: jax.Array, *, maps: Maps) -> jax.Array:
    """Weighted sums of gathered slices, axis by axis."""
    for axis, resampling in maps:
        x = _along(x, resampling, axis)
    return x


def _along(x: jax.Array, resampling: Resampling, axis: int) -> jax.Array:
    n = x.shape[axis]
    if 0 in x.shape:
        return jnp.zeros((*x.shape[:axis], resampling.size, *x.shape[axis + 1 :]), x.dtype)
    cells, weights = resampling.taps()
    along = [-1 if a == axis else 1 for a in range(x.ndim)]

    def term(tap: int) -> jax.Array:
        at, weight = np.clip(cells[:, tap], 0, n - 1).astype(np.int32), weights[:, tap]
        taken: jax.Array = x.at[(slice(None),) * axis + (at,)].get(mode="promise_in_bounds")
        return taken if (weight == 1).all() else taken * jnp.asarray(weight, x.dtype).reshape(along)

    return functools.reduce(jnp.add, map(term, range(cells.shape[1])))


def _native(x: jax.Array, *, maps: Maps) -> jax.Array:
    if not native.fits_resample(x):
        return apply_taps(x, maps=maps)
    found = {axis: resampling.taps() for axis, resampling in maps}
    return native.resample_native(
        x, [(axis, (np.clip(cells, 0, x.shape[axis] - 1), weights)) for axis, (cells, weights) in found.items()]
    )


def _lower(ctx: Any, x: Any, **params: Any) -> Any:
    return local_lowering(_native if one_device(ctx.module_context) else apply_taps)(ctx, x, **params)


def _abstract(x: Any, *, maps: Maps) -> Any:
    sizes = {axis: resampling.size for axis, resampling in maps}
    names = [None if axis in sizes else f"{axis}" for axis in range(x.ndim)]
    shape = tuple(sizes.get(axis, n) for axis, n in enumerate(x.shape))
    return x.update(shape=shape, weak_type=False, sharding=result_sharding(x, names, [(x, names)]))


def _transpose(ct: Any, x: Any, *, maps: Maps) -> list[Any]:
    if isinstance(ct, ad.Zero):
        return [ad.Zero(x.aval)]
    back = tuple((axis, resampling.transposed) for axis, resampling in reversed(maps))
    return [resharded(resample(ct, back), x.aval)]


def _tangent(tangent: jax.Array, x: jax.Array, **params: Any) -> jax.Array:
    return resample_p.bind(tangent, **params)


def _batch(arrays: Any, axes: Any, *, maps: Maps) -> tuple[jax.Array, int]:
    """The new axis is the first: no axis is merged."""
    moved = tuple((axis + 1, resampling) for axis, resampling in maps)
    return resample(jnp.moveaxis(arrays[0], axes[0], 0), moved), 0


def _taylor(primals: Any, series: Any, **params: Any) -> tuple[jax.Array, list[jax.Array]]:
    return resample_p.bind(primals[0], **params), [resample_p.bind(term, **params) for term in series[0]]


resample_p.def_abstract_eval(_abstract)
run_compiled(resample_p, "maps")
ad.defjvp(resample_p, _tangent)
ad.primitive_transposes[resample_p] = _transpose
batching.primitive_batchers[resample_p] = _batch
mlir.register_lowering(resample_p, local_lowering(apply_taps))
mlir.register_lowering(resample_p, _lower, platform="cpu")
register_taylor_rule(resample_p, _taylor)
