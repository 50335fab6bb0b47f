"""Windowed operations: shared argument parsing, slicing, padding and shape checks."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import geometry
from jaxconv._base.errors import ShapeError, count
from jaxconv._base.types import Padding
from jaxconv.geometry import Pair


@dataclasses.dataclass(frozen=True)
class Window:
    """Arguments and output size of one windowed operation, per spatial axis."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[Pair, ...]
    dilation: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def axes(self) -> range:
        """The spatial axes of an array [N, *spatial, C]."""
        return range(1, len(self.kernel_size) + 1)

    @property
    def symbolic_padding(self) -> bool:
        """Whether a padding depends on a symbolic size of `jax.export`: the engine takes ints."""
        return not all_static(amount for pair in self.padding for amount in pair)

    def full_padding(self, n: int, axis: int) -> Pair:
        """Padding of a spatial axis of n cells, with the cells that `ceil_mode` adds to complete the last window."""
        i = axis - 1
        low, high = self.padding[i]
        if not all_static([n]):  # symbolic: `window` rejects ceil_mode
            return low, high
        arguments = {"stride": self.stride[i], "low": low, "dilation": self.dilation[i]}
        return low, max(high, geometry.exact_high(n, self.kernel_size[i], self.out[i], **arguments))

    def padded(self, x: jax.Array, fill: Any) -> jax.Array:
        """x [N, *spatial, C] padded with `fill` on all spatial axes, as far as the windows reach."""
        sides = ((*self.full_padding(x.shape[axis], axis), 0) for axis in self.axes)
        return jax.lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0), *sides, (0, 0, 0)])

    def taps_on_input(self, n: int, axis: int, padded: bool = False) -> Any:
        """Mask of the taps that are on the input (with `padded`: on the padded input), along an axis of n cells.

        Returns:
          Bools [k, …]: one array per tap that broadcasts to [N, *out, C] and has the windows on `axis`. A NumPy array,
          but a traced one if n is symbolic and padded.
        """
        i = axis - 1
        low, high = self.padding[i]
        if not all_static([n]):
            return self._symbolic_taps_on_input(n, axis, padded)
        cells, before = (low + n + high, 0) if padded else (n, low)
        inside = geometry.taps_inside(cells, self.kernel_size[i], self.stride[i], before, self.dilation[i], self.out[i])
        return np.array(inside).T.reshape(
            self.kernel_size[i], *[-1 if a == axis else 1 for a in range(len(self.kernel_size) + 2)]
        )

    def _symbolic_taps_on_input(self, n: Any, axis: int, padded: bool) -> Any:
        i, rank = axis - 1, len(self.kernel_size)
        low, high = self.padding[i]
        if padded or not (low or high):
            return np.ones((self.kernel_size[i], *[1] * (rank + 2)), bool)
        shape = [self.out[i] if a == axis else 1 for a in range(rank + 2)]
        first = jax.lax.broadcasted_iota(jnp.int32, shape, axis) * jnp.int32(self.stride[i])
        start, end = (jnp.asarray(v).astype(jnp.int32) for v in (low, low + n))
        cells = [first + jnp.int32(tap * self.dilation[i]) for tap in range(self.kernel_size[i])]
        return jnp.stack([(start <= cell) & (cell < end) for cell in cells])


def window(
    shape: Sequence[int],
    kernel_size: Any,
    *,
    stride: Any = 1,
    padding: Padding = "valid",
    dilation: Any = 1,
    ceil_mode: bool = False,
    op: str = "window",
) -> Window:
    """The `Window` of an operation on spatial `shape`; raises ShapeError if its arguments are invalid."""
    rank = len(shape)
    sizes = geometry.per_axis(kernel_size, rank, "kernel_size")
    strides = geometry.per_axis(stride, rank, "stride")
    dilations = geometry.per_axis(dilation, rank, "dilation")
    pairs = geometry.pads(padding, shape, sizes, strides, dilations)
    if ceil_mode and not all_static(shape):
        raise ShapeError("ceil_mode needs static sizes", got=f"spatial shape {tuple(shape)}", fix="ceil_mode=False")
    out = geometry.output_shape(shape, sizes, strides, pairs, dilations, ceil_mode=ceil_mode, op=op)
    return Window(sizes, strides, pairs, dilations, out)


def all_static(sizes: Iterable[Any]) -> bool:
    """Whether all sizes are ints, none a symbolic dimension of `jax.export`."""
    return all(isinstance(n, (int, np.integer)) for n in sizes)


def as_batch(x: Any, kernel_size: Any, op: str) -> tuple[jax.Array, bool]:
    """`x` as [N, *spatial, C], and whether it was unbatched; see `spatial_rank`."""
    x = jnp.asarray(x)
    unbatched = x.ndim == spatial_rank(x.shape, kernel_size, op) + 1
    return (x[None] if unbatched else x), unbatched


def spatial_rank(shape: Sequence[int], kernel_size: Any, op: str) -> int:
    """Number of spatial axes of an input of `shape` under a window of `kernel_size`.

    A tuple determines it: an input of one axis less is unbatched. An int needs a batch of 2 or 3 spatial axes, since
    an input of 3 axes could be a batch of signals or an unbatched image.

    Raises:
      ShapeError: if the rank does not match a tuple, or is ambiguous under an int.
    """
    ndim, got = len(shape), f"{count(len(shape), 'axis')}: {tuple(shape)}"
    if isinstance(kernel_size, str):
        raise ShapeError("kernel_size must be an int, or one for each spatial axis", got=f"kernel_size={kernel_size!r}")
    if isinstance(kernel_size, Sequence):
        rank = len(kernel_size)
        if not 1 <= rank <= 3:
            raise ShapeError(f"{op} works on 1 to 3 spatial axes", got=f"kernel_size={kernel_size!r}", kind="rank")
        if ndim not in (rank + 1, rank + 2):
            names = ", ".join(("N", *"DHW"[-rank:], "C"))
            raise ShapeError(
                f"{op} of size {tuple(kernel_size)} needs an input [{names}], or one example without N",
                got=got,
                kind="rank",
            )
        return rank
    if ndim not in (4, 5):
        fix = ""
        if ndim == 2:
            fix = (
                "x[None, :, :, None] for one gray image [H, W]; "
                f"x[None], kernel_size=({kernel_size},) for one signal [W, C]"
            )
        if ndim == 3:
            fix = f"kernel_size=({kernel_size},) for a batch of signals [N, W, C]; x[None] for one image [H, W, C]"
        raise ShapeError(
            f"{op} with an int kernel_size needs [N, H, W, C] or [N, D, H, W, C]", got=got, fix=fix, kind="rank"
        )
    return ndim - 2


def assert_shape(y: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Assert at trace time that `y` has the shape that the formula predicts; return y."""
    import chex  # at the top, it would take a third of the import time

    chex.assert_shape(y, tuple(shape))
    return y


def slices(x: jax.Array, win: Window, axis: int) -> list[jax.Array]:
    """The cells under each tap of the windows along one axis: k strided slices, no gather.

    Args:
      x: [N, *spatial, C], already padded along `axis` (see `Window.padded`).

    Returns:
      k arrays of x's shape, but of size `win.out` along `axis`.
    """
    i = axis - 1
    stop = (win.out[i] - 1) * win.stride[i] + 1
    starts = range(0, win.kernel_size[i] * win.dilation[i], win.dilation[i])
    return [jax.lax.slice_in_dim(x, start, start + stop, win.stride[i], axis) for start in starts]


def pad_wide(
    x: jax.Array, pairs: tuple[Pair, ...], kernel_size: Sequence[int], dilation: Sequence[int]
) -> tuple[jax.Array, tuple[Pair, ...]]:
    """x and its padding; if any is wider than d(k-1), x padded, and no padding.

    XLA turns wider padding into a negative low padding in the input gradient, which its CPU code reads out of bounds
    (openxla/xla#48713).
    """
    reach = (geometry.span(k, d) - 1 for k, d in zip(kernel_size, dilation, strict=True))
    if all(amount <= r for pair, r in zip(pairs, reach, strict=True) for amount in pair):
        return x, pairs
    return zeros_around(x, pairs), ((0, 0),) * len(pairs)


def zeros_around(x: jax.Array, pairs: tuple[Pair, ...]) -> jax.Array:
    """x [N, *spatial, C] with (lo, hi) zeros added on each spatial axis; negative amounts crop.

    Crops with a slice: XLA folds a negative `lax.pad` into a convolution incorrectly (openxla/xla#48715).
    """
    if not all_static(amount for pair in pairs for amount in pair):  # of unknown sign, behind a barrier against folding
        widths = [(0, 0, 0), *((lo, hi, 0) for lo, hi in pairs), (0, 0, 0)]
        return jax.lax.optimization_barrier(jax.lax.pad(x, jnp.zeros((), x.dtype), widths))
    for axis, (lo, hi) in enumerate(pairs, 1):
        if lo < 0 or hi < 0:
            n = x.shape[axis]
            first = min(max(-lo, 0), n)
            x = jax.lax.slice_in_dim(x, first, max(n + min(hi, 0), first), axis=axis)
    if any(amount > 0 for pair in pairs for amount in pair):
        widths = [(0, 0, 0), *((max(lo, 0), max(hi, 0), 0) for lo, hi in pairs), (0, 0, 0)]
        x = jax.lax.pad(x, jnp.zeros((), x.dtype), widths)
    return x
