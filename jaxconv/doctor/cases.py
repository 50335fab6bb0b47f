"""Test cases of `doctor`: small convolutions of every kind, and the shapes of known bugs."""

import dataclasses
from typing import Any

from jaxconv.engine.form import Form
from jaxconv.geometry import pads, per_axis


@dataclasses.dataclass(frozen=True)
class Case:
    """One test case.

    Attributes:
      name: as printed.
      form: shapes, window and dtype; for pools, the kernel is the window; x is resized to the size of y.
      kind: "conv", "max_pool", "resize" (linear), "dilated" (a window sum of an input with holes), "cropped" (a
        convolution of an input without its first cell on the last axis), "sharded kernel" or "sharded batch" (a
        convolution on a mesh of two axes, of which one shards the output channels or the batch).
      steps: 1 for a single call, more for the steps of a `lax.scan`.
    """

    name: str
    form: Form
    kind: str = "conv"
    steps: int = 1


def case(
    name: str,
    x: tuple[int, ...],
    k: tuple[int, ...],
    *,
    stride: Any = 1,
    padding: Any = "valid",
    dilation: Any = 1,
    groups: int = 1,
    kind: str = "conv",
) -> Case:
    """A case in f32, with the window arguments of `jaxconv.conv`."""
    rank = len(x) - 2
    s, d = per_axis(stride, rank, "stride"), per_axis(dilation, rank, "dilation")
    pairs = pads(padding, x[1:-1], k[:-2], s, d)
    return Case(f"{rank}d {name}", Form("y", x, k, s, pairs, d, groups), kind)


# `--quick` runs every third case from the first: the known bugs of XLA, and the pools, are among them.
ENTRY = (
    # One result on an axis, and a stride there, which has no effect.
    case("3x2 one wide, stride (1,2)", (2, 8, 3, 1), (3, 2, 1, 8), stride=(1, 2)),
    case("3x2 two wide, stride (1,2)", (2, 8, 5, 1), (3, 2, 1, 8), stride=(1, 2)),
    case("2x2 one wide, stride (1,3)", (3, 6, 4, 1), (2, 2, 1, 16), stride=(1, 3), padding=((0, 1), (0, 0))),
    case("2x1, dilation (1,2)", (1, 4, 7, 2), (2, 1, 2, 8), stride=(3, 1), padding=((0, 2), (1, 2)), dilation=(1, 2)),
    case("2x2 one wide, 2 channels", (2, 7, 3, 2), (2, 2, 2, 8), stride=2),
    case("3x3 on one column, stride (1,2)", (2, 6, 1, 1), (3, 3, 1, 8), stride=(1, 2), padding=1),
    case("3x3 pads (4,0)", (2, 9, 8, 3), (3, 3, 3, 4), padding=(4, 0)),  # openxla/xla#48713
    case("3x3", (2, 9, 8, 3), (3, 3, 3, 4)),
    case("3x3 same", (2, 9, 8, 3), (3, 3, 3, 4), padding="same"),
    case("3x3 depthwise", (2, 9, 8, 6), (3, 3, 1, 6), padding="same", groups=6),
    case("3x3 stride 2", (2, 9, 8, 3), (3, 3, 3, 4), stride=2, padding="same"),
    case("3x3 dilation 2", (2, 9, 8, 3), (3, 3, 3, 4), dilation=2, padding="same"),
    case("3x3 same, 2x2 input", (2, 2, 2, 8), (3, 3, 8, 8), padding="same"),
    case("3x3 stride 2, dilation 3", (2, 13, 12, 3), (3, 3, 3, 4), stride=2, dilation=3, padding=3),
    case("3x5 full", (2, 6, 7, 3), (3, 5, 3, 4), padding="full"),
    case("3x3 stride 2, 2 groups", (2, 9, 8, 4), (3, 3, 2, 4), stride=2, padding="same", groups=2),
    case("2x2 same", (2, 9, 8, 3), (2, 2, 3, 4), padding="same"),
    case("4x4 stride 3", (2, 13, 11, 3), (4, 4, 3, 4), stride=3, padding=1),
    case("1x1 stride 2", (2, 9, 8, 6), (1, 1, 6, 4), stride=2),
    case("1x1", (2, 9, 8, 6), (1, 1, 6, 4)),
    case("1x1 padded", (2, 7, 8, 6), (1, 1, 6, 4), padding=1),
    case("3x3 on 56x56", (4, 56, 56, 8), (3, 3, 8, 16), padding="same"),
    case("5x5 same, 1x1 input", (3, 1, 1, 8), (5, 5, 8, 4), padding="same"),
    case("5x5 stride 2", (1, 21, 20, 3), (5, 5, 3, 8), stride=2, padding=2),
    case("3x3 pads (0,5)", (2, 9, 8, 3), (3, 3, 3, 4), padding=(0, 5)),
    case("1x3", (2, 9, 8, 3), (1, 3, 3, 4), padding="same"),
    case("3x1 stride (1,2)", (2, 9, 8, 3), (3, 1, 3, 4), stride=(1, 2), padding=((1, 1), (0, 0))),
    case("3x3 depthwise x2, stride 2", (2, 9, 8, 6), (3, 3, 1, 12), stride=2, padding="same", groups=6),
    case("3x3 pads ((4,0),(0,5))", (2, 9, 8, 3), (3, 3, 3, 4), padding=((4, 0), (0, 5))),
    case("3x3 pads (5,5)", (2, 9, 8, 3), (3, 3, 3, 4), padding=5),
    case("3x3, a batch of one", (1, 12, 12, 4), (3, 3, 4, 4), padding="same"),
    case("3x3 pads (4,0), batch of one", (1, 9, 8, 8), (3, 3, 8, 4), padding=((1, 1), (4, 0))),
    case("3x3 pads (7,0), dilation 2", (2, 9, 8, 3), (3, 3, 3, 4), dilation=2, padding=(7, 0)),
    case("3x3 depthwise stride 2", (2, 9, 8, 6), (3, 3, 1, 6), stride=2, padding="same", groups=6),
    case("3x3 pads (5,1), stride 2", (2, 9, 8, 3), (3, 3, 3, 4), stride=2, padding=(5, 1)),
    case("3x3 pads (4,0), 24 channels", (2, 9, 8, 24), (3, 3, 24, 20), padding=(4, 0)),
    case("2x1 sum, holes in the input", (1, 64, 128, 1), (2, 1, 1, 1), stride=(2, 1), kind="dilated"),  # #48714
    case("3x3 depthwise pads (4,0)", (2, 9, 8, 6), (3, 3, 1, 6), padding=(4, 0), groups=6),
    case("3x3 pads (4,0), 2 groups", (2, 9, 8, 4), (3, 3, 2, 4), padding=(4, 0), groups=2),
    case("1x2 on a cropped input", (1, 1, 9, 2), (1, 2, 2, 3), padding=((0, 0), (1, 0)), kind="cropped"),  # #48715
    case("3x3, 2 groups", (2, 9, 8, 4), (3, 3, 2, 4), padding="same", groups=2),
    case("3x3, 4 groups on 28x28", (4, 28, 28, 8), (3, 3, 2, 16), padding="same", groups=4),
    case("2x2 max pool", (2, 8, 10, 5), (2, 2, 1, 5), stride=2, groups=5, kind="max_pool"),
    case("3x3, 4 groups, one map each", (2, 9, 8, 8), (3, 3, 2, 4), padding="same", groups=4),
    case("3x3, 2 groups, dilation 2", (2, 9, 8, 4), (3, 3, 2, 4), dilation=2, groups=2),
    case("3x3 max pool, stride 2", (2, 9, 10, 5), (3, 3, 1, 5), stride=2, padding=1, groups=5, kind="max_pool"),
    case("3x3 depthwise dilation 2", (2, 9, 8, 6), (3, 3, 1, 6), dilation=2, padding="same", groups=6),
    case("3x3 depthwise x2", (2, 9, 8, 6), (3, 3, 1, 12), padding="same", groups=6),
    case("2x2x2", (2, 5, 4, 6, 3), (2, 2, 2, 3, 4)),
    case("5x5 depthwise", (2, 12, 12, 8), (5, 5, 1, 8), padding="same", groups=8),
    case("3x3 depthwise, 2x2 input", (4, 2, 2, 16), (3, 3, 1, 16), padding="same", groups=16),
    case("3x3 stride 2, maps sharded", (2, 9, 8, 3), (3, 3, 3, 8), stride=2, padding="same", kind="sharded kernel"),
    case("3x3 depthwise on 32x32", (4, 32, 32, 24), (3, 3, 1, 24), padding="same", groups=24),
    case("3x3 depthwise, batch sharded", (4, 9, 8, 6), (3, 3, 1, 6), padding="same", groups=6, kind="sharded batch"),
    case("3x3 depthwise stride 2 on 32x32", (4, 32, 32, 24), (3, 3, 1, 24), stride=2, padding=1, groups=24),
    case("3x3 stride 2 on 56x56", (4, 56, 56, 8), (3, 3, 8, 16), stride=2, padding="same"),
    case("3 pads (4,0)", (2, 9, 3), (3, 3, 4), padding=(4, 0)),
    case("3x3, 1.7 million results", (16, 56, 56, 4), (3, 3, 4, 34), padding="same"),
    case("3x3 max pool, stride 1", (2, 30, 30, 8), (3, 3, 1, 8), groups=8, padding="same", kind="max_pool"),
    case("3 depthwise x2, stride 2", (2, 12, 6), (3, 1, 12), stride=2, padding=1, groups=6),
    case("3 same", (2, 9, 3), (3, 3, 4), padding="same"),
    case("4 stride 3", (2, 17, 3), (4, 3, 5), stride=3),
    case("2x2x2 pads (3,0)", (1, 4, 5, 4, 2), (2, 2, 2, 2, 3), padding=(3, 0)),
    case("3 causal, dilation 2", (2, 11, 3), (3, 3, 4), dilation=2, padding="causal"),
    case("3 pads (0,5)", (2, 9, 3), (3, 3, 4), padding=(0, 5)),
    case("9 on 12,000 cells", (1, 12000, 1), (9, 1, 2), padding="same"),
    case("5 depthwise", (2, 12, 6), (5, 1, 6), padding="same", groups=6),
    case("3, 2 groups", (2, 9, 6), (3, 3, 4), groups=2),
    case("1 stride 2", (2, 9, 6), (1, 6, 4), stride=2),
    case("2x2x2 stride 2", (2, 5, 4, 6, 3), (2, 2, 2, 3, 4), stride=2),
    case("2x2x2 dilation 2, 2 groups", (2, 5, 4, 6, 4), (2, 2, 2, 2, 4), dilation=2, padding=1, groups=2),
    case("2x2x2 depthwise", (2, 5, 4, 6, 6), (2, 2, 2, 1, 6), padding="same", groups=6),
    case("3x2x2 same", (1, 4, 5, 4, 2), (3, 2, 2, 2, 3), padding="same"),
    case("1x1x1", (1, 3, 4, 5, 6), (1, 1, 1, 6, 4)),
    case("resize to a half", (2, 8, 10, 20), (2, 2, 1, 20), stride=2, groups=20, kind="resize"),
    case("resize to 10x13", (2, 5, 6, 20), (2, 2, 1, 20), padding=((3, 3), (4, 4)), groups=20, kind="resize"),
    case(
        "resize to 10x7x9",
        (1, 5, 4, 6, 16),
        (1, 1, 1, 1, 16),
        padding=((5, 0), (3, 0), (0, 3)),
        groups=16,
        kind="resize",
    ),
)

HALVES = (
    "2d 3x3 pads (4,0)", "2d 3x3 same", "2d 3x3 stride 2", "2d 3x3 depthwise", "2d 3x3 depthwise x2, stride 2",
    "2d 3x3, 2 groups", "2d 1x1", "2d 3x3 same, 2x2 input", "2d 3x3 on 56x56", "2d 2x2 max pool", "1d 3 same",
    "3d 2x2x2",
)  # fmt: skip
LOOPS = (
    "2d 3x3 pads (4,0)", "2d 3x3 same", "2d 3x3 stride 2", "2d 3x3 depthwise", "2d 3x3, 2 groups",
    "2d 3x3 max pool, stride 2", "1d 3 pads (4,0)", "3d 2x2x2",
)  # fmt: skip


def _half(one: Case) -> Case:
    form = dataclasses.replace(one.form, dtype="bfloat16")
    return dataclasses.replace(one, name=f"{one.name}, bf16", form=form)


def _loop(one: Case) -> Case:
    return dataclasses.replace(one, name=f"{one.name}, in scan", steps=3)


CASES = (
    *ENTRY,
    *(_half(one) for one in ENTRY if one.name in HALVES),
    *(_loop(one) for one in ENTRY if one.name in LOOPS),
)


def chosen(quick: bool = False) -> range:
    """Indices of the cases to run: all, or every third."""
    return range(0, len(CASES), 3 if quick else 1)
