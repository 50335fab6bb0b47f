"""Canonical forms: the same sum without cells, taps, strides and axes that no result depends on.

Formulations, rules and measurements get canonical forms only, and so have fewer edge cases.
"""

import dataclasses

import jax
from jax import lax

from jaxconv.engine.form import Form
from jaxconv.engine.window import all_static
from jaxconv.geometry import Pair, exact_high, output_size


@dataclasses.dataclass(frozen=True)
class Simplified:
    """A canonical form, and the crops that lead to it.

    Attributes:
      form: the canonical form.
      cells, taps: (low, high) cropped from x and from the kernel along each spatial axis of the original form.
    """

    form: Form
    cells: tuple[Pair, ...]
    taps: tuple[Pair, ...]

    def crop_operand(self, v: jax.Array, slot: str) -> jax.Array:
        """An operand of the canonical form from the original one."""
        for axis, (low, high) in self._crops(slot):
            if low or high:
                v = lax.slice_in_dim(v, low, v.shape[axis] - high, axis=axis)
        return v.reshape(getattr(self.form, slot))

    def pad_result(self, v: jax.Array, slot: str, shape: tuple[int, ...]) -> jax.Array:
        """The original result, of `shape`, from the canonical one; zero where x or k was cropped."""
        crops = dict(self._crops(slot))
        widths = [(*crops.get(axis, (0, 0)), 0) for axis in range(len(shape))]
        v = v.reshape([n - low - high for n, (low, high, _) in zip(shape, widths, strict=True)])
        return lax.pad(v, v.dtype.type(0), widths) if any(map(any, widths)) else v

    def _crops(self, slot: str) -> list[tuple[int, Pair]]:
        return {
            "x": list(enumerate(self.cells, 1)),
            "k": list(enumerate(self.taps)),
            "y": [],
        }[slot]


def simplified(form: Form) -> Simplified:
    """The canonical form of `form`, which has one member.

    Along each axis, taps on padding alone and cells outside of all windows are cropped; an axis with one output has
    stride 1, an axis with one tap dilation 1; padding ends where the windows do. Of three axes, one with a single tap
    and neither stride nor padding is removed if it has one cell, or merged into the batch if it is the first.
    """
    axes = [
        _axis(*axis)
        for axis in zip(form.x[1:-1], form.kernel_size, form.stride, form.padding, form.dilation, strict=True)
    ]
    cells, taps = tuple(axis.cells for axis in axes), tuple(axis.taps for axis in axes)
    batch, remaining = form.x[0], list(axes)
    while len(remaining) > 2:
        plain = [a for a in remaining if (a.k, a.s, a.pads) == (1, 1, (0, 0)) and (a.n == 1 or a is remaining[0])]
        if not plain:
            break
        remaining = [a for a in remaining if a is not plain[0]]
        batch *= plain[0].n
    canonical = form.open(
        form.slot,
        x=(batch, *(a.n for a in remaining), form.x[-1]),
        k=(*(a.k for a in remaining), *form.k[-2:]),
        stride=tuple(a.s for a in remaining),
        padding=tuple(a.pads for a in remaining),
        dilation=tuple(a.d for a in remaining),
    )
    return Simplified(canonical, cells, taps)


@dataclasses.dataclass(frozen=True, eq=False)
class _Axis:
    """One spatial axis of a form, and what was cropped from it."""

    n: int
    k: int
    s: int
    pads: Pair
    d: int
    cells: Pair = (0, 0)
    taps: Pair = (0, 0)


def _axis(n: int, k: int, s: int, pads: Pair, d: int) -> _Axis:
    out, low = output_size(n, k, stride=s, padding=pads, dilation=d), pads[0]
    if not all_static((n, out)):  # symbolic
        return _Axis(n, k, s, pads, d)
    live = [m for m in range(k) if any(0 <= i * s + m * d - low < n for i in range(out))]
    if not live:  # every window covers padding alone: without cells, the formulations return zeros
        return _Axis(0, 1, 1, (out, 0), 1, (0, n), (0, k - 1))
    taps = live[0], k - 1 - live[-1]
    k, low = k - sum(taps), low - live[0] * d
    s, d = 1 if out == 1 else s, 1 if k == 1 else d
    before = max(-low, 0)
    n, low = n - before, max(low, 0)
    high = exact_high(n, k, out, stride=s, low=low, dilation=d)
    unused = -high if high < 0 and output_size(n, k, stride=s, padding=(low, 0), dilation=d) != out else 0
    return _Axis(n - unused, k, s, (low, max(high, 0)), d, (before, unused), taps)
