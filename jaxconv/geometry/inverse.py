"""Inverse of the output-size formula: strides, paddings and dilations that give a wanted output size."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from jaxconv._base.errors import ShapeError
from jaxconv._base.types import Padding, PaddingWord
from jaxconv.geometry.sizes import Pair, integer, output_size, pads, span

__all__ = ["Solution", "solve"]

# Order of preference. Where several paddings add the same cells, the first is returned.
_SIMPLEST: tuple[PaddingWord | Literal["int", "pair"], ...]
_SIMPLEST = ("valid", "same", "int", "full", "causal", "same_lower", "pair")


class Solution(NamedTuple):
    """Arguments of a layer along one axis: `Conv(features, kernel_size, **solution._asdict())`.

    Attributes:
      stride: cells from one window to the next.
      padding: a name of `PADDINGS` if one is equivalent, else an int, else a pair (lo, hi).
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
    """Every small (stride, padding, dilation) that gives `out` outputs from `n` inputs along one axis.

    Paddings tried: the named ones, equal ones, and pairs that differ by one, each up to d*(k - 1) per side; with more,
    a window would cover padding alone.

    Args:
      out: output size along the axis.
      n: input size along the axis.
      kernel_size: taps of the kernel, k.
      stride, padding, dilation: fixed values; None to search. `padding` is a name, an int or a pair (lo, hi).
      ceil_mode: whether a last partial window counts, as in a pool with `ceil_mode=True`.
      largest_stride: upper limit of the search; None for max(8, kernel_size).
      largest_dilation: upper limit of the search; a kernel of one tap has dilation 1.

    Returns:
      Solutions, simplest first: by dilation, then by padding ("valid", "same", an int, the other names, a pair), then
      by stride and number of padded cells. A fixed padding is returned as given.

    Raises:
      ShapeError: if no solution gives `out`; the message has the nearest sizes that can be reached, and their
        arguments.

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
    solutions: list[tuple[Any, Solution]] = []
    reached: dict[int, tuple[Any, Solution]] = {}  # by output size, the simplest that gives it
    largest_kernel = 0
    for d in dilations:
        for s in strides:
            for candidate, pair in _paddings(n, kernel_size, s, d, padding):
                o = output_size(n, kernel_size, stride=s, padding=pair, dilation=d, ceil_mode=ceil_mode)
                largest_kernel = max(largest_kernel, (n + sum(pair) - 1) // d + 1)
                ranked = _rank(candidate, s, d, pair), Solution(s, candidate, d)
                if o == out:
                    solutions.append(ranked)
                elif o > 0:
                    reached[o] = min(ranked, reached.get(o, ranked), key=_sort_key)
    if not solutions:
        fixed = {"stride": stride, "padding": padding, "dilation": dilation}
        arguments = "".join(f", {name}={value!r}" for name, value in fixed.items() if value is not None)
        got = f"{out=}, {n=}, {kernel_size=}{arguments}"
        _raise_unreachable(out, {o: solution for o, (_, solution) in reached.items()}, got, largest_kernel)
    return [solution for _, solution in sorted(solutions, key=_sort_key)]


def _paddings(
    n: int, kernel_size: int, stride: int, dilation: int, fixed: Padding | None
) -> Iterator[tuple[Padding, Pair]]:
    """Paddings to try, each once: in its simplest spelling, and as (lo, hi)."""

    def pair(padding: Padding) -> Pair:
        return pads(padding, (n,), (kernel_size,), (stride,), (dilation,))[0]

    if fixed is not None:
        yield fixed, pair(fixed)
        return
    named: dict[Pair, PaddingWord] = {
        pair(name): name for name in reversed(_SIMPLEST) if name != "int" and name != "pair"
    }
    for both, name in named.items():
        yield name, both
    reach = span(kernel_size, dilation) - 1
    equal = [(amount, amount) for amount in range(reach + 1)]
    uneven = [both for low in range(reach) for both in ((low, low + 1), (low + 1, low))]
    for both in equal + uneven:
        if both not in named:
            yield both[0] if both[0] == both[1] else both, both


def _rank(padding: Padding, stride: int, dilation: int, pair: Pair) -> tuple[int, ...]:
    kind = padding if isinstance(padding, str) else "int" if isinstance(padding, int) else "pair"
    return dilation, _SIMPLEST.index(kind), stride, sum(pair), pair[0]


def _sort_key(item: tuple[Any, Solution]) -> Any:
    return item[0]


def _raise_unreachable(out: int, reached: dict[int, Solution], got: str, largest_kernel: int) -> None:
    """Raise ShapeError with the nearest output sizes that can be reached."""
    if not reached:
        fix = f"a kernel of at most {largest_kernel}, or padding='same'"
        raise ShapeError("the kernel must fit into the padded input", got=got, fix=fix, kind="window")
    below, above = (o for o in reached if o < out), (o for o in reached if o > out)
    nearest = [o for o in (max(below, default=None), min(above, default=None)) if o is not None]
    fixes = [f"out={o} with " + ", ".join(f"{k}={v!r}" for k, v in reached[o]._asdict().items()) for o in nearest]
    raise ShapeError(
        "some small stride, padding and dilation must give this output size; nearest possible: "
        + " and ".join(map(str, nearest)),
        got=got,
        fix="; ".join(fixes),
    )
