"""Benchmark of the formulations of dense convolutions against each other and torch, one slot at a time.

    python experiments/bench_native.py native auto torch --only "3×3" --slots yx

Each argument names a formulation of the engine ("auto" is the rules' choice) or torch, in the faster of its two memory
formats. All run in turn on the same two threads; before each group of calls come a pause, in which another library's
spinning threads go to sleep, and one untimed call. The table shows medians in ms, then each one's share of the last
one's time and the geometric mean of that share. `JAXCONV_NATIVE_ISA` selects the native kernels' instruction set.
"""

import argparse
import dataclasses
import functools
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from timing import THREADS, in_turn, machine, milliseconds, on_two_threads

from jaxconv.engine import bind
from jaxconv.engine.form import Form


@dataclasses.dataclass(frozen=True)
class Row:
    """A convolution of x [N, *n, C]: kernel, stride, padding and dilation are the same along each axis."""

    name: str
    x: tuple[int, ...]
    maps: int
    size: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    pad: int | None = None

    def form(self, slot: str, impl: str) -> Form:
        rank = len(self.x) - 2
        pad = self.dilation * (self.size - 1) // 2 if self.pad is None else self.pad
        k = (*(self.size,) * rank, self.x[-1] // self.groups, self.maps)
        stride, dilation = (self.stride,) * rank, (self.dilation,) * rank
        return Form(slot, self.x, k, stride, ((pad, pad),) * rank, dilation, self.groups, impl=impl)


ROWS = (
    Row("3×3, 64×32²×64", (64, 32, 32, 64), 64, 3),
    Row("3×3, 32×16²×128", (32, 16, 16, 128), 128, 3),
    Row("3×3, 8×14²×256", (8, 14, 14, 256), 256, 3),
    Row("3×3, 64×4²×256", (64, 4, 4, 256), 256, 3),
    Row("3×3, 64×2²×512", (64, 2, 2, 512), 512, 3),
    Row("3×3, 8×56²×64", (8, 56, 56, 64), 64, 3),
    Row("3×3/2, 32×32²×64→128", (32, 32, 32, 64), 128, 3, stride=2),
    Row("3×3/2, 32×8²×256→512", (32, 8, 8, 256), 512, 3, stride=2),
    Row("1×1, 8×56²×64→256", (8, 56, 56, 64), 256, 1),
    Row("1×1, 8×56²×256→64", (8, 56, 56, 256), 64, 1),
    Row("1×1, 32×4²×960→160", (32, 4, 4, 960), 160, 1),
    Row("1×1/2, 32×32²×64→128", (32, 32, 32, 64), 128, 1, stride=2),
    Row("stem 3×3, 32×32²×3→64", (32, 32, 32, 3), 64, 3),
    Row("stem 7×7/2, 8×224²×3→64", (8, 224, 224, 3), 64, 7, stride=2),
    Row("patches 4×4/4, 32×32²×3→96", (32, 32, 32, 3), 96, 4, stride=4, pad=0),
    Row("5×5, 60×28²×1→20", (60, 28, 28, 1), 20, 5, pad=0),
    Row("5×5, 60×12²×20→40", (60, 12, 12, 20), 40, 5, pad=0),
    Row("few maps 3×3, 8×64²×64→3", (8, 64, 64, 64), 3, 3),
    Row("32 groups 3×3, 8×14²×256", (8, 14, 14, 256), 256, 3, groups=32),
    Row("4 groups 3×3, 8×28²×128", (8, 28, 28, 128), 128, 3, groups=4),
    Row("transposed 4×4/2, 32×16²×128→64", (32, 32, 32, 64), 128, 4, stride=2, pad=1),
    Row("transposed 2×2/2, 8×32²×128→64", (8, 64, 64, 64), 128, 2, stride=2, pad=0),
    Row("dilated by 2 3×3, 8×28²×128", (8, 28, 28, 128), 128, 3, dilation=2),
    Row("dilated by 4 3×3, 4×56²×64", (4, 56, 56, 64), 64, 3, dilation=4),
    Row("1-D 9, 32×1024×64", (32, 1024, 64), 64, 9),
    Row("1-D 31, 8×4096×32", (8, 4096, 32), 32, 31),
    Row("1-D 25/4, 8×8192×1→64", (8, 8192, 1), 64, 25, stride=4),
    Row("3-D 3, 4×16³×32", (4, 16, 16, 16, 32), 32, 3),
    Row("3-D 3/2, 2×32³×16→32", (2, 32, 32, 32, 16), 32, 3, stride=2),
    Row("11×11/4, 8×224²×3→64", (8, 224, 224, 3), 64, 11, stride=4, pad=2),
    Row("11×11, 4×32²×32", (4, 32, 32, 32), 32, 11),
    Row("31×31, 2×32²×16", (2, 32, 32, 16), 16, 31),
)


def given(form: Form) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {slot: rng.standard_normal(getattr(form, slot), np.float32) for slot in "xky"}


def engine_call(form: Form, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
    operands = [jnp.asarray(arrays[slot]) for slot in form.operands]
    compiled = jax.jit(functools.partial(bind, form=form)).lower(*operands).compile()
    return lambda: jax.block_until_ready(compiled(*operands))


def torch_call(form: Form, arrays: dict[str, np.ndarray]) -> Callable[[], Any]:
    """Of channels-first and channels-last tensors the faster ones."""
    last = lambda v: torch.from_numpy(v).movedim(-1, 1)  # noqa: E731
    k = torch.from_numpy(arrays["k"]).movedim((-1, -2), (0, 1)).contiguous()
    s, p, d, zero = form.stride, [low for low, _ in form.padding], form.dilation, [0] * form.rank
    calls = []
    for x, y in (
        (last(arrays["x"]), last(arrays["y"])),
        (last(arrays["x"]).contiguous(), last(arrays["y"]).contiguous()),
    ):
        mask = [form.slot == "x", form.slot == "k", False]
        forward = functools.partial(torch.ops.aten.convolution, x, k, None, s, p, d, False, zero, form.groups)
        backward = functools.partial(
            torch.ops.aten.convolution_backward, y, x, k, None, s, p, d, False, zero, form.groups, mask
        )
        calls.append(forward if form.slot == "y" else backward)
    for call in calls:
        call()
    return min(calls, key=lambda call: min(milliseconds(call) for _ in range(3)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "impls", nargs="+", help='formulations, "auto" or "torch"; the last is what others are compared to'
    )
    parser.add_argument("--only", default="", help="rows whose name contains one of these, separated by commas")
    parser.add_argument("--slots", default="yxk")
    parser.add_argument("--rounds", type=int, default=5, help="groups of three timed calls")
    parser.add_argument("--pause", type=float, default=0.03, help="seconds before each group")
    options = parser.parse_args()
    on_two_threads()
    torch.set_num_threads(THREADS)
    *others, last = options.impls
    print(f"{machine('jax', 'jaxlib', 'torch')}; f32; medians of {3 * options.rounds}.\n")
    print("|", " | ".join(["ms", "slot", *options.impls, *(f"{name}/{last}" for name in others)]), "|")
    print("|---|---" + "|---:" * (len(options.impls) + len(others)) + "|")
    shares: dict[tuple[str, str], list[float]] = {}
    for row in ROWS:
        if not any(word in row.name for word in options.only.split(",")):
            continue
        for slot in options.slots:
            arrays = given(row.form(slot, "auto"))
            calls = {
                impl: (torch_call if impl == "torch" else engine_call)(row.form(slot, impl), arrays)
                for impl in options.impls
            }
            times = in_turn(calls, options.rounds, options.pause, group=3)
            ms = {name: statistics.median(each) for name, each in times.items()}
            ratios = [ms[name] / ms[last] for name in others]
            for name, ratio in zip(others, ratios, strict=True):
                shares.setdefault((name, slot), []).append(ratio)
            shown = [*(f"{ms[name]:.2f}" for name in options.impls), *(f"{ratio:.2f}" for ratio in ratios)]
            print("|", " | ".join([row.name, slot, *shown]), "|", flush=True)
    for (name, slot), values in shares.items():
        mean = statistics.geometric_mean(values)
        print(f"\n{name}/{last}, {slot}: geometric mean {mean:.2f}, worst {max(values):.2f} of {len(values)}", end="")
    print()


if __name__ == "__main__":
    main()
