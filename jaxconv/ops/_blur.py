"""Anti-aliased downsampling."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.dtypes import cast_back, upcast
from jaxconv._base.types import ArrayLike, Ints, PaddingMode
from jaxconv.engine.window import as_batch, slices, window
from jaxconv.ops._pad import pad_pairs
from jaxconv.ops._pool import pool_output


@renamed_arguments(size="kernel_size", pad_mode="padding_mode")
def blur_pool(
    x: ArrayLike, kernel_size: Ints = 3, *, stride: Ints = 2, padding_mode: PaddingMode = "reflect"
) -> jax.Array:
    """Blur each channel with a binomial filter, then subsample with `stride`.

    Args:
      x: [N, *spatial, C]; may be unbatched if `kernel_size` is a tuple.
      kernel_size: size of the filter; 3 has the weights [1, 2, 1] / 4.
      stride: cells from one window to the next.
      padding_mode: as in `conv`, for the (k-1)//2 cells of low and k//2 cells of high padding.

    Returns:
      [N, *out, C] of x's dtype (float32 for integers), out = floor((n - 1) / s) + 1.

    Raises:
      ShapeError: if the input is too small for `padding_mode`.

    Source: Zhang, Making Convolutional Networks Shift-Invariant Again, 2019.

    >>> blur_pool(jnp.ones((1, 8, 8, 2))).shape
    (1, 4, 4, 2)
    """
    x, unbatched = as_batch(x, kernel_size, "blur_pool")
    sizes = geometry.per_axis(kernel_size, x.ndim - 2, "kernel_size")
    y = pad_pairs(upcast(x), tuple(((k - 1) // 2, k // 2) for k in sizes), padding_mode)
    win = window(y.shape[1:-1], sizes, stride=stride, op="blur_pool")
    for axis, k in zip(win.axes, sizes, strict=True):
        weighted = (math.comb(k - 1, i) / 2 ** (k - 1) * tap for i, tap in enumerate(slices(y, win, axis)))
        y = functools.reduce(jnp.add, weighted)
    return pool_output(cast_back(y, x), x, win, unbatched)
