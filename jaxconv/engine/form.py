"""Convolution as a trilinear form, whose three derivatives are the result and both gradients.

    T(x, k, y) = Σ_{n, i, m, c, o}  x[n, i*s + m*d - lo, c] * k[m, c, o] * y[n, i, o]

for images n, output positions i, kernel taps m, input channels c, output channels o, stride s, dilation d and low
padding lo. T is linear in each of its three slots. Given two of them, its derivative with respect to the third (the
open slot) is

    "y"   the convolution of x with k,
    "x"   the input gradient (a transposed convolution), from k and y,
    "k"   the kernel gradient, from x and y.

Each of these is bilinear in its two operands, and its derivatives, of any order, are again one of the three. With
groups, the channels of x and of y are split into equal parts, and k has the input channels of one part.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax

from jaxconv.geometry import Pair, output_size

SLOTS = ("x", "k", "y")
EXACT_IN_F32 = ("float32", "bfloat16", "float16")
"""Dtypes whose values are all exact in f32: f32 code on the CPU can compute them."""


@dataclasses.dataclass(frozen=True)
class Form:
    """T with one slot open: a static description of one convolution or gradient.

    Attributes:
      slot: the open slot, "y", "x" or "k". It is computed from the other two, which are given in the order x, k, y.
      x, k: shapes [N, *spatial, C] and [*k, C/groups, O] of one member.
      stride, padding, dilation: one int, or one pair (lo, hi) of cells ≥ 0, per spatial axis.
      groups: divides C and O.
      members: number of independent problems, stacked on a new first axis of every array (from `vmap` over both
        operands); None for one problem without that axis.
      dtype: of the result.
      precision: of the products.
      impl: "auto", "tune", or a formulation, used if it can run the form.
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
        """Number of spatial axes."""
        return len(self.stride)

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Taps of the kernel along each spatial axis."""
        return self.k[:-2]

    @property
    def y(self) -> tuple[int, ...]:
        """Shape [N, *out, O] of one member."""
        axes = zip(self.x[1:-1], self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        out = (output_size(n, k, stride=s, padding=p, dilation=d) for n, k, s, p, d in axes)
        return (self.x[0], *out, self.k[-1])

    @property
    def operands(self) -> tuple[str, str]:
        """The two given slots, in order."""
        first, second = (slot for slot in SLOTS if slot != self.slot)
        return first, second

    @property
    def pointwise(self) -> bool:
        """Whether the kernel is a single tap on the unpadded input."""
        return math.prod(self.kernel_size) == 1 and not any(map(any, self.padding))

    @property
    def product(self) -> bool:
        """Whether T is a product of matrices: one tap for each cell, and one group."""
        return self.pointwise and self.groups == 1 and max(self.stride) == 1

    @property
    def depthwise(self) -> bool:
        """Whether every channel is its own group."""
        return self.k[-2] == 1 and self.groups > 1

    def shape(self, slot: str) -> tuple[int, ...]:
        """Shape of a slot's array, including the axis of members, if any."""
        member: tuple[int, ...] = getattr(self, slot)
        return member if self.members is None else (self.members, *member)

    @property
    def num_members(self) -> int:
        """Number of problems: `members`, or 1."""
        return 1 if self.members is None else self.members

    def axes(self, slot: str) -> tuple[str | None, ...]:
        """Names of the axes of a slot's array, for sharding: "m" (members), "n", "c" or "o"; None for a spatial axis.

        Axes of the same name have the same index. With groups, the kernel's input channels are those of one group, and
        have another name. The spatial axes of x and y of a `product` are like "n": "i0", "i1" and "i2".
        """
        first, last = {"x": ("n", "c"), "k": ("c", "o"), "y": ("n", "o")}[slot]
        spatial: tuple[str | None, ...] = (None,) * self.rank
        if self.product and slot != "k":
            spatial = tuple(f"i{axis}" for axis in range(self.rank))
        if slot == "k":
            names = (*spatial, first if self.groups == 1 else f"{first} of a group", last)
        else:
            names = (first, *spatial, last)
        return ("m", *names) if self.members is not None else names

    def open(self, slot: str, **changes: Any) -> "Form":
        """The same T with this slot open, and with other fields replaced by `changes`."""
        return dataclasses.replace(self, slot=slot, **changes)


Formulation = Callable[[jax.Array, jax.Array, Form], jax.Array]
"""Algorithm for a form: (first operand, second operand, form of one member) -> open slot, of `form.dtype`."""


def shared_index(slot: str, operand: str) -> str:
    """The index that an operand shares with the result but not with the other operand: "n", "c" or "o".

    Each two of x[n, ·, c], k[·, c, o] and y[n, ·, o] share exactly one.
    """
    letters = {"x": "nc", "k": "co", "y": "no"}
    (letter,) = set(letters[slot]) & set(letters[operand])
    return letter
