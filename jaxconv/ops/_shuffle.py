"""Pixel shuffle: channels to space, and back."""

from __future__ import annotations

import math

import jax

from jaxconv import geometry
from jaxconv._base.errors import ShapeError, count
from jaxconv._base.types import ArrayLike, Ints
from jaxconv.engine.placement import RESHARD
from jaxconv.engine.window import assert_shape
from jaxconv.ops._pool import as_feature_maps


def pixel_shuffle(x: ArrayLike, factor: Ints) -> jax.Array:
    """Depth to space: each cell becomes a block of `factor` cells per axis, from its channels.

    Args:
      x: [N, *spatial, C*Πr].
      factor: r, cells of a block along each axis; one int, or one per axis.

    Returns:
      [N, *(n*r), C] of x's dtype. The channels of a cell are ordered as in torch: channel c of block cell (i, j) is
      c*Πr + i*r + j.

    Raises:
      ShapeError: if Πr does not divide the channels, or these are sharded on an explicit mesh.

    Source: Shi et al., Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
    Neural Network, 2016.

    >>> import jax.numpy as jnp
    >>> pixel_shuffle(jnp.arange(8).reshape(1, 1, 2, 4), 2)[0, :, :, 0]
    Array([[0, 1, 4, 5],
           [2, 3, 6, 7]], dtype=int32)
    """
    x = as_feature_maps(x, "pixel_shuffle")
    rank = x.ndim - 2
    factors = geometry.per_axis(factor, rank, "factor")
    block = math.prod(factors)
    if x.shape[-1] % block:
        raise ShapeError(
            f"pixel_shuffle needs a multiple of {block} channels, the cells of a block",
            got=f"{count(x.shape[-1], 'channel')}, factor={factor}",
            kind="channels",
        )
    if jax.typeof(x).sharding.spec[-1] is not None:
        raise ShapeError(
            "on an explicit mesh, pixel_shuffle needs unsharded channels, which become cells",
            got=jax.typeof(x).str_short(),
            fix=RESHARD,
            kind="sharding",
        )
    shape, channels = x.shape[1:-1], x.shape[-1] // block
    y = x.reshape(x.shape[0], *shape, channels, *factors)
    y = y.transpose(0, *(a for i in range(rank) for a in (1 + i, 2 + rank + i)), 1 + rank)
    sizes = [n * r for n, r in zip(shape, factors, strict=True)]
    for axis, n in enumerate(sizes, 1):  # one axis at a time: explicit meshes cannot express more in a reshape
        y = y.reshape(*y.shape[:axis], n, *y.shape[axis + 2 :])
    return assert_shape(y, (x.shape[0], *sizes, channels))


def pixel_unshuffle(x: ArrayLike, factor: Ints) -> jax.Array:
    """Space to depth, the inverse of `pixel_shuffle`: each block of `factor` cells per axis becomes one cell.

    Args:
      x: [N, *(n*r), C].
      factor: r, cells of a block along each axis; one int, or one per axis.

    Returns:
      [N, *n, C*Πr] of x's dtype, with the channels of a cell as `pixel_shuffle` takes them.

    Raises:
      ShapeError: if r does not divide the size.

    >>> import jax.numpy as jnp
    >>> pixel_unshuffle(jnp.arange(4).reshape(1, 2, 2, 1), 2).ravel()
    Array([0, 1, 2, 3], dtype=int32)
    """
    x = as_feature_maps(x, "pixel_unshuffle")
    rank, channels = x.ndim - 2, x.shape[-1]
    factors = geometry.per_axis(factor, rank, "factor")
    if any(n % r for n, r in zip(x.shape[1:-1], factors, strict=True)):
        raise ShapeError(
            "pixel_unshuffle needs spatial sizes that are multiples of factor",
            got=f"spatial shape {x.shape[1:-1]}, factor={factor}",
            kind="shape",
        )
    sizes = [n // r for n, r in zip(x.shape[1:-1], factors, strict=True)]
    y = x
    # One axis at a time: explicit meshes cannot express more in a reshape.
    for axis, (n, r) in enumerate(zip(sizes, factors, strict=True)):
        y = y.reshape(*y.shape[: 1 + 2 * axis], n, r, *y.shape[2 + 2 * axis :])
    y = y.transpose(0, *range(1, 2 * rank, 2), 1 + 2 * rank, *range(2, 2 * rank + 1, 2))
    depth = channels * math.prod(factors)
    return assert_shape(y.reshape(x.shape[0], *sizes, depth), (x.shape[0], *sizes, depth))
