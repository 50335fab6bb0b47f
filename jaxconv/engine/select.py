"""Argmax of each window, and its gather and scatter-add, as fused loops over strided slices.

The argmax is stored as one integer code per window: the index of the tap along each axis, as a digit of a
mixed-radix number. Gathering takes the selected cell of each window; its adjoint, scatter-add, gives each cell
the sum over the windows that selected it. Both read arrays in order, without XLA's gather and scatter.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv.engine.window import Window, all_static, slices


@dataclasses.dataclass(frozen=True)
class Choice:
    """A linear map between x [N, *n, C] and windows [N, *out, C], given the code of each window.

    Attributes:
      slot: "y" gathers from x to the windows, "x" scatter-adds from the windows to x.
      n: spatial size of x.
      win: the windows.
    """

    slot: str
    n: tuple[int, ...]
    win: Window

    @property
    def adjoint(self) -> "Choice":
        """The adjoint map."""
        return dataclasses.replace(self, slot="x" if self.slot == "y" else "y")

    @property
    def bases(self) -> tuple[int, ...]:
        """Base of the digit of each axis: the number of taps, rounded up to a multiple of the stride s.

        `_scatter_add` compares digits with A + s*v for all residues A < s, which are then valid digits, too.
        """
        return tuple(-(-k // s) * s for k, s in zip(self.win.kernel_size, self.win.stride, strict=True))

    @property
    def dtype(self) -> np.dtype:
        """Smallest integer dtype for all codes and -1."""
        return np.min_scalar_type(-math.prod(self.bases) - 1)

    def shape(self, v: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the result for an operand of shape v."""
        return (v[0], *(self.win.out if self.slot == "y" else self.n), v[-1])

    def code(self, taps: Sequence[Any]) -> Any:
        """The code of a tap, given its index along each axis (ints or arrays); the first axis is most significant."""
        code = taps[0]
        for base, tap in zip(self.bases[1:], taps[1:], strict=True):
            code = code * base + tap
        return code


def first_maximum(x: jax.Array, win: Window, fill: float | int) -> tuple[jax.Array, jax.Array]:
    """The maximum of each window, and the code of the first cell in window order that attains it.

    NaN exceeds all other values.

    Args:
      x: [N, *n, C].
      fill: value of the padding, which is selected only in a window of padding alone.

    Returns:
      Two arrays [N, *out, C].
    """
    choice = Choice("y", x.shape[1:-1], win)
    best = win.padded(x, fill)
    code = jnp.zeros_like(best, choice.dtype)
    for axis in reversed(win.axes):  # last axis first, so that ties go to the first cell in window order
        base = math.prod(choice.bases[axis:])  # place value of this axis' digit
        inside = win.taps_on_input(x.shape[axis], axis)
        codes, values = slices(code, win, axis), slices(best, win, axis)
        best, code, on_input = values[0], codes[0], inside[0]
        for tap, value in enumerate(values[1:], 1):
            better = (value > best) | ((value != value) & (best == best))
            if not (
                isinstance(inside, np.ndarray) and on_input.all()
            ):  # only padding so far: the first cell of the input replaces it, even at equal value
                better = better | (~on_input & inside[tap])
            best = jnp.where(better, value, best)
            code = jnp.where(better, codes[tap] + choice.dtype.type(tap * base), code)
            on_input = on_input | inside[tap]
        best, code = lax.optimization_barrier((best, code))
    return best, code


def apply_choice(v: jax.Array, code: jax.Array, choice: Choice) -> jax.Array:
    """Gather or scatter-add v, by `choice.slot`."""
    if 0 in v.shape:
        return jnp.zeros(choice.shape(v.shape), v.dtype)
    return _gather(v, code, choice) if choice.slot == "y" else _scatter_add(v, code, choice)


def _gather(x: jax.Array, code: jax.Array, choice: Choice) -> jax.Array:
    x, none = choice.win.padded(x, 0), jnp.zeros((), x.dtype)
    taps = itertools.product(*map(range, choice.win.kernel_size))
    return functools.reduce(
        jnp.add, (jnp.where(code == choice.code(t), tap_cells(x, choice.win, t), none) for t in taps)
    )


def tap_cells(x: jax.Array, win: Window, tap: tuple[int, ...]) -> jax.Array:
    """The cells of the padded input under one tap of every window: one slice, whose transpose is one padding."""
    first = [m * d for m, d in zip(tap, win.dilation, strict=True)]
    limit = [at + (out - 1) * s + 1 for at, out, s in zip(first, win.out, win.stride, strict=True)]
    return lax.slice(x, (0, *first, 0), (x.shape[0], *limit, x.shape[-1]), (1, *win.stride, 1))


def _scatter_add(g: jax.Array, code: jax.Array, choice: Choice) -> jax.Array:
    """Cell J = s*T + A of the padded input is tap A + s*v of window T - v: one comparison for each v.

    With dilation, the residue of a tap depends on the window, and `_gather` is transposed instead; likewise with more
    than two spatial axes or symbolic sizes.
    """
    win = choice.win
    if any(d > 1 for d in win.dilation) or len(win.kernel_size) > 2 or not all_static((*choice.n, *win.out)):
        like = jax.ShapeDtypeStruct((g.shape[0], *choice.n, g.shape[-1]), g.dtype)
        return jax.linear_transpose(lambda x: _gather(x, code, choice), like)(g)[0]
    reach = [-(-k // s) for k, s in zip(win.kernel_size, win.stride, strict=True)]
    pads = [win.full_padding(n, axis) for axis, n in zip(win.axes, choice.n, strict=True)]
    steps = [-(-(n + lo) // s) for n, (lo, _), s in zip(choice.n, pads, win.stride, strict=True)]
    widths = [(0, 0), *((u - 1, max(t - out, 0)) for u, t, out in zip(reach, steps, win.out, strict=True)), (0, 0)]
    g, code = jnp.pad(g, widths), jnp.pad(code, widths, constant_values=-1)
    split = (g.shape[0], *(x for t in steps for x in (t, 1)), g.shape[-1])  # [N, T, A, T, A, C]
    residues = [
        lax.broadcasted_iota(code.dtype, [s if a == 2 * axis else 1 for a in range(len(split))], 2 * axis)
        for axis, s in zip(win.axes, win.stride, strict=True)
    ]
    y = jnp.zeros((), g.dtype)
    for v in itertools.product(*map(range, reach)):
        at = (slice(None), *(slice(u - 1 - w, u - 1 - w + t) for u, w, t in zip(reach, v, steps, strict=True)))
        taps = [a + a.dtype.type(s * w) for a, s, w in zip(residues, win.stride, v, strict=True)]
        y = y + jnp.where(code[at].reshape(split) == choice.code(taps), g[at].reshape(split), jnp.zeros((), g.dtype))
    y = y.reshape(g.shape[0], *(t * s for t, s in zip(steps, win.stride, strict=True)), g.shape[-1])
    return y[:, *(slice(lo, lo + n) for n, (lo, _) in zip(choice.n, pads, strict=True))]
