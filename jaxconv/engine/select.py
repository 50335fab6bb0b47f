"""Where the maximum of each window lies, and the two linear maps that this choice makes: no scatter, no gather.

A window's choice is one code: its tap's number along each axis, in a base that the axis' period divides.
`pick` takes every window's chosen cell; `place`, its adjoint, gives every cell the sum of the windows that
chose it. Both read the arrays in order, as fused loops over strided slices.
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
    """One linear map between x [N, *n, C] and the windows' [N, *out, C], given each window's code.

    Attributes:
      slot: "y" picks, "x" places.
      n: the spatial size of x.
      win: the windows.
    """

    slot: str
    n: tuple[int, ...]
    win: Window

    @property
    def adjoint(self) -> "Choice":
        """The other map."""
        return dataclasses.replace(self, slot="x" if self.slot == "y" else "y")

    @property
    def bases(self) -> tuple[int, ...]:
        """The base of the code's digit for each axis: taps, rounded up to whole strides."""
        return tuple(-(-k // s) * s for k, s in zip(self.win.kernel_size, self.win.stride, strict=True))

    @property
    def dtype(self) -> np.dtype:
        """The narrowest integers that hold every code and -1."""
        return np.min_scalar_type(-math.prod(self.bases) - 1)

    def shape(self, v: tuple[int, ...]) -> tuple[int, ...]:
        """The result's shape for an operand of shape v."""
        return (v[0], *(self.win.out if self.slot == "y" else self.n), v[-1])

    def code(self, taps: Sequence[Any]) -> Any:
        """The code of a tap, or of arrays of its numbers: digit after digit, the first axis' first."""
        code = taps[0]
        for base, tap in zip(self.bases[1:], taps[1:], strict=True):
            code = code * base + tap
        return code


def first_maximum(x: jax.Array, win: Window, fill: float | int) -> tuple[jax.Array, jax.Array]:
    """The largest value of each window, and the code of the first cell in window order that holds it.

    Args:
      x: [N, *n, C].
      fill: what padding holds; it is chosen only where a window holds nothing else. NaN wins over all.

    Returns:
      Two arrays [N, *out, C].
    """
    choice = Choice("y", x.shape[1:-1], win)
    best = win.padded(x, fill)
    code = jnp.zeros_like(best, choice.dtype)
    for axis in reversed(win.axes):  # the last axis first: of equals the first in window order stays
        base = math.prod(choice.bases[axis:])  # of the digits behind this axis'
        real = win.taps_on_input(x.shape[axis], axis)
        codes, values = slices(code, win, axis), slices(best, win, axis)
        best, code, seen = values[0], codes[0], real[0]
        for tap, value in enumerate(values[1:], 1):
            better = (value > best) | ((value != value) & (best == best))
            if not seen.all():  # padding so far: the first real cell takes over, be it as low
                better = better | (~seen & real[tap])
            best = jnp.where(better, value, best)
            code = jnp.where(better, codes[tap] + choice.dtype.type(tap * base), code)
            seen = seen | real[tap]
        best, code = lax.optimization_barrier((best, code))
    return best, code


def chosen(v: jax.Array, code: jax.Array, choice: Choice) -> jax.Array:
    """Carries a choice out: `pick` or `place`."""
    if 0 in v.shape:
        return jnp.zeros(choice.shape(v.shape), v.dtype)
    return _pick(v, code, choice) if choice.slot == "y" else _place(v, code, choice)


def _pick(x: jax.Array, code: jax.Array, choice: Choice) -> jax.Array:
    x, none = choice.win.padded(x, 0), jnp.zeros((), x.dtype)
    taps = itertools.product(*map(range, choice.win.kernel_size))
    return functools.reduce(jnp.add, (jnp.where(code == choice.code(t), _seen(x, choice.win, t), none) for t in taps))


def _seen(x: jax.Array, win: Window, tap: tuple[int, ...]) -> jax.Array:
    """What one tap of every window sees of the padded input: one slice, whose transpose is one padding."""
    first = [m * d for m, d in zip(tap, win.dilation, strict=True)]
    limit = [at + (out - 1) * s + 1 for at, out, s in zip(first, win.out, win.stride, strict=True)]
    return lax.slice(x, (0, *first, 0), (x.shape[0], *limit, x.shape[-1]), (1, *win.stride, 1))


def _place(g: jax.Array, code: jax.Array, choice: Choice) -> jax.Array:
    """Cell J = s*T + A of the padded input is seen by the windows T - v, with tap A + s*v: one compare for each v.

    With dilation a tap's residue depends on the window, so there `pick` is transposed instead; so it is where a size
    is a symbol of `jax.export`.
    """
    win = choice.win
    if any(d > 1 for d in win.dilation) or len(win.kernel_size) > 2 or not all_static((*choice.n, *win.out)):
        like = jax.ShapeDtypeStruct((g.shape[0], *choice.n, g.shape[-1]), g.dtype)
        return jax.linear_transpose(lambda x: _pick(x, code, choice), like)(g)[0]
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
