"""Convolution as one trilinear form, of which the result and both gradients are the three derivatives.

    T(x, k, y) = Σ_{n, i, m, c, o}  x[n, i*s + m*d - lo, c] * k[m, c, o] * y[n, i, o]

Leave one of the three open and T is linear in it: its coefficients are, for the open slot

    "y"   the convolution of x with k,
    "x"   the input's gradient (the transposed convolution) of k and y,
    "k"   the kernel's gradient of x and y.

Every derivative of such a map, of any order, is another of the three. Groups cut the channels of x and
the maps of y into equal parts; k holds the channels of one part.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax

from jaxconv.geometry import Pair, output_size

SLOTS = ("x", "k", "y")
EXACT_IN_F32 = ("float32", "bfloat16", "float16")
"""The dtypes whose every value is an f32 too: what CPU code for f32 can compute."""


@dataclasses.dataclass(frozen=True)
class Form:
    """T with one slot open, every argument written out for each spatial axis.

    Attributes:
      slot: what is computed: "y", "x" or "k", from the other two in the order x, k, y.
      x, k: the shapes [N, *spatial, C] and [*k, C/groups, O] of one member.
      stride, padding, dilation: one int, or one pair (lo, hi) of cells ≥ 0, for each spatial axis.
      groups: divides C and O.
      members: None, or how many such maps are computed at once, stacked on a first axis of every array.
      dtype: of the result.
      precision: of the products.
      impl: "auto", "tune", or the formulation to use where it can run the form.
    """

    slot: str
    x: tuple[int, ...]
    k: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[Pair, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    members: int | None = None
    dtype: str = "float32"
    precision: Any = None
    impl: str = "auto"

    @property
    def rank(self) -> int:
        """Spatial axes."""
        return len(self.stride)

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Taps of the kernel along each spatial axis."""
        return self.k[:-2]

    @property
    def y(self) -> tuple[int, ...]:
        """The shape [N, *out, O] of one member."""
        axes = zip(self.x[1:-1], self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        out = (output_size(n, k, stride=s, padding=p, dilation=d) for n, k, s, p, d in axes)
        return (self.x[0], *out, self.k[-1])

    @property
    def operands(self) -> tuple[str, str]:
        """The two slots that are given, in order."""
        first, second = (slot for slot in SLOTS if slot != self.slot)
        return first, second

    @property
    def pointwise(self) -> bool:
        """Whether the kernel is a single tap on the unpadded input."""
        return math.prod(self.kernel_size) == 1 and not any(map(any, self.padding))

    @property
    def depthwise(self) -> bool:
        """Whether every channel is a group of its own."""
        return self.k[-2] == 1 and self.groups > 1

    def shape(self, slot: str) -> tuple[int, ...]:
        """The shape of a slot's array, with the members' axis where there is one."""
        one: tuple[int, ...] = getattr(self, slot)
        return one if self.members is None else (self.members, *one)

    @property
    def maps(self) -> int:
        """How many such maps are computed: the members, or one."""
        return 1 if self.members is None else self.members

    def axes(self, slot: str) -> tuple[str | None, ...]:
        """The axes of a slot's array by name: "m" members, "n", "c" or "o"; None for a spatial axis.

        Where there are groups, the channels of a kernel are those of a group, and no axis of another array.
        """
        first, last = {"x": ("n", "c"), "k": ("c", "o"), "y": ("n", "o")}[slot]
        spatial = (None,) * self.rank
        if slot == "k":
            names = (*spatial, first if self.groups == 1 else f"{first} of a group", last)
        else:
            names = (first, *spatial, last)
        return ("m", *names) if self.members is not None else names

    def open(self, slot: str, **changes: Any) -> "Form":
        """The same T with another slot open."""
        return dataclasses.replace(self, slot=slot, **changes)


Formulation = Callable[[jax.Array, jax.Array, Form], jax.Array]
"""One way to compute a form: (its two operands, the form of one member) -> its open slot, of `form.dtype`."""


def shared_index(slot: str, operand: str) -> str:
    """The index that an operand shares with the result alone: "n", "c" or "o".

    Every two of x[n, ·, c], k[·, c, o], y[n, ·, o] share exactly one.
    """
    letters = {"x": "nc", "k": "co", "y": "no"}
    (letter,) = set(letters[slot]) & set(letters[operand])
    return letter
