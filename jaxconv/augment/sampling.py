"""Pixels at fractional positions, bilinear or nearest."""

from __future__ import annotations

import jax
import jax.numpy as jnp


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
    top, left = jnp.floor(rows), jnp.floor(columns)
    down, right = ((at - low)[..., None].astype(images.dtype) for at, low in ((rows, top), (columns, left)))
    top, left = top.astype(jnp.int32), left.astype(jnp.int32)

    def row(index: jax.Array) -> jax.Array:
        first = _take(images, index, left, padding_mode, outside)
        second = _take(images, index, left + 1, padding_mode, outside)
        return (1 - right) * first + right * second

    return (1 - down) * row(top) + down * row(top + 1)


def nearest(
    values: jax.Array, rows: jax.Array, columns: jax.Array, padding_mode: str, outside: int | float = 0
) -> jax.Array:
    """The value of the nearest pixel: values [N, H, W, C] of any dtype -> [N, *out, C]; arguments as `bilinear`.

    >>> ramp = jnp.arange(4).reshape(1, 1, 4, 1)
    >>> nearest(ramp, jnp.zeros([1, 3]), jnp.array([[0.4, 0.6, 4.0]]), "zeros", outside=9)[0, :, 0]
    Array([0, 1, 9], dtype=int32)
    """
    row, column = (jnp.floor(at + 0.5).astype(jnp.int32) for at in (rows, columns))
    return _take(values, row, column, padding_mode, outside)


def _take(values: jax.Array, rows: jax.Array, columns: jax.Array, padding_mode: str, outside: int | float) -> jax.Array:
    """Pixels [N, *out, C] at whole rows and columns [N, *out] of values [N, H, W, C]."""
    n, height, width, channels = values.shape
    flat = values.reshape(n, height * width, channels)
    index = _inside(rows, height, padding_mode) * width + _inside(columns, width, padding_mode)
    taken: jax.Array = jax.vmap(lambda image, at: image.at[at].get(mode="promise_in_bounds"))(flat, index)
    if padding_mode != "zeros":
        return taken
    found = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return jnp.where(found[..., None], taken, jnp.asarray(outside, values.dtype))


def _inside(index: jax.Array, n: int, padding_mode: str) -> jax.Array:
    """The pixels that have the values of padding: indices 0 to n - 1."""
    if padding_mode == "wrap":
        return jnp.mod(index, n)
    if padding_mode == "reflect":
        index = jnp.abs(jnp.mod(index + n - 1, max(2 * n - 2, 1)) - (n - 1))
    return jnp.clip(index, 0, n - 1)
