"""The output-size formula read backwards: which stride, padding and dilation lead from one size to another."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Padding
from jaxconv.geometry.sizes import PADDINGS, Pair, integer, output_size, pads, span

__all__ = ["Solution", "solve"]

# Words before numbers, and both before pairs; where several mean the same pads the first is said.
_SIMPLEST = ("valid", "same", "int", "full", "causal", "same_lower", "pair")


class Solution(NamedTuple):
    """The arguments of a layer along one axis: `Conv(features, kernel, **solution._asdict())`.

    Attributes:
      stride: cells from one window to the next.
      padding: a word of `PADDINGS` where one means it, else an int, else a pair (lo, hi).
      dilation: cells from one tap of the kernel to the next.
    """

    stride: int
    padding: Padding
    dilation: int


def solve(
    out: int,
    n: int,
    kernel_size: int,
    *,
    stride: int | None = None,
    padding: Padding | None = None,
    dilation: int | None = None,
    ceil_mode: bool = False,
    largest_stride: int | None = None,
    largest_dilation: int = 4,
) -> list[Solution]:
    """Every small (stride, padding, dilation) with which a kernel makes `out` windows of `n` cells.

    Strides go up to `largest_stride`, dilations to `largest_dilation`. Paddings are the words, equal ones and
    pairs that differ by one, all of them up to d*(k - 1) a side: beyond it a window would see padding alone.

    Args:
      out: windows wanted along one axis.
      n: cells of the input along it, n.
      kernel_size: taps of the kernel, k.
      stride, padding, dilation: those that stand already; padding a word, an int or a pair (lo, hi).
      ceil_mode: whether a last partial window counts, as in a pool with `ceil_mode=True`.
      largest_stride: the kernel or 8, whichever is more, if not given.
      largest_dilation: of a kernel of more than one tap.

    Returns:
      The simplest first: by dilation, then by padding ("valid", "same", an int, the other words, a pair), then by
      stride and by padded cells. A padding that was given is kept as it was written.

    Raises:
      ShapeError: nothing gives `out`; it names the nearest that can be reached, and how.

    >>> solve(14, 28, 3)[:2]
    [Solution(stride=2, padding='same', dilation=1), Solution(stride=2, padding=1, dilation=1)]
    >>> solve(24, 28, 5, dilation=1)
    [Solution(stride=1, padding='valid', dilation=1)]
    """
    out, n, kernel_size = integer(out, "out"), integer(n, "n"), integer(kernel_size, "kernel_size")
    most = max(8, kernel_size) if largest_stride is None else integer(largest_stride, "largest_stride")
    strides = range(1, most + 1) if stride is None else [integer(stride, "stride")]
    furthest = integer(largest_dilation, "largest_dilation") if kernel_size > 1 else 1
    dilations = range(1, furthest + 1) if dilation is None else [integer(dilation, "dilation")]
    found: list[tuple[Any, Solution]] = []
    reached: dict[int, tuple[Any, Solution]] = {}
    widest = 0
    for d in dilations:
        for s in strides:
            for said, pair in _paddings(n, kernel_size, s, d, padding):
                o = output_size(n, kernel_size, stride=s, padding=pair, dilation=d, ceil_mode=ceil_mode)
                widest = max(widest, (n + sum(pair) - 1) // d + 1)
                one = _order(said, s, d, pair), Solution(s, said, d)
                if o == out:
                    found.append(one)
                elif o > 0:
                    reached[o] = min(one, reached.get(o, one), key=_first)
    if not found:
        given = {"stride": stride, "padding": padding, "dilation": dilation}
        held = "".join(f", {word}={value!r}" for word, value in given.items() if value is not None)
        _refuse(out, {o: one for o, (_, one) in reached.items()}, f"{out=}, {n=}, {kernel_size=}{held}", widest)
    return [one for _, one in sorted(found, key=_first)]


def _paddings(
    n: int, kernel_size: int, stride: int, dilation: int, given: Padding | None
) -> Iterator[tuple[Padding, Pair]]:
    """Paddings to try, each once: the simplest way to say it, and (lo, hi)."""

    def pair(padding: Padding) -> Pair:
        return pads(padding, (n,), (kernel_size,), (stride,), (dilation,))[0]

    if given is not None:
        yield given, pair(given)
        return
    words = {pair(word): word for word in reversed(_SIMPLEST) if word in PADDINGS}
    yield from ((word, both) for both, word in words.items())
    reach = span(kernel_size, dilation) - 1
    equal = [(amount, amount) for amount in range(reach + 1)]
    uneven = [both for low in range(reach) for both in ((low, low + 1), (low + 1, low))]
    for both in equal + uneven:
        if both not in words:
            yield both[0] if both[0] == both[1] else both, both


def _order(said: Padding, stride: int, dilation: int, pair: Pair) -> tuple[int, ...]:
    kind = said if isinstance(said, str) else "int" if isinstance(said, int) else "pair"
    return dilation, _SIMPLEST.index(kind), stride, sum(pair), pair[0]


def _first(item: tuple[Any, Solution]) -> Any:
    return item[0]


def _refuse(out: int, reached: dict[int, Solution], got: str, widest: int) -> None:
    """Raises ShapeError: what cannot be reached, and the nearest that can."""
    if not reached:
        fix = f"a kernel of at most {widest}, or padding='same'"
        raise ShapeError("a kernel must fit into the padded input at least once", got=got, fix=fix, kind="window")
    below, above = (o for o in reached if o < out), (o for o in reached if o > out)
    nearest = [o for o in (max(below, default=None), min(above, default=None)) if o is not None]
    ways = [f"out={o} by " + ", ".join(f"{w}={v!r}" for w, v in reached[o]._asdict().items()) for o in nearest]
    raise ShapeError(
        f"out must be reached by a small stride, padding and dilation; the nearest: {' and '.join(map(str, nearest))}",
        got=got,
        fix="; ".join(ways),
    )
