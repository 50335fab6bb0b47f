"""Conversion of `lax`'s general convolutions and window reductions to the engine's forms and windows."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.engine.form import Form
from jaxconv.engine.primitive import bind
from jaxconv.engine.reductions import flip_kernel, swap_batch_and_channels
from jaxconv.engine.window import Window, all_static, zeros_around
from jaxconv.geometry import Pair, exact_high, output_size, span

Ints = tuple[int, ...]


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: Any,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    *,
    impl: str = "auto",
) -> jax.Array:
    """`jax.lax.conv_general_dilated`, with all of its arguments, by the engine.

    >>> x, k = jnp.ones((1, 3, 8, 8)), jnp.ones((4, 3, 3, 3))
    >>> conv_general_dilated(x, k, (1, 1), ((-1, 2), (0, 0)), lhs_dilation=(2, 1)).shape
    (1, 4, 14, 6)
    """
    rank = lhs.ndim - 2
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    (n, c, *cells), (o, i, *taps), out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    spatial = *(lhs.shape[cell] for cell in cells), *(rhs.shape[tap] for tap in taps)
    if not 1 <= rank <= 3 or 0 in (*lhs.shape, *rhs.shape) or not all_static(spatial):
        return lax.conv_general_dilated(
            lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation, numbers, feature_group_count,
            batch_group_count, precision, preferred_element_type,
        )  # fmt: skip
    a, d = (tuple(v or (1,) * rank) for v in (lhs_dilation, rhs_dilation))
    if isinstance(padding, str):
        sizes = [(lhs.shape[cell] - 1) * step + 1 for cell, step in zip(cells, a, strict=True)]
        padding = lax.padtype_to_pads(
            sizes, [span(rhs.shape[t], e) for t, e in zip(taps, d, strict=True)], window_strides, padding
        )
    x, k = lax.transpose(lhs, (n, *cells, c)), lax.transpose(rhs, (*taps, i, o))
    dtype = jnp.dtype(preferred_element_type or jnp.promote_types(x.dtype, k.dtype))
    pads = tuple((int(lo), int(hi)) for lo, hi in padding)
    groups = max(feature_group_count, batch_group_count)
    shared = {"dtype": str(dtype), "precision": precision, "impl": impl, "groups": groups}
    y = _canonical(x, k, tuple(window_strides), pads, a, d, batch_group_count > 1, shared)
    permutation = [0] * y.ndim
    for at, axis in zip((out[0], out[1], *out[2:]), (0, y.ndim - 1, *range(1, y.ndim - 1)), strict=True):
        permutation[at] = axis
    return lax.transpose(y, permutation)


def _canonical(
    x: jax.Array, k: jax.Array, s: Ints, pads: tuple[Pair, ...], a: Ints, d: Ints, batch_groups: bool, shared: Any
) -> jax.Array:
    """x [N, *n, C], dilated by a and padded, convolved with k [*k, C/groups, O], stride s, dilation d, as one form.

    Args:
      batch_groups: whether the batch, not the channels, is in groups: x [(g, N), *n, C] with k [*k, C, (g, O)], which
        is the kernel gradient of a convolution in groups.
      shared: the fields of the form that do not depend on shapes.
    """
    groups = shared["groups"]
    if any(step > 1 for step in a):
        if all(step == 1 for step in s):
            x = swap_batch_and_channels(jnp.swapaxes(x, 0, -1), groups) if batch_groups else x
            return _adjoint(x, k, pads, a, d, shared)
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((0, 0, step - 1) for step in a), (0, 0, 0)])
    x = zeros_around(x, tuple((min(lo, 0), min(hi, 0)) for lo, hi in pads))
    pads = tuple((max(lo, 0), max(hi, 0)) for lo, hi in pads)
    if 0 in x.shape:  # everything was cropped: only padding is left
        x, pads = zeros_around(x, pads), ((0, 0),) * len(s)
    shape = (x.shape[0] // groups, *x.shape[1:-1], groups * x.shape[-1]) if batch_groups else x.shape
    form = Form("y", shape, k.shape, s, pads, d, **shared)
    if min(form.y[1:-1]) < 1:
        return jnp.zeros((form.y[0], *(max(n, 0) for n in form.y[1:-1]), form.y[-1]), form.dtype)
    if not batch_groups and math.prod(form.y[1:-1]) >= math.prod(form.kernel_size):
        return bind(x, k, form)
    # A kernel larger than the result: compute it as a kernel gradient, T with k and y exchanged.
    swapped = jnp.swapaxes(x, 0, -1) if batch_groups else swap_batch_and_channels(x, groups)
    axes = zip(x.shape[1:-1], form.y[1:-1], form.kernel_size, s, pads, d, strict=True)
    ends = [(lo, exact_high(n, t, out, stride=step, low=lo, dilation=e)) for n, out, t, step, (lo, _), e in axes]
    if any(n + hi < 1 for n, (_, hi) in zip(x.shape[1:-1], ends, strict=True)):  # crops low padding, too
        swapped, ends = zeros_around(swapped, tuple((lo, 0) for lo, _ in ends)), [(0, hi) for _, hi in ends]
    swapped = zeros_around(swapped, tuple((0, min(hi, 0)) for _, hi in ends))
    kernel = (*form.y[1:-1], form.x[0], k.shape[-1])
    exchanged = Form("k", swapped.shape, kernel, d, tuple((lo, max(hi, 0)) for lo, hi in ends), s, **shared)
    return jnp.moveaxis(bind(swapped, jnp.moveaxis(k, -2, 0), exchanged), -2, 0)


def _adjoint(x: jax.Array, k: jax.Array, pads: tuple[Pair, ...], a: Ints, d: Ints, shared: Any) -> jax.Array:
    """A convolution of a dilated input is the input gradient of a strided convolution with the flipped kernel."""
    sizes, crops, ends = [], [], []
    for n, taps, (lo, hi), step, e in zip(x.shape[1:-1], k.shape[:-2], pads, a, d, strict=True):
        dilated, reach = (n - 1) * step + 1, e * (taps - 1)
        out = dilated + lo + hi - reach
        low = reach - lo  # padding of the strided convolution; if negative, that many results depend on no cell
        covered = out + min(low, 0)
        high = dilated + reach - covered - max(low, 0)
        sizes.append(covered + min(high, 0))
        crops.append((max(-low, 0), max(-high, 0)))
        ends.append((max(low, 0), max(high, 0)))
    flipped = flip_kernel(k, shared["groups"])
    if min(sizes) < 1:
        shape = tuple(max(n + lo + hi, 0) for n, (lo, hi) in zip(sizes, crops, strict=True))
        return jnp.zeros((x.shape[0], *shape, k.shape[-1]), shared["dtype"])
    form = Form("x", (x.shape[0], *sizes, k.shape[-1]), flipped.shape, a, tuple(ends), d, **shared)
    return zeros_around(bind(flipped, x, form), tuple(crops))


def windows_of(
    shape: Ints, window: Ints, strides: Ints, padding: Any, dilation: Ints | None = None
) -> tuple[Ints, Window] | None:
    """A `lax` window reduction as windows on [N, *spatial, C]: the shape to reshape the array to, and the windows.

    None if the windows cover more than three axes, axes that are not adjacent or of symbolic size, or if a padding is
    negative.
    """
    dilation = dilation or (1,) * len(shape)
    plain = [(k, s, *p) == (1, 1, 0, 0) for k, s, p in zip(window, strides, padding, strict=True)]
    if all(plain) or 0 in shape:
        return None
    first, last = plain.index(False), len(plain) - plain[::-1].index(False)
    cut = slice(first, last)
    inner, amounts = shape[cut], [n for pair in padding[cut] for n in pair]
    if last - first > 3 or not all_static((*inner, *amounts)) or min(amounts) < 0:
        return None
    pads = tuple((int(lo), int(hi)) for lo, hi in padding[cut])
    ends = zip(inner, window[cut], strides[cut], pads, dilation[cut], strict=True)
    out = tuple(output_size(n, k, stride=s, padding=p, dilation=d) for n, k, s, p, d in ends)
    if min(out) < 1:
        return None
    flat = (math.prod(shape[:first]), *inner, math.prod(shape[last:]))
    return flat, Window(window[cut], strides[cut], pads, dilation[cut], out)
