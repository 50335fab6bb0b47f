"""Max pooling with indices, and max unpooling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxconv import geometry
from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.errors import ShapeError
from jaxconv._base.types import ArrayLike, Ints, Padding
from jaxconv.engine.pool import first_maximum
from jaxconv.engine.primitive import select
from jaxconv.engine.select import Choice
from jaxconv.engine.window import assert_shape
from jaxconv.ops._pool import check_inside, checked_as_one, lowest, pool_input, pool_output


@renamed_arguments(size="kernel_size", ceil="ceil_mode")
def max_pool_with_indices(
    x: ArrayLike,
    kernel_size: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = "valid",
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """`max_pool`, with the index of each maximum (for ties, the first).

    Args:
      x, kernel_size, stride, padding, dilation, ceil_mode: as in `max_pool`.

    Returns:
      The maxima [N, *out, C], and int32 indices of the same shape into the flattened (row-major) spatial axes of the
      input, as in torch.

    Raises:
      ShapeError: as in `max_pool`.

    >>> y, at = max_pool_with_indices(jnp.array([[[1.0], [5.0], [2.0], [3.0]]]), (2,))
    >>> y.ravel(), at.ravel()
    (Array([5., 3.], dtype=float32), Array([1, 3], dtype=int32))
    """
    x, win, unbatched = pool_input(
        x, kernel_size, "max_pool", stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    check_inside(x.shape, win, "max_pool")
    best, code = checked_as_one(first_maximum)(jax.lax.stop_gradient(x), win, lowest(x.dtype))
    choice = Choice("y", x.shape[1:-1], win)
    if jnp.issubdtype(x.dtype, jnp.inexact):
        best = select(x, code, choice)
    cell, digits = jnp.zeros(code.shape, jnp.int32), code.astype(jnp.int32)
    for axis, base in reversed(list(zip(win.axes, choice.bases, strict=True))):
        i = axis - 1
        start = jnp.arange(win.out[i], dtype=jnp.int32) * win.stride[i] - win.padding[i][0]
        at = jnp.expand_dims(start, [a for a in range(x.ndim) if a != axis]) + digits % base * win.dilation[i]
        cell, digits = cell + at * math.prod(x.shape[axis + 1 : -1]), digits // base
    return pool_output(best, x, win, unbatched), pool_output(cell, x, win, unbatched)


def max_unpool(y: ArrayLike, indices: ArrayLike, shape: Ints) -> jax.Array:
    """Put each maximum at its index from `max_pool_with_indices`; all other cells are zero.

    Args:
      y: [N, *out, C]; may be unbatched if `shape` is a tuple.
      indices: integers of y's shape, into the flattened spatial axes of `shape`. Must be in [0, Π shape); not checked.
      shape: spatial size of the result; one int, or one per axis.

    Returns:
      [N, *shape, C] of y's dtype. If overlapping windows have the same index, the cell has one of their values.

    Raises:
      ShapeError: if the shapes of indices and y differ, `shape` has another rank, or indices are not integers.

    >>> y, at = max_pool_with_indices(jnp.array([[[1.0], [5.0], [2.0], [3.0]]]), (2,))
    >>> max_unpool(y, at, (4,)).ravel()
    Array([0., 5., 0., 3.], dtype=float32)
    """
    y, indices = jnp.asarray(y), jnp.asarray(indices)
    unbatched = isinstance(shape, Sequence) and y.ndim == len(shape) + 1
    if unbatched:
        y, indices = y[None], indices[None]
    if y.shape != indices.shape or y.ndim < 3:
        raise ShapeError(
            "max_unpool needs values and indices of the same shape [N, *out, C]",
            got=f"y {y.shape}, indices {indices.shape}",
            kind="shape",
        )
    shape = geometry.per_axis(shape, y.ndim - 2, "shape")
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ShapeError(
            "indices must be integers", got=str(indices.dtype), fix="those of max_pool_with_indices", kind="dtype"
        )
    n, c, cells_in = y.shape[0], y.shape[-1], math.prod(shape)
    cells, at = (v.reshape(n, math.prod(y.shape[1:-1]), c) for v in (y, indices))

    def place(cells: jax.Array, at: jax.Array) -> jax.Array:
        return jnp.zeros(cells_in, y.dtype).at[at].set(cells)

    one_map = jax.vmap(place, in_axes=1, out_axes=1)  # mapped, not indexed: a batch sharded over devices stays sharded
    back = assert_shape(jax.vmap(one_map)(cells, at).reshape(n, *shape, c), (n, *shape, c))
    return back[0] if unbatched else back
