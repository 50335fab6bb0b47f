"""Receptive fields as intervals of input cells, and how windows and unions change them."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

__all__ = ["Axis", "Reach", "union"]

NOTHING = 1 << 40
"""An interval from NOTHING to -NOTHING is empty, also after any shift that occurs."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """Windows along one axis of an array: tap m of window o is at cell (o*stride + m*dilation - low) / base.

    `base` is the spacing of the array's cells if it is dilated itself, with holes between them.
    """

    out: int
    size: int = 1
    stride: int = 1
    low: int = 0
    dilation: int = 1
    base: int = 1

    def taps(self) -> tuple[np.ndarray, np.ndarray]:
        """The cell [out, size] of each tap, and whether it is a cell (not a hole)."""
        at = np.arange(self.out)[:, None] * self.stride + np.arange(self.size) * self.dilation - self.low
        return at // self.base, at % self.base == 0

    def inside(self, n: int) -> int:
        """Number of taps, over all windows, on the n cells, neither on padding nor on holes."""
        at, real = self.taps()
        return int((real & (at >= 0) & (at < n)).sum())


@dataclasses.dataclass(frozen=True)
class Reach:
    """Receptive field of each cell of an array along one input axis.

    Attributes:
      low, high: first and last input cell, arrays that broadcast to the array's shape; empty where low > high.
      seen_low, seen_high: the same on an unbounded input, with padding counted as input.
      dim: the dimension of the array that corresponds to the input axis, if there is one.
      stride: input cells from one cell along `dim` to the next.
      period: cells along `dim` after which fields repeat, moved by a whole number of input cells.
      whole: whether the field comes from a reduction or gather, so that nothing lies beyond the borders.
    """

    low: np.ndarray
    high: np.ndarray
    seen_low: np.ndarray
    seen_high: np.ndarray
    dim: int | None
    stride: Fraction | None
    whole: bool = False
    period: int = 1

    @classmethod
    def of_input(cls, shape: Sequence[int], dim: int) -> Reach:
        """Field of the input's own cells along its dimension `dim`: themselves."""
        cells = np.arange(shape[dim]).reshape([-1 if d == dim else 1 for d in range(len(shape))])
        return cls(cells, cells, cells, cells, dim, Fraction(1))

    def each(self, change: Callable[[np.ndarray, Any], np.ndarray], **fields: Any) -> Reach:
        """`change(array, reduction)` on all four arrays; the reduction is np.min for lows, np.max for highs."""
        arrays = [change(a, f) for a, f in zip(self.arrays, (np.min, np.max) * 2, strict=True)]
        words: dict[str, Any] = dict(zip(_ARRAYS, arrays, strict=True)) | fields
        return dataclasses.replace(self, **words)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """low, high, seen_low, seen_high."""
        return self.low, self.high, self.seen_low, self.seen_high

    def clipped(self) -> Reach:
        """The field within the borders."""
        return dataclasses.replace(self, seen_low=self.low, seen_high=self.high, whole=True)

    def reduced(self, dims: Sequence[int]) -> Reach:
        """The hull over dimensions, which keep length 1."""
        dims = tuple(dims)
        hull = self.each(lambda a, f: f(a, axis=dims, keepdims=True))
        return dataclasses.replace(hull.clipped(), dim=None, stride=None) if self.dim in dims else hull

    def windows(self, dim: int, n: int, axis: Axis) -> Reach:
        """Field of windows along a dimension of n cells."""
        return self.taken(dim, n, *axis.taps(), Fraction(axis.stride, axis.base))

    def taken(self, dim: int, n: int, at: np.ndarray, real: np.ndarray, stride: Fraction) -> Reach:
        """Field of unions of cells along a dimension of n cells.

        Args:
          dim: dimension of the array.
          n: its size.
          at: [out, taps], the cells of each union.
          real: [out, taps], whether a tap counts.
          stride: cells from one union to the next.
        """
        inside = real & (at >= 0) & (at < n)
        own = dim == self.dim
        step = self.stride * stride if own and self.stride is not None else self.stride
        period = self.period
        if own:
            period = math.lcm(period * stride.denominator, stride.numerator) // stride.numerator

        def take(a: np.ndarray, reduce: Any, beyond: bool) -> np.ndarray:
            empty = NOTHING if reduce is np.min else -NOTHING
            a = np.moveaxis(a, dim, -1)
            if a.shape[-1] == 1 and not own:
                a = np.broadcast_to(a, (*a.shape[:-1], n))
            if beyond:
                cells, shift = self._beyond(at, n) if own else (np.clip(at, 0, n - 1), 0)
                value, there = a[..., cells] + shift, real
            else:
                value, there = a[..., np.clip(at, 0, n - 1)], inside
            return np.moveaxis(reduce(np.where(there, value, empty), axis=-1), -1, dim)

        if not own and all(a.shape[dim] == 1 for a in self.arrays) and inside.any(axis=1).all():
            return self
        low, high = take(self.low, np.min, False), take(self.high, np.max, False)
        seen = low, high
        if not self.whole:
            seen = take(self.seen_low, np.min, True), take(self.seen_high, np.max, True)
        return Reach(low, high, *seen, self.dim, step, self.whole, period)

    def _beyond(self, at: np.ndarray, n: int) -> tuple[np.ndarray, Any]:
        """For cells that may be outside an array of n: an inner cell, whole periods away, and the shift."""
        if self.stride is None:
            return np.clip(at, 0, n - 1), 0
        period = min(self.period, n)
        before, after = at // period, 1 + (at - n) // period
        periods = np.where(at < 0, before, np.where(at >= n, after, 0))
        shift = (periods * (self.stride * period).numerator) // (self.stride * period).denominator
        return at - periods * period, shift

    def tight(self) -> Reach:
        """The field with length 1 along every dimension (except `dim`) on which it does not depend."""
        field = self
        for dim in range(self.low.ndim):
            if dim == self.dim or all(a.shape[dim] == 1 for a in self.arrays):
                continue
            if all((a == a.take([0], axis=dim)).all() for a in field.arrays):
                field = field.each(functools.partial(_first, dim=dim))
        return field

    def summary(self) -> tuple[int, int | None, Fraction | None, float | None] | None:
        """Largest field clipped to the input, unclipped, stride, and center of output 0's unclipped field.

        All but the first are None if no dimension corresponds to the input axis. None for all if the field is empty.
        """
        low, high = np.broadcast_arrays(self.low, self.high)
        if low.size == 0 or not (low <= high).any():
            return None
        size = int((high - low).max()) + 1
        if self.dim is None:
            return size, None, None, None
        low, high = np.broadcast_arrays(self.seen_low, self.seen_high)
        others = tuple(d for d in range(low.ndim) if d != self.dim)
        first, last = low.min(axis=others), high.max(axis=others)
        at = int((first <= last).argmax())
        center = (int(first[at]) + int(last[at])) / 2 - at * (self.stride or 0)
        return size, int((high - low).max()) + 1, self.stride, float(center)


def _first(a: np.ndarray, _: Any, dim: int) -> np.ndarray:
    return a.take([0], axis=dim)


_ARRAYS = ("low", "high", "seen_low", "seen_high")


def union(fields: Sequence[Reach | None], rank: int) -> Reach | None:
    """Field of the result of an elementwise operation on arrays of one shape, or scalars."""
    found = [f for f in fields if f is not None]
    if not found:
        return None
    found = [f if f.low.ndim == rank else f.each(lambda a, _: a.reshape((1,) * rank)) for f in found]
    if len(found) == 1:
        return found[0]
    whole = any(f.whole for f in found)
    lead = next((f for f in found if f.dim is not None and not f.whole), found[0])
    for f in found:
        if lead.dim is None and f.dim is not None:
            lead = f
    words: dict[str, Any] = {
        name: functools.reduce(np.maximum if "high" in name else np.minimum, (getattr(f, name) for f in found))
        for name in _ARRAYS
    }
    strides = [f.stride for f in found if f.stride is not None]
    period = math.lcm(*(f.period for f in found))
    joined = Reach(**words, dim=lead.dim, stride=max(strides) if strides else None, whole=whole, period=period).tight()
    return joined.clipped() if whole else joined
