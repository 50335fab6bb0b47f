"""Sizes, paddings and receptive fields of windowed operations, on plain ints.

For input size n, kernel k, stride s, padding (lo, hi) and dilation d:

    out = floor((n + lo + hi - d*(k - 1) - 1) / s) + 1

Every windowed operation computes its output shape here, and asserts that its result has it.
"""

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any

from jaxconv._base.errors import ShapeError, count, did_you_mean, either
from jaxconv._base.types import Padding, PaddingMode, PaddingWord

PADDINGS: tuple[PaddingWord, ...] = ("valid", "same", "same_lower", "full", "causal")
PADDING_MODES: tuple[PaddingMode, ...] = ("zeros", "reflect", "edge", "wrap")

_FROM_TORCH = {"circular": "wrap", "replicate": "edge", "constant": "zeros"}

Pair = tuple[int, int]


def integer(value: Any, name: str, least: int = 1) -> int:
    """`value` as an int ≥ `least`.

    Raises:
      ShapeError: if it is a float, a bool, or too small.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        fix = f"{name}={int(value)}" if isinstance(value, float) and value.is_integer() else ""
        raise ShapeError(f"{name} must be an int", got=f"{name}={value!r}", fix=fix) from None
    if number < least:
        raise ShapeError(f"{name} must be ≥ {least}", got=f"{name}={number}")
    return number


def per_axis(value: Any, rank: int, name: str, least: int = 1) -> tuple[int, ...]:
    """One int for each of `rank` spatial axes.

    >>> per_axis(3, 2, "kernel_size"), per_axis((3, 5), 2, "kernel_size")
    ((3, 3), (3, 5))
    """
    if getattr(value, "ndim", 0) == 1:  # a NumPy array
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, str):
        return (integer(value, name, least),) * rank
    if len(value) != rank:
        raise ShapeError(
            f"{name} must be one int, or one for each of the {count(rank, 'spatial axis')}", got=f"{name}={value!r}"
        )
    return tuple(integer(v, name, least) for v in value)


def span(kernel_size: int, dilation: int = 1) -> int:
    """Extent of a dilated kernel in input cells: d*(k - 1) + 1."""
    return dilation * (kernel_size - 1) + 1


def output_size(
    n: int, kernel_size: int, *, stride: int = 1, padding: Pair = (0, 0), dilation: int = 1, ceil_mode: bool = False
) -> int:
    """Number of windows along one axis; ≤ 0 if none fits.

    With `ceil_mode`, a last partial window counts, too, even if it is the only one. A window that starts in the high
    padding is dropped, as in torch and ONNX.

    >>> output_size(28, 5), output_size(28, 3, stride=2, padding=(1, 1)), output_size(5, 2, stride=2, ceil_mode=True)
    (24, 14, 3)
    >>> output_size(2, 3, stride=3, padding=(1, 1), ceil_mode=True), output_size(1, 3, stride=4, ceil_mode=True)
    (1, 1)
    """
    lo, hi = padding
    room = n + lo + hi - span(kernel_size, dilation)
    if not ceil_mode:
        return room // stride + 1 if room >= 0 else 0
    return min(-(-room // stride), (n + lo - 1) // stride) + 1


def exact_high(n: int, kernel_size: int, out: int, *, stride: int = 1, low: int = 0, dilation: int = 1) -> int:
    """The high padding with which the last of `out` windows ends where the padded input does.

    Negative if no window reaches the last cells. `output_size` with this padding is `out`.

    >>> exact_high(28, 3, 14, stride=2, low=1), exact_high(28, 5, 24), exact_high(5, 2, 3, stride=2)
    (0, 0, 1)
    """
    return span(kernel_size, dilation) + stride * (out - 1) - n - low


def formula(n: int, kernel_size: int, stride: int, padding: Pair, dilation: int, ceil_mode: bool = False) -> str:
    """The output-size formula with its numbers, as text for messages and tables.

    >>> formula(28, 5, 1, (0, 0), 1)
    'floor((28 + 0 + 0 - 1*(5 - 1) - 1) / 1) + 1 = 24'
    """
    room = n + sum(padding) - span(kernel_size, dilation)
    value = (-(-room // stride) if ceil_mode else room // stride) + 1
    word = "ceil" if ceil_mode else "floor"
    return f"{word}(({n} + {padding[0]} + {padding[1]} - {dilation}*({kernel_size} - 1) - 1) / {stride}) + 1 = {value}"


def _named_padding(name: str, n: int, kernel_size: int, stride: int, dilation: int) -> Pair:
    reach = dilation * (kernel_size - 1)
    if name == "valid":
        return 0, 0
    if name == "full":
        return reach, reach
    if name == "causal":
        return reach, 0
    # same: out = ceil(n / s). Without a maximum, which could not be compared for a symbolic n of `jax.export`.
    rest = (n - 1) % stride
    cut = rest if reach >= stride - 1 else sum((rest + stride - i) // stride for i in range(1, reach + 1))
    total = reach - cut  # cut = min(rest, reach)
    low, high = total // 2, (total + 1) // 2
    return (low, high) if name == "same" else (high, low)


def padding_mode_of(word: str) -> str | None:
    """The padding_mode for a name of jaxconv's or torch's; None if there is none.

    >>> padding_mode_of("circular"), padding_mode_of("edge"), padding_mode_of("same")
    ('wrap', 'edge', None)
    """
    return word if word in PADDING_MODES else _FROM_TORCH.get(word)


def is_pair(value: Any) -> bool:
    """Whether `value` is one pair (lo, hi), not a pair for each of two axes."""
    return isinstance(value, Sequence) and len(value) == 2 and not any(isinstance(v, Sequence) for v in value)


def pads(
    padding: Padding,
    shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[Pair, ...]:
    """Padding as one pair (lo, hi) of cells per spatial axis of `shape`.

    Args:
      padding: "valid" (none), "same" (out = ceil(n/s), an odd cell goes to the high side), "same_lower" (to the low
        side), "full" (d(k-1) on both sides), "causal" (d(k-1) on the low side), an int, one pair for all axes, or a
        pair per axis.
      shape, kernel_size, stride, dilation: one int per spatial axis.

    Raises:
      ShapeError: if a name is unknown, an amount is negative or not an int, or the number of pairs is wrong.

    >>> pads("same", (28, 28), (5, 4), (1, 1), (1, 1)), pads(((0, 1), (2, 2)), (9, 9), (3, 3), (1, 1), (1, 1))
    (((2, 2), (1, 2)), ((0, 1), (2, 2)))
    """
    rank = len(shape)
    if isinstance(padding, str):
        if padding not in PADDINGS:
            known = ", ".join(PADDINGS)
            mode = padding_mode_of(padding)
            raise ShapeError(
                f"padding must be one of {known}, an int, a pair, or a pair for each axis",
                got=f"padding={padding!r}{did_you_mean(padding, PADDINGS)}",
                fix=f"padding='same', padding_mode={mode!r}" if mode else "",
            )
        columns = zip(shape, kernel_size, stride, dilation, strict=True)
        return tuple(_named_padding(padding, *column) for column in columns)
    as_list: Any = getattr(padding, "tolist", None)  # of an array
    padding = as_list() if as_list else padding
    if padding is not None and not isinstance(padding, Sequence):
        amount = integer(padding, "padding", 0)
        return ((amount, amount),) * rank
    pairs: list[Any] = [padding] * rank if is_pair(padding) else list(padding or ())
    if len(pairs) != rank or not all(is_pair(pair) for pair in pairs):
        raise ShapeError(
            "padding must be a name, an int, one pair (lo, hi), or a pair for each of the "
            f"{count(rank, 'spatial axis')}",
            got=f"padding={padding!r}",
        )
    return tuple((integer(lo, "padding", 0), integer(hi, "padding", 0)) for lo, hi in pairs)


def output_shape(
    shape: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[Pair],
    dilation: Sequence[int],
    *,
    ceil_mode: bool = False,
    op: str = "window",
) -> tuple[int, ...]:
    """The output-size formula on every spatial axis.

    Raises:
      ShapeError: if an axis is empty, or the kernel does not fit into the padded input.

    >>> output_shape((28, 28), (5, 5), (1, 1), ((0, 0), (0, 0)), (1, 1))
    (24, 24)
    """
    out = []
    for axis, (n, k, s, p, d) in enumerate(zip(shape, kernel_size, stride, padding, dilation, strict=True)):
        if n < 1:
            raise ShapeError(
                f"{op} needs at least one cell on every spatial axis",
                got=f"spatial shape {tuple(shape)}",
                kind="empty",
                axis=axis,
            )
        o = output_size(n, k, stride=s, padding=p, dilation=d, ceil_mode=ceil_mode)
        if o < 1:
            dilated = f" (dilation {d}: {span(k, d)} cells)" if d > 1 else ""
            thing = "kernel" if "conv" in op else "window"
            raise ShapeError(
                f"{op}: a {thing} of {k}{dilated} must fit into the padded input of {n} + {p[0]} + {p[1]} cells "
                f"on spatial axis {axis}",
                got=f"spatial shape {tuple(shape)}; out = {formula(n, k, s, p, d, ceil_mode)}",
                fix=either(
                    "a larger input",
                    f"a {thing} of at most {(n + sum(p) - 1) // d + 1}",
                    *([f"dilation {(n + sum(p) - 1) // (k - 1)}"] if d > 1 and n + sum(p) >= k else []),
                    *(["padding='same'"] if thing == "kernel" else []),
                ),
                kind="window",
                axis=axis,
                n=n,
                kernel_size=k,
                stride=s,
                padding=p,
                dilation=d,
            )
        out.append(o)
    return tuple(out)


def taps_inside(
    n: int, kernel_size: int, stride: int, low: int, dilation: int, out: int
) -> tuple[tuple[bool, ...], ...]:
    """Mask of the taps on the input: for each of `out` windows along one axis of n cells, one bool per tap.

    The others are on padding, of which there are `low` cells before the input.

    >>> [sum(window) for window in taps_inside(5, 3, 2, 1, 1, 3)]
    [2, 3, 2]
    """
    return tuple(tuple(low <= o * stride + tap * dilation < low + n for tap in range(kernel_size)) for o in range(out))


def looks_channels_first(shape: Sequence[int]) -> bool:
    """Whether the shape of a batch of images looks like [N, C, H, W]: C is 1 or 3, and H = W > 4.

    >>> looks_channels_first((8, 3, 32, 32)), looks_channels_first((8, 32, 32, 3))
    (True, False)
    """
    return len(shape) == 4 and shape[1] in (1, 3) and shape[2] == shape[3] > 4


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """Receptive field of the outputs along one axis, in input cells.

    Output i depends on the `size` cells from `first + i * effective_stride`; cells at negative positions are padding.

    >>> field = ReceptiveField().through(5).through(2, stride=2).through(5).through(2, stride=2)
    >>> field.size, field.effective_stride, field.center
    (16, 4, 7.5)
    """

    size: int = 1
    effective_stride: int = 1
    first: int = 0

    def through(self, kernel_size: int, *, stride: int = 1, low: int = 0, dilation: int = 1) -> "ReceptiveField":
        """Receptive field of the outputs of one more windowed operation, applied after this field's."""
        return ReceptiveField(
            self.size + dilation * (kernel_size - 1) * self.effective_stride,
            self.effective_stride * stride,
            self.first - low * self.effective_stride,
        )

    @property
    def center(self) -> float:
        """Position of the center of output 0's field on the input axis."""
        return self.first + (self.size - 1) / 2
