"""Sampling at fractional positions: grid sampling, and grids of affine maps."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import geometry
from jaxconv._base.dtypes import cast_back, upcast
from jaxconv._base.errors import ShapeError, did_you_mean
from jaxconv._base.types import ArrayLike, Ints
from jaxconv.engine.resample import KEYS
from jaxconv.engine.window import assert_shape
from jaxconv.ops._pool import as_feature_maps

SampleMode: TypeAlias = Literal["nearest", "linear", "cubic"]
Outside: TypeAlias = Literal["zeros", "edge", "reflect"]

MODES: tuple[SampleMode, ...] = ("nearest", "linear", "cubic")
OUTSIDE: tuple[Outside, ...] = ("zeros", "edge", "reflect")
_FROM_TORCH = {"bilinear": "linear", "bicubic": "cubic", "border": "edge", "reflection": "reflect"}


def grid_sample(
    x: ArrayLike,
    grid: ArrayLike,
    *,
    mode: SampleMode = "linear",
    padding_mode: Outside = "zeros",
    align_corners: bool = False,
) -> jax.Array:
    """Sample an input at the positions of a grid; equal to `torch.nn.functional.grid_sample`.

    Args:
      x: [N, *spatial, C], two or three spatial axes.
      grid: [N, *out, d], for each result its position (x, y) or (x, y, z), the last spatial axis first: -1 and 1 are
        the outer borders of the first and last cell, or with `align_corners` their centers.
      mode: "nearest", "linear" (torch's "bilinear") or "cubic" (torch's "bicubic"; two axes).
      padding_mode: values outside the input: "zeros", "edge" (torch's "border") or "reflect" (torch's "reflection", at
        the borders; with `align_corners` at the centers of the border cells).
      align_corners: see `grid`.

    Returns:
      [N, *out, C] of x's dtype (float32 for integers).

    Raises:
      ShapeError: if shapes do not match, or a mode is unknown.

    Source: Jaderberg et al., Spatial Transformer Networks, 2015.

    >>> x = jnp.arange(4.0).reshape(1, 2, 2, 1)
    >>> grid_sample(x, jnp.zeros((1, 1, 1, 2))).ravel()
    Array([1.5], dtype=float32)
    """
    x, grid = as_feature_maps(x, "grid_sample"), jnp.asarray(grid)
    rank = x.ndim - 2
    _check_word("mode", mode, MODES)
    _check_word("padding_mode", padding_mode, OUTSIDE)
    if rank not in (2, 3) or grid.shape[-1:] != (rank,) or grid.ndim != x.ndim or grid.shape[0] != x.shape[0]:
        raise ShapeError(
            "grid_sample needs x [N, H, W, C] and grid [N, *out, 2], or x [N, D, H, W, C] and grid [N, *out, 3]",
            got=f"x {x.shape}, grid {grid.shape}",
            kind="shape",
        )
    if mode == "cubic" and rank != 2:
        raise ShapeError("mode='cubic' is for two spatial axes", got=f"x {x.shape}", fix="mode='linear'")
    at = jnp.moveaxis(upcast(grid), -1, 0)[::-1]
    sizes = x.shape[1:-1]
    positions = [
        (v + 1) / 2 * (n - 1) if align_corners else ((v + 1) * n - 1) / 2 for v, n in zip(at, sizes, strict=True)
    ]

    def inner(position: jax.Array, n: int) -> jax.Array:
        """The position in the input that has the value of one outside of it."""
        if padding_mode == "zeros":
            return position
        if padding_mode == "reflect":
            position = _reflected(position, n, align_corners)
        return jnp.where(position <= 0, 0, jnp.where(position >= n - 1, n - 1, position))

    if mode == "cubic":
        taps = cubic_taps(positions, sizes, inner)
    else:
        positions = [inner(position, n) for position, n in zip(positions, sizes, strict=True)]
        taps = nearest_taps(positions) if mode == "nearest" else linear_taps(positions)
    y = sample(upcast(x), taps)
    return assert_shape(cast_back(y, x), (*grid.shape[:-1], x.shape[-1]))


def affine_grid(matrix: ArrayLike, size: Ints, *, align_corners: bool = False) -> jax.Array:
    """The grid of an affine map, for `grid_sample`; equal to `torch.nn.functional.affine_grid`.

    Args:
      matrix: [N, d, d + 1], from a position (x, y, 1) or (x, y, z, 1) of the result to that of the input.
      size: spatial size of the result; one int, or one per axis.
      align_corners: as in `grid_sample`.

    Returns:
      [N, *size, d], of the matrix's dtype.

    Raises:
      ShapeError: if the matrix is not [N, 2, 3] or [N, 3, 4].

    >>> affine_grid(jnp.eye(2, 3)[None], (1, 2))[0, 0]
    Array([[-0.5,  0. ],
           [ 0.5,  0. ]], dtype=float32)
    """
    matrix = jnp.asarray(matrix)
    if matrix.shape[1:] not in ((2, 3), (3, 4)) or not jnp.issubdtype(matrix.dtype, jnp.floating):
        came = f"{matrix.shape} {matrix.dtype}"
        raise ShapeError("affine_grid needs floating matrices [N, 2, 3] or [N, 3, 4]", got=came, kind="shape")
    rank = matrix.shape[1]
    sizes, lines = geometry.per_axis(size, rank, "size"), matrix[:, *(None,) * rank]  # [N, 1, …, d, d + 1]
    grid = jnp.broadcast_to(lines[..., rank], (matrix.shape[0], *sizes, rank))
    for axis, n in enumerate(sizes):
        ends = 0.0 if n == 1 else 1.0 if align_corners else (n - 1) / n
        along = jnp.asarray(np.linspace(-ends, ends, n), matrix.dtype)
        column = rank - 1 - axis  # x is the last axis
        grid = grid + jnp.expand_dims(along, [a for a in range(rank + 2) if a != axis + 1]) * lines[..., column]
    return assert_shape(grid, (matrix.shape[0], *sizes, rank))


Taps: TypeAlias = Sequence[Sequence[tuple[jax.Array, Any]]]
"""For each spatial axis its taps: whole positions as floats, and weights; None for 1."""


def nearest_taps(positions: Sequence[jax.Array]) -> Taps:
    """The nearest cell; of two, the even one."""
    return [[(jnp.round(position), None)] for position in jax.lax.optimization_barrier(list(positions))]


def linear_taps(positions: Sequence[jax.Array]) -> Taps:
    """The two cells around each position."""
    taps = []
    for position in jax.lax.optimization_barrier(list(positions)):  # computed once: XLA may round two uses apart
        low = jnp.floor(position)
        part = position - low
        taps.append([(low, 1 - part), (low + 1, part)])
    return taps


def cubic_taps(
    positions: Sequence[jax.Array], sizes: Sequence[int], inner: Callable[[jax.Array, int], jax.Array]
) -> Taps:
    """The four cells around each position; those outside are moved by `inner`."""
    taps = []
    for position, n in zip(jax.lax.optimization_barrier(list(positions)), sizes, strict=True):
        low = jnp.floor(position)
        part, a = position - low, KEYS
        near = [((a + 2) * t - (a + 3)) * t * t + 1 for t in (part, 1 - part)]
        far = [((a * t - 5 * a) * t + 8 * a) * t - 4 * a for t in (part + 1, 2 - part)]
        weights = [far[0], *near, far[1]]
        taps.append([(inner(low + offset, n), weight) for offset, weight in zip(range(-1, 3), weights, strict=True)])
    return taps


def sample(x: jax.Array, taps: Taps) -> jax.Array:
    """The weighted sum of the cells of all combinations of taps: x [N, *spatial, C] -> [N, *out, C]; zeros outside."""
    sizes, terms = x.shape[1:-1], []
    for combination in itertools.product(*taps):
        inside, weight = jnp.ones((), bool), None
        for (at, own), n in zip(combination, sizes, strict=True):
            inside = inside & (at >= 0) & (at <= n - 1)
            weight = own if weight is None else weight if own is None else weight * own
        cells = [jnp.clip(at, 0, n - 1).astype(jnp.int32) for (at, _), n in zip(combination, sizes, strict=True)]
        one = jnp.ones((), x.real.dtype) if weight is None else weight.astype(x.real.dtype)
        terms.append(jnp.where(inside, one, 0)[..., None] * take_cells(x, cells))
    return functools.reduce(jnp.add, terms)


def take_cells(x: jax.Array, cells: Sequence[jax.Array]) -> jax.Array:
    """The cells of x [N, *spatial, C] at whole indices [N, *out] on each spatial axis, inside of it: [N, *out, C]."""
    sizes = x.shape[1:-1]
    index = cells[0]
    for at, n in zip(cells[1:], sizes[1:], strict=True):
        index = index * n + at
    flat = x.reshape(x.shape[0], math.prod(sizes), x.shape[-1])
    taken: jax.Array = jax.vmap(lambda image, at: image.at[at].get(mode="promise_in_bounds"))(flat, index)
    return taken


def _reflected(position: jax.Array, n: int, align_corners: bool) -> jax.Array:
    """A position mirrored into the input: at its borders, or with `align_corners` at the centers of its last cells."""
    low, span = (0.0, n - 1) if align_corners else (-0.5, n)
    if span == 0:
        return jnp.zeros_like(position)
    distance = jnp.abs(position - low)
    rest = jnp.fmod(distance, span)
    return low + jnp.where(jnp.floor(distance / span) % 2 == 0, rest, span - rest)


def _check_word(name: str, given: Any, known: Sequence[str]) -> None:
    if given not in known:
        meant = _FROM_TORCH.get(given, given) if isinstance(given, str) else given
        raise ShapeError(
            f"{name} must be one of {', '.join(known)}", got=f"{name}={given!r}{did_you_mean(meant, known)}"
        )
