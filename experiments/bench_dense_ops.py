"""Benchmark of the ops of decoders and dense tasks against torch, forward and gradients.

    python experiments/bench_dense_ops.py --out experiments/bench_dense_ops.md

Both libraries run in one process on the same two threads, one call after the other in turn; torch's images are
channels-last in memory, as ours are. Gradients are those of all floating
inputs, from the residuals of the forward pass.
"""

import argparse
import dataclasses
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from bench_conv import medians, normal, waited
from timing import THREADS, machine, on_two_threads
from torch.nn import functional as F

import jaxconv as jc


def first(array: np.ndarray) -> torch.Tensor:
    """[N, H, W, C] as [N, C, H, W], channels-last in memory; a grid [N, H, W, 2] as it is."""
    return torch.from_numpy(array).permute(0, 3, 1, 2) if array.shape[-1] != 2 else torch.from_numpy(array)


def last(y: torch.Tensor) -> torch.Tensor:
    return y.permute(0, 2, 3, 1)


def rows(array: np.ndarray) -> torch.Tensor:
    """Rows of windows [N, H, W, 9*C] in torch's order, [N, C*9, H*W]."""
    n, height, width, channels = array.shape
    split = torch.from_numpy(array).reshape(n, height * width, 9, channels // 9)
    return split.permute(0, 3, 2, 1).reshape(n, channels, height * width).contiguous()


def draw(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    return [np.array(normal(*shape)) for shape in shapes]


@dataclasses.dataclass(frozen=True)
class Case:
    """One op: ours on arrays of these shapes, and torch's on tensors of them."""

    name: str
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    shapes: Sequence[tuple[int, ...]]
    back: Callable[[torch.Tensor], torch.Tensor] = last  # torch's result in our layout
    given: Callable[[np.ndarray], torch.Tensor] = first  # our array in torch's layout
    draw: Callable[[Sequence[tuple[int, ...]]], list[np.ndarray]] = draw


def resize(name: str, shape: tuple[int, ...], size: int, mode: str, **words: Any) -> Case:
    theirs = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    aligned = {"align_corners": words.get("align_corners", False)} if theirs.startswith("bi") else {}
    if "antialias" in words:
        aligned["antialias"] = True
    return Case(
        f"resize {name}, {'×'.join(map(str, shape))} to {size}²",
        lambda x: jc.resize(x, size, mode=mode, **words),
        lambda x: F.interpolate(x, (size, size), mode=theirs, **aligned),
        [shape],
    )


def sampled(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """An image, and a grid around the identity."""
    image, grid = shapes
    line = np.linspace(-1, 1, grid[1], dtype=np.float32)
    around = np.stack(np.meshgrid(line, line), -1) + 0.05 * np.array(normal(*grid))
    return [np.array(normal(*image)), around.astype(np.float32)]


CASES = (
    resize("linear", (8, 32, 32, 64), 64, "linear"),
    resize("linear, align_corners", (8, 32, 32, 64), 64, "linear", align_corners=True),
    resize("linear", (8, 28, 28, 64), 37, "linear"),
    resize("linear", (8, 64, 64, 64), 32, "linear"),
    resize("linear", (2, 65, 65, 21), 257, "linear"),
    resize("linear, antialias", (8, 224, 224, 3), 160, "linear", antialias=True),
    resize("nearest", (8, 32, 32, 64), 64, "nearest"),
    resize("nearest-exact", (8, 28, 28, 64), 37, "nearest-exact"),
    resize("cubic", (8, 32, 32, 64), 64, "cubic"),
    resize("area", (8, 64, 64, 64), 20, "area"),
    Case(
        "pixel_shuffle 2, 8×32²×256", lambda x: jc.pixel_shuffle(x, 2), lambda x: F.pixel_shuffle(x, 2),
        [(8, 32, 32, 256)],
    ),
    Case(
        "pixel_unshuffle 2, 8×64²×64", lambda x: jc.pixel_unshuffle(x, 2), lambda x: F.pixel_unshuffle(x, 2),
        [(8, 64, 64, 64)],
    ),
    Case(
        "unfold 3×3, 8×32²×64", lambda x: jc.unfold(x, 3, padding=1), lambda x: F.unfold(x, 3, padding=1),
        [(8, 32, 32, 64)], lambda y: y.reshape(8, 64, 9, 32, 32).permute(0, 3, 4, 2, 1).reshape(8, 32, 32, 576),
    ),
    Case(
        "fold 3×3, 8×32²×576", lambda y: jc.fold(y, 32, 3, padding=1),
        lambda y: F.fold(y, 32, 3, padding=1), [(8, 32, 32, 576)], given=rows,
    ),
    *(
        Case(
            f"grid_sample {mode}, 8×64²×32", lambda x, g, mode=mode: jc.grid_sample(x, g, mode=mode),
            lambda x, g, mode=mode: F.grid_sample(
                x, g, {"linear": "bilinear", "cubic": "bicubic"}[mode], "zeros", align_corners=False
            ),
            [(8, 64, 64, 32), (8, 64, 64, 2)], draw=sampled,
        )
        for mode in ("linear", "cubic")
    ),
)  # fmt: skip


def calls(case: Case) -> tuple[dict[str, Callable[[], Any]], dict[str, Callable[[], Any]]]:
    """The forward pass and the gradients of both, whose results agree."""
    arrays = case.draw(case.shapes)
    given = [jax.device_put(a) for a in arrays]
    leaves = [t.detach().requires_grad_() for t in map(case.given, arrays)]
    y = case.theirs(*leaves)
    own = waited(case.ours, *given)
    np.testing.assert_allclose(own(), case.back(y.detach()), rtol=1e-3, atol=1e-3)
    g = torch.from_numpy(np.random.default_rng(1).standard_normal(case.back(y).shape, np.float32))
    back = torch.autograd.grad(case.back(y), y, g, retain_graph=True)[0]
    kept = jax.jit(lambda *a: jax.vjp(case.ours, *a)[1])(*given)
    pull = waited(lambda kept, g: kept(g), kept, jax.device_put(g.numpy()))
    plain = [t.detach() for t in leaves]

    def forward() -> Any:
        with torch.no_grad():
            return case.theirs(*plain)

    def gradients() -> Any:
        return torch.autograd.grad(y, leaves, back, retain_graph=True)

    return {"jaxconv": own, "torch": forward}, {"jaxconv": pull, "torch": gradients}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--group", type=int, default=1, help="calls in a row after one that does not count")
    parser.add_argument("--pause", type=float, default=0.004, help="seconds before each group")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--out", type=Path, help="also written here")
    options = parser.parse_args()
    on_two_threads()
    torch.set_num_threads(THREADS)
    lines = [f"{machine('jax', 'jaxlib', 'torch')}; f32; medians of {options.repeats * options.group}, in turn.", ""]
    lines += ["| ms | forward | torch | /torch | gradients | torch | /torch |", "|---|" + "---:|" * 6]
    print(*lines, sep="\n", flush=True)
    ratios: list[list[float]] = [[], []]
    for case in CASES:
        if options.only not in case.name:
            continue
        cells = []
        for column, timed in zip(ratios, calls(case), strict=True):
            ms = medians(timed, options.repeats, options.pause, options.group)
            column.append(ms["jaxconv"] / ms["torch"])
            cells += [f"{ms['jaxconv']:.2f}", f"{ms['torch']:.2f}", f"{column[-1]:.2f}"]
        lines.append("| " + " | ".join([case.name, *cells]) + " |")
        print(lines[-1], flush=True)
    means = [f"{statistics.geometric_mean(column):.2f}" for column in ratios]
    lines += ["", f"Geometric means against torch: forward {means[0]}, gradients {means[1]}."]
    print(*lines[-2:], sep="\n")
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
