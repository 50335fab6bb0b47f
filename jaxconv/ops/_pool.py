"""Pooling.

All pools are separable: they reduce k strided slices along one axis after the other. Max pools store the argmax of each
window as a code (`engine/select.py`), so that no gradient needs XLA's gather or scatter.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.compat import debug_infs
from jaxconv._base.deprecation import renamed_arguments
from jaxconv._base.dtypes import cast_back, upcast
from jaxconv._base.errors import ShapeError
from jaxconv._base.numeric import check_number
from jaxconv._base.types import ArrayLike, Ints, Padding
from jaxconv.engine.pool import first_maximum, window_count, window_sum
from jaxconv.engine.primitive import select
from jaxconv.engine.select import Choice
from jaxconv.engine.window import Window, all_static, as_batch, assert_shape, slices, window


def pool_input(x: ArrayLike, kernel_size: Ints, op: str, **arguments: Any) -> tuple[jax.Array, Window, bool]:
    """The input of a pool as [N, *spatial, C], its window, and whether it was unbatched."""
    x, unbatched = as_batch(x, kernel_size, op)
    stride = arguments.pop("stride")
    win = window(x.shape[1:-1], kernel_size, stride=kernel_size if stride is None else stride, op=op, **arguments)
    return x, win, unbatched


def pool_output(y: jax.Array, x: jax.Array, win: Window, unbatched: bool) -> jax.Array:
    """The result of a pool, of the shape that the formula predicts; without N if the input was unbatched."""
    y = assert_shape(y, (x.shape[0], *win.out, x.shape[-1]))
    return y[0] if unbatched else y


def check_inside(shape: Sequence[int], win: Window, op: str, padded: bool = False) -> None:
    """Raise ShapeError if a window covers no cell of the input [N, *spatial, C] (or of the padded input)."""
    for axis in win.axes:
        if not all_static([shape[axis]]):
            _check_symbolic(shape[axis], win, axis, op, padded)
            continue
        i, on_input = axis - 1, win.taps_on_input(shape[axis], axis, padded).any(axis=0).ravel()
        if not on_input.all():
            raise ShapeError(
                f"every window of {op} must contain at least one cell of its input",
                got=f"window {on_input.argmin()} of spatial axis {i} contains only padding {win.padding[i]} "
                f"(size {win.kernel_size[i]}, stride {win.stride[i]}, dilation {win.dilation[i]}, input {shape[axis]})",
                fix="less padding",
                kind="padding",
            )


def _check_symbolic(n: Any, win: Window, axis: int, op: str, padded: bool) -> None:
    """Raise ShapeError unless every window covers a cell for all values of a symbolic size n."""
    k, d, pair = win.kernel_size[axis - 1], win.dilation[axis - 1], win.padding[axis - 1]
    if not padded and any(amount != 0 for amount in pair) and (d > 1 or any(amount >= k for amount in pair)):
        raise ShapeError(
            f"{op} of symbolic size needs dilation 1 and less padding than its window, "
            "for every window to contain at least one cell",
            got=f"spatial axis {axis - 1} of symbolic size {n}, window {k}, dilation {d}, padding {pair}",
            fix="padding='valid', or export with static sizes",
        )


def lowest(dtype: Any) -> Any:
    """Identity element of max."""
    if jnp.issubdtype(dtype, jnp.inexact):
        return -jnp.inf
    return False if dtype == jnp.bool_ else jnp.iinfo(dtype).min


def checked_as_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Under `jax.debug_infs`, the function of (x, win, fill) as one program, so that padding by -inf is no alarm."""
    return jax.jit(function, static_argnums=(1, 2)) if debug_infs() else function


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def window_max(x: jax.Array, win: Window, fill: Any) -> jax.Array:
    """Maximum of each window of x [N, *spatial, C], padded with `fill`; NaN if any value is NaN.

    The derivative of a tie goes to the first maximum in window order that is not padding.
    """
    return checked_as_one(_window_max)(x, win, fill)


def _window_max(x: jax.Array, win: Window, fill: Any) -> jax.Array:
    y = win.padded(x, fill)
    for axis in win.axes:  # the barrier keeps XLA from recomputing this axis in each slice of the next
        y = jax.lax.optimization_barrier(functools.reduce(jnp.maximum, slices(y, win, axis)))
    return y


@window_max.defjvp
def _window_max_jvp(win: Window, fill: Any, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    y, code = checked_as_one(first_maximum)(primals[0], win, fill)
    return y, select(tangents[0], code, Choice("y", primals[0].shape[1:-1], win))


@renamed_arguments(size="kernel_size", ceil="ceil_mode")
def max_pool(
    x: ArrayLike,
    kernel_size: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = "valid",
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> jax.Array:
    """Max pooling.

    Args:
      x: [N, *spatial, C]; may be unbatched if `kernel_size` is a tuple.
      kernel_size: size of the window; for one spatial axis, a tuple such as `(2,)`.
      stride: cells from one window to the next; None for `kernel_size`.
      padding: as in `conv`; padded cells are never the maximum.
      dilation: cells from one tap of the window to the next.
      ceil_mode: whether to include a last partial window, if it starts inside the input or its low padding.

    Returns:
      [N, *out, C] of x's dtype, out = floor((n + lo + hi - d*(k - 1) - 1) / s) + 1 (ceil with `ceil_mode`).
      The gradient of a tie goes to the first maximum in window order. A window with NaN gives NaN.

    Raises:
      ShapeError: if a window does not fit, or contains only padding.

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    Array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    x, win, unbatched = pool_input(
        x, kernel_size, "max_pool", stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    check_inside(x.shape, win, "max_pool")
    y = window_max(x, win, lowest(x.dtype))
    return pool_output(y, x, win, unbatched)


@renamed_arguments(size="kernel_size", ceil="ceil_mode", count_padding="count_include_pad")
def avg_pool(
    x: ArrayLike,
    kernel_size: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = "valid",
    dilation: Ints = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> jax.Array:
    """Average pooling.

    Args:
      x, kernel_size, stride, padding, dilation, ceil_mode: as in `max_pool`.
      count_include_pad: whether padded cells count in the divisor; cells beyond the padding, which windows reach with
        `ceil_mode`, never do.

    Returns:
      [N, *out, C] of x's dtype (float32 for integers); summed in f32 or wider.

    Raises:
      ShapeError: if a window does not fit, or contains no cell to divide by.

    >>> avg_pool(jnp.ones((1, 3, 3, 1)), 3, stride=1, padding=1, count_include_pad=True)[0, 0, 0, 0]
    Array(0.44444445, dtype=float32)
    """
    x, win, unbatched = pool_input(
        x, kernel_size, "avg_pool", stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    check_inside(x.shape, win, "avg_pool", count_include_pad)
    wide = upcast(x)
    y = window_sum(wide, win, not count_include_pad)
    if count_include_pad:
        y = y / window_count(wide, win, padded=True)
    return pool_output(cast_back(y, x), x, win, unbatched)


@renamed_arguments(size="kernel_size", ceil="ceil_mode")
def lp_pool(
    x: ArrayLike,
    kernel_size: Ints,
    *,
    p: float = 2,
    stride: Ints | None = None,
    padding: Padding = "valid",
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> jax.Array:
    """Lp pooling: the p-norm of each window, (Σ |x|^p)^(1/p).

    Scales each window by its largest value, so that powers of 1e30 or 1e-30 neither overflow nor underflow.

    Args:
      x, kernel_size, stride, padding, dilation, ceil_mode: as in `max_pool`.
      p: a number ≥ 1; inf for the maximum of |x|.

    Returns:
      [N, *out, C] of x's dtype (float32 for integers, real for complex x). The gradient of a window of zeros is zero.

    Raises:
      ShapeError: if p < 1, or a window does not fit.

    >>> lp_pool(jnp.array([[[3.0], [4.0]]]), (2,), p=2)
    Array([[[5.]]], dtype=float32)
    """
    check_number(p, "p", "p must be a number ≥ 1, for (Σ|x|^p)^(1/p) to be a norm", lambda p: p >= 1)
    x, win, unbatched = pool_input(
        x, kernel_size, "lp_pool", stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    y = upcast(x)
    y = y * jax.lax.stop_gradient(jnp.sign(y).conj())  # |x| with slope 0 at 0, where jnp.abs has 1
    if jnp.iscomplexobj(y):
        x = y = y.real
    if p == np.inf:
        return pool_output(cast_back(window_max(y, win, 0), x), x, win, unbatched)
    y = win.padded(y, 0)
    for axis in win.axes:  # the p-norm of p-norms is the p-norm of all cells
        y = _norm(slices(y, win, axis), float(p))
    return pool_output(cast_back(y, x), x, win, unbatched)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _norm(parts: list[jax.Array], p: float) -> jax.Array:
    """The p-norm over non-negative arrays, scaled by their maximum."""
    if p == 1:
        return functools.reduce(jnp.add, parts)
    largest = functools.reduce(jnp.maximum, parts)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)
    total = functools.reduce(jnp.add, (_power(part / scale, p) for part in parts))
    return scale * (jnp.sqrt(total) if p == 2 else total ** (1 / p))


def _power(u: jax.Array, p: float) -> jax.Array:
    return u if p == 1 else u * u if p == 2 else u**p


@_norm.defjvp
def _norm_jvp(p: float, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """∂y/∂part = (part / y)^(p - 1), in [0, 1] for all magnitudes; 0 in a window of zeros."""
    (parts,), (changes,) = primals, tangents
    if p == 1:
        return _norm(parts, p), functools.reduce(jnp.add, changes)
    y = _norm(parts, p)
    nonzero = y > 0
    divisor = jnp.where(nonzero, y, 1)
    slopes = (jnp.where(nonzero, _power(part / divisor, p - 1), 0) for part in parts)
    return y, functools.reduce(jnp.add, (s * m for s, m in zip(slopes, changes, strict=True)))


@renamed_arguments(size="kernel_size", ceil="ceil_mode")
def l2_pool(
    x: ArrayLike,
    kernel_size: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = "valid",
    dilation: Ints = 1,
    ceil_mode: bool = False,
) -> jax.Array:
    """L2 pooling, the square root of the sum of squares of each window: `lp_pool` with p = 2.

    >>> l2_pool(jnp.array([[[3.0], [4.0]]]), (2,))
    Array([[[5.]]], dtype=float32)
    """
    return lp_pool(x, kernel_size, p=2, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)


def global_avg_pool(x: ArrayLike) -> jax.Array:
    """Global average pooling: [N, *spatial, C] -> [N, C].

    Raises:
      ShapeError: if x has no spatial axis, or an empty one.

    >>> global_avg_pool(jnp.ones((2, 4, 4, 3))).shape
    (2, 3)
    """
    x = as_feature_maps(x, "global_avg_pool")
    y = jnp.mean(upcast(x), axis=tuple(range(1, x.ndim - 1)))
    y = cast_back(y, x)
    return assert_shape(y, (x.shape[0], x.shape[-1]))


def global_max_pool(x: ArrayLike) -> jax.Array:
    """Global max pooling: [N, *spatial, C] -> [N, C].

    The gradient of a tie goes to the first maximum.

    Raises:
      ShapeError: if x has no spatial axis, or an empty one.

    >>> global_max_pool(jnp.arange(8.0).reshape(1, 2, 2, 2))
    Array([[6., 7.]], dtype=float32)
    """
    x = as_feature_maps(x, "global_max_pool")
    cells = x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])
    return assert_shape(first_max(cells, 1), (x.shape[0], x.shape[-1]))


def first_max(x: jax.Array, axis: int) -> jax.Array:
    """Maximum over one axis; the gradient of a tie goes to the first, without a scatter."""
    first = jnp.argmax(x, axis=axis, keepdims=True)
    chosen = jax.lax.broadcasted_iota(first.dtype, x.shape, axis) == first
    return jnp.sum(
        jnp.where(chosen, x, jnp.zeros((), x.dtype)), axis=axis, dtype=x.dtype
    )  # exact: a single nonzero term


def as_feature_maps(x: ArrayLike, op: str) -> jax.Array:
    """x as an array; raises ShapeError unless it is [N, *spatial, C] with at least one cell."""
    x = jnp.asarray(x)
    if x.ndim < 3 or 0 in x.shape[1:-1]:
        raise ShapeError(f"{op} needs [N, *spatial, C] with at least one cell", got=f"{x.shape}", kind="rank")
    return x
