"""Gradients of a convolution as forward convolutions.

They extend a forward-only formulation to all three slots. They need no other layout than `[N, *spatial, C]`, no window
reversal and no dilated input, and therefore cost the same inside loops.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxconv.engine.form import Form, Formulation
from jaxconv.engine.window import all_static, pad_wide, zeros_around
from jaxconv.geometry import exact_high

Forward = Callable[[jax.Array, jax.Array, tuple[int, int], Form], jax.Array]
"""forward(x, kernel, order, form) -> [N, *out, O]. `order`: axes of the kernel for (input channels, output channels);
the others are spatial, in order."""


def by_reduction(forward: Forward) -> Formulation:
    """A formulation for all three slots from a forward convolution."""

    def formulation(a: jax.Array, b: jax.Array, form: Form) -> jax.Array:
        if 0 in (*a.shape, *b.shape, *form.shape(form.slot)):
            return jnp.zeros(form.shape(form.slot), form.dtype)
        reduced = {"y": _result, "x": _input_gradient, "k": _kernel_gradient}[form.slot]
        return reduced(forward, a, b, form).astype(form.dtype)

    formulation.__doc__ = forward.__doc__
    return formulation


def swap_batch_and_channels(x: jax.Array, groups: int) -> jax.Array:
    """Swap the batch with the channels of each group: [N, *n, (g, c)] -> [c, *n, (g, N)]."""
    if groups == 1:  # without reshapes, which an explicit mesh refuses
        return jnp.swapaxes(x, 0, -1)
    n, *spatial, channels = x.shape
    x = jnp.moveaxis(x.reshape(n, *spatial, groups, channels // groups), (0, -1), (-1, 0))
    return x.reshape(channels // groups, *spatial, groups * n)


def flip_kernel(k: jax.Array, groups: int) -> jax.Array:
    """Flip the kernel in space and swap its channel axes within each group: [*k, c, (g, o)] -> [*k, o, (g, c)]."""
    *size, c, maps = k.shape
    k = lax.rev(k, range(len(size))).reshape(*size, c, groups, maps // groups)
    return jnp.swapaxes(k, -1, -3).reshape(*size, maps // groups, groups * c)


def _result(forward: Forward, x: jax.Array, k: jax.Array, form: Form) -> jax.Array:
    return _convolve(forward, x, k, (-2, -1), form.stride, form.padding, form.dilation, form.groups, form.precision)


def _convolve(
    forward: Forward, x: jax.Array, k: jax.Array, order: tuple[int, int], stride: Any, padding: Any, dilation: Any,
    groups: int, precision: Any,
) -> jax.Array:  # fmt: skip
    """One forward convolution with padding of either sign: crops x for negative and pads it for wide padding.

    Padding of a symbolic size, whose sign is unknown, is applied apart.
    """
    size = [n for a, n in enumerate(k.shape) if a - k.ndim not in order]
    if not all_static(amount for pair in padding for amount in pair):
        x, padding = zeros_around(x, tuple(padding)), ((0, 0),) * len(size)
    c_in, c_out = (k.shape[a] for a in order)
    dilation = tuple(1 if n == 1 else d for n, d in zip(size, dilation, strict=True))
    arguments = tuple(stride), ((0, 0),) * len(size), dilation, groups
    spatial = tuple(n + lo + hi for n, (lo, hi) in zip(x.shape[1:-1], padding, strict=True))
    form = Form("y", (x.shape[0], *spatial, x.shape[-1]), (*size, c_in, c_out), *arguments, dtype=str(x.dtype))
    x = zeros_around(x, tuple((min(lo, 0), min(hi, 0)) for lo, hi in padding))
    if 0 in x.shape:
        return jnp.zeros(form.y, x.dtype)
    pads = tuple((max(lo, 0), max(hi, 0)) for lo, hi in padding)
    x, pads = pad_wide(x, pads, size, dilation)
    return forward(x, k, order, dataclasses.replace(form, x=x.shape, padding=pads, precision=precision))


def _kernel_gradient(forward: Forward, x: jax.Array, y: jax.Array, form: Form) -> jax.Array:
    """With batch and channels of x swapped, T is symmetric in k and y: convolve x with y as the kernel.

    x [N, *n, (g, c)] -> [c, *n, (g, N)]; the kernel y [N, *out, (g, o)], stride d, dilation s; result [c, *k, (g, o)].
    """
    swapped = swap_batch_and_channels(x, form.groups)
    axes = zip(form.x[1:-1], form.y[1:-1], form.kernel_size, form.stride, form.padding, form.dilation, strict=True)
    pads = [(lo, exact_high(n, k, out, stride=s, low=lo, dilation=d)) for n, out, k, s, (lo, _), d in axes]
    order = (-y.ndim, -1)
    dk = _convolve(forward, swapped, y, order, form.dilation, pads, form.stride, form.groups, form.precision)
    return jnp.moveaxis(dk, 0, -2)


def _input_gradient(forward: Forward, k: jax.Array, y: jax.Array, form: Form) -> jax.Array:
    """A convolution with the flipped kernel; with a stride s, one for each residue a of the input cells mod s.

    Only the taps with m*d ≡ a + lo (mod s) multiply cell j = a + s*t: m = m0 + e*u with e = s / gcd(s, d). They form a
    kernel of dilation d*e/s, applied with stride 1 over t. No multiplication has a zero from a dilated input.
    """
    flipped, order = _flipped_kernel(k, form)
    parts = {}
    for residues in itertools.product(*map(range, form.stride)):
        taps, pads, dilation, sizes = [], [], [], []
        for axis, a in enumerate(residues):
            n, out, size = form.x[1 + axis], form.y[1 + axis], form.kernel_size[axis]
            s, d, lo = form.stride[axis], form.dilation[axis], form.padding[axis][0]
            step = s // math.gcd(s, d)
            residue_taps = [m for m in range(size) if (m * d - a - lo) % s == 0][::-1]  # in the flipped kernel's order
            taps.append(slice(size - 1 - residue_taps[0], size, step) if residue_taps else slice(0, 0))
            first, dd, cells = (residue_taps[-1] if residue_taps else 0), d * step // s, -(-(n - a) // s)
            q = (a + lo - first * d) // s
            low = dd * (len(residue_taps) - 1) - q
            pads.append((low, cells - out + q))
            dilation.append(dd)
            sizes.append(cells)
        shape = (form.x[0], *sizes, form.x[-1])
        sub = flipped[tuple(taps)]
        if 0 in (*shape, *sub.shape):
            parts[residues] = jnp.zeros(shape, y.dtype)
        else:
            ones = (1,) * form.rank
            parts[residues] = _convolve(forward, y, sub, order, ones, pads, dilation, form.groups, form.precision)
    return _interleave(parts, form.stride, form.x)


def _flipped_kernel(k: jax.Array, form: Form) -> tuple[jax.Array, tuple[int, int]]:
    """The flipped kernel with channel axes swapped, and its `order`; without groups, swapped in `order` alone."""
    if form.groups == 1:
        return lax.rev(k, range(form.rank)), (-1, -2)
    return flip_kernel(k, form.groups), (-2, -1)


def _interleave(parts: dict[tuple[int, ...], jax.Array], stride: tuple[int, ...], shape: tuple[int, ...]) -> jax.Array:
    """Interleave the parts: cell a + s*t of each axis is cell t of part a.

    Goes from the last axis to the first, so that no array needs more than two extra axes.
    """
    for axis in reversed(range(len(stride))):
        s, n = stride[axis], shape[1 + axis]
        heads = {residues[:axis] for residues in parts}
        parts = {head: _interleave_axis([parts[(*head, a)] for a in range(s)], 1 + axis, n) for head in heads}
    return parts[()]


def _interleave_axis(parts: list[jax.Array], axis: int, n: int) -> jax.Array:
    """Interleave the cells of the parts along one axis, n in total."""
    if len(parts) == 1:
        return parts[0]
    most = parts[0].shape[axis]
    sides = [tuple((0, most - p.shape[axis]) if a == axis else (0, 0) for a in range(1, p.ndim - 1)) for p in parts]
    even = [zeros_around(p, pairs) for p, pairs in zip(parts, sides, strict=True)]
    y = jnp.stack(even, axis + 1)
    y = y.reshape(*y.shape[:axis], most * len(parts), *y.shape[axis + 2 :])
    return lax.slice_in_dim(y, 0, n, axis=axis)
