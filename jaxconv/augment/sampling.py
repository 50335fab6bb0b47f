"""Pixels at fractional positions, bilinear or nearest."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxconv.ops._sample import take_cells


def bilinear(
    images: jax.Array, rows: jax.Array, columns: jax.Array, padding_mode: str, outside: float = 0.0
) -> jax.Array:
    """Bilinear interpolation.

    Args:
      images: floating [N, H, W, C].
      rows: [N, *out], row of each result; 0 is the center of the first row.
      columns: [N, *out].
      padding_mode: values outside the image: "zeros", "reflect", "edge" or "wrap".
      outside: value outside the image for "zeros".

    Returns:
      [N, *out, C].

    >>> ramp = jnp.arange(4.0).reshape(1, 1, 4, 1)
    >>> print(bilinear(ramp, jnp.zeros([1, 3]), jnp.array([[0.0, 1.5, 4.0]]), "edge")[0, :, 0])
    [0.  1.5 3. ]
    """
    rows, columns = materialized(*(_snapped(at, max(images.shape[1:3])) for at in (rows, columns)))
    top, left = jnp.floor(rows), jnp.floor(columns)
    down, right = (rows - top).astype(images.dtype), (columns - left).astype(images.dtype)
    top, left = top.astype(jnp.int32), left.astype(jnp.int32)
    taps = [
        (top, left, (1 - down) * (1 - right)),
        (top, left + 1, (1 - down) * right),
        (top + 1, left, down * (1 - right)),
        (top + 1, left + 1, down * right),
    ]
    if padding_mode == "zeros":
        shape = images.shape[1:3]
        taps = [(row, column, jnp.where(_is_inside(row, column, *shape), weight, 0)) for row, column, weight in taps]
    first, *others = (weight[..., None] * _take(images, row, column, padding_mode) for row, column, weight in taps)
    result = sum(others, first)
    if padding_mode == "zeros" and outside != 0:
        covered = sum((weight for _, _, weight in taps[1:]), taps[0][2])
        result += outside * (1 - covered[..., None])
    return result


def nearest(
    values: jax.Array, rows: jax.Array, columns: jax.Array, padding_mode: str, outside: int | float = 0
) -> jax.Array:
    """The value of the nearest pixel: values [N, H, W, C] of any dtype -> [N, *out, C]; arguments as `bilinear`.

    >>> ramp = jnp.arange(4).reshape(1, 1, 4, 1)
    >>> nearest(ramp, jnp.zeros([1, 3]), jnp.array([[0.4, 0.6, 4.0]]), "zeros", outside=9)[0, :, 0]
    Array([0, 1, 9], dtype=int32)
    """
    row, column = materialized(*(jnp.floor(at + 0.5).astype(jnp.int32) for at in (rows, columns)))
    taken = _take(values, row, column, padding_mode)
    if padding_mode != "zeros":
        return taken
    inside = _is_inside(row, column, *values.shape[1:3])[..., None]
    return jnp.where(inside, taken, jnp.asarray(outside, values.dtype))


def materialized(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays, computed once: XLA would compute the operands of a gather anew for each use and each channel."""
    return jax.lax.optimization_barrier(arrays)


def _take(values: jax.Array, rows: jax.Array, columns: jax.Array, padding_mode: str) -> jax.Array:
    """Pixels [N, *out, C] at whole rows and columns [N, *out] of values [N, H, W, C]; "zeros" takes the nearest."""
    _, height, width, _ = values.shape
    return take_cells(values, (_inside(rows, height, padding_mode), _inside(columns, width, padding_mode)))


def _snapped(at: jax.Array, n: int) -> jax.Array:
    """Positions, whole where they are so but for rounding: XLA may compute one twice, on either side of a pixel."""
    whole = jnp.round(at)
    return jnp.where(jnp.abs(at - whole) < 1e-6 * n, whole, at)


def _is_inside(rows: jax.Array, columns: jax.Array, height: int, width: int) -> jax.Array:
    return (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)


def _inside(index: jax.Array, n: int, padding_mode: str) -> jax.Array:
    """The pixels that have the values of padding: indices 0 to n - 1."""
    if padding_mode == "wrap":
        return jnp.mod(index, n)
    if padding_mode == "reflect":
        index = jnp.abs(jnp.mod(index + n - 1, max(2 * n - 2, 1)) - (n - 1))
    return jnp.clip(index, 0, n - 1)
