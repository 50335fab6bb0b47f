"""Input sizes that a net accepts, and its output shapes; from shapes alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax

from jaxconv._base.errors import ShapeError
from jaxconv.explain.shape_walk import Walk, Walker
from jaxconv.geometry import integer, per_axis

__all__ = ["output_shapes", "smallest_input"]

Cells = tuple[int, ...]

# Consecutive sizes with the same failure after which a net counts as invalid: twice the period of five halvings.
_ALIKE = 64


def smallest_input(net: Any, channels: int, *, rank: int = 2, largest: int = 512, batch: int = 1) -> tuple[int, ...]:
    """The smallest spatial input that a net accepts, with parameters initialized for it.

    If a window does not fit, it fits no shorter input either, as maps shrink with the input: such sizes are skipped.
    All others are tried one by one, as legality need not be monotone: a net may accept even sizes only. The search
    starts with all axes of one length, then shortens each axis in turn. Nothing is computed.

    Args:
      net: a Layer or callable.
      channels: of the input.
      rank: number of spatial axes.
      largest: the longest axis to try.
      batch: number of images.

    Returns:
      The cells of each spatial axis.

    Raises:
      ShapeError: if no size up to `largest` is legal; with the path and message of the last try.

    >>> from jaxconv.layers import Conv, MaxPool, chain
    >>> smallest_input(chain(Conv(20, 5), MaxPool(2), Conv(40, 5), MaxPool(2)), 1)
    (16, 16)
    >>> smallest_input(chain(Conv(8, (1, 7))), 3)
    (1, 7)
    """
    rank, largest = integer(rank, "rank"), integer(largest, "largest")
    return shortest(Walker(net), channels, rank, largest, batch)


def output_shapes(net: Any, sizes: Iterable[Any], channels: int, *, rank: int = 2, batch: int = 1) -> dict[Any, Any]:
    """Output shapes of a net for several input sizes, each with parameters initialized for it.

    Args:
      net: a Layer or callable.
      sizes: ints, or tuples with an int for each spatial axis.
      channels: of the input.
      rank: number of spatial axes for sizes that are ints.
      batch: number of images.

    Returns:
      {size: output shape, or the first line of the error}; a tree of shapes if the output is a tree.

    Raises:
      ShapeError: if a size is invalid.

    >>> from jaxconv.layers import Conv
    >>> output_shapes(Conv(4, 3), [28, (2, 28)], channels=1)
    {28: (1, 26, 26, 4), (2, 28): 'conv: a kernel of 3 must fit into the padded input of 2 + 0 + 0 cells \
on spatial axis 0'}
    """
    walker, found = Walker(net), {}
    for size in sizes:
        cells = per_axis(size, len(size) if isinstance(size, tuple) else rank, "size")
        walk = walker.walk((batch, *cells, channels))
        found[size] = first_line(walk) if walk.error else jax.tree.map(lambda leaf: leaf.shape, walk.y)
    return found


def shortest(walker: Walker, channels: int, rank: int, largest: int, batch: int = 1) -> tuple[int, ...]:
    """`smallest_input` with the cache of an existing walker."""
    channels, batch = integer(channels, "channels"), integer(batch, "batch")

    def walk(cells: Cells) -> Walk:
        return walker.walk((batch, *cells, channels))

    side = _first(lambda n: walk((n,) * rank), largest)
    cells = (side,) * rank
    for axis in range(rank if side > 1 else 0):
        before, after = cells[:axis], cells[axis + 1 :]
        beside = functools.partial(_beside, walk, before, after)
        if not does_not_fit(beside(side - 1)):
            cells = (*before, _first(beside, side), *after)
    return cells


def _beside(walk: Callable[[Cells], Walk], before: Cells, after: Cells, n: int) -> Walk:
    return walk((*before, n, *after))


def does_not_fit(walk: Walk) -> bool:
    """Whether a window was larger than its input; then it is for every smaller input, too."""
    return isinstance(walk.error, ShapeError) and walk.error.kind == "window"


def first_line(walk: Walk) -> str:
    """The error of a walk in one line, with the layer's path."""
    where = f"at {'/'.join(walk.at)}: " if walk.at else ""
    error = walk.error
    words = error.must if isinstance(error, ShapeError) else str(error) or type(error).__name__
    return where + (words.splitlines() or [""])[0]


def _first(walk: Callable[[int], Walk], largest: int) -> int:
    """The smallest legal size."""
    none, n = 0, 1
    while does_not_fit(walk(n)) and none < largest:
        none, n = n, min(2 * n, largest)
    while n - none > 1:  # all up to none are too small, n is not
        middle = (none + n) // 2
        none, n = (middle, n) if does_not_fit(walk(middle)) else (none, middle)
    alike, before = 0, None
    while (found := walk(n)).error is not None and n < largest:
        alike = alike + 1 if _kind(found) == before else 1
        before = _kind(found)
        if alike == _ALIKE and _kind(walk(largest)) == before:
            break
        n += 1
    if found.error is None:
        return n
    error = found.error
    if not isinstance(error, ShapeError):
        error = ShapeError(f"{type(error).__name__}: {error}")
    numbers: dict[str, Any] = error.numbers
    must = f"a net must accept some input of at most {largest} cells per axis; at {n}: {error.must}"
    refused = ShapeError(must, got=error.got, fix=error.fix, kind=error.kind, **numbers)
    refused.path = found.at
    raise refused from found.error


def _kind(walk: Walk) -> tuple[Any, ...]:
    """The same for failures that differ in their numbers alone."""
    return walk.at, type(walk.error), getattr(walk.error, "kind", None)
