"""Benchmark of single convolutions and pools: jaxconv, plain lax and torch, forward and gradients.

    python experiments/bench_conv.py --out experiments/bench_conv.md

All peers run in one process on the same two threads, one call after the other in turn, with a pause before each so
that another library's spinning threads have gone to sleep; the table shows medians. Gradients are both gradients of a
convolution, or that of a pool given the residuals of its forward pass. "in scan" is a jaxconv step (forward and both
gradients) inside `lax.scan` over the same step outside; `--lax-in-scan` adds plain lax, which takes
minutes:

    python experiments/bench_conv.py --only "3×3, 64×32²×64→64" --lax-in-scan --repeats 5
"""

import argparse
import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import THREADS, in_turn, machine, on_two_threads

import jaxconv as jc

try:
    import torch
except ModuleNotFoundError:
    torch = None

Calls = dict[str, Callable[[], Any]]
LENGTH = 3  # steps of a scan


@dataclasses.dataclass(frozen=True)
class Conv:
    """A square convolution [N, n, n, C] -> O maps, "same" unless it says so."""

    name: str
    batch: int
    n: int
    c_in: int
    c_out: int
    size: int
    stride: int = 1
    groups: int = 1
    pad: int | None = None

    @property
    def words(self) -> dict[str, Any]:
        pad = (self.size - 1) // 2 if self.pad is None else self.pad
        return {"stride": self.stride, "padding": (pad, pad), "groups": self.groups}


@dataclasses.dataclass(frozen=True)
class Pool:
    """A max-pool or, with `op` "avg", an average pool."""

    name: str
    batch: int
    n: int
    c: int
    size: int
    stride: int
    pad: int = 0
    op: str = "max"


CONVS = (
    Conv("depthwise 3×3, 8×28²×192", 8, 28, 192, 192, 3, groups=192),
    Conv("depthwise 7×7, 8×56²×96", 8, 56, 96, 96, 7, groups=96),
    Conv("3×3 in 32 groups, 8×14²×256", 8, 14, 256, 256, 3, groups=32),
    Conv("3×3, 64×32²×64→64", 64, 32, 64, 64, 3),
    Conv("5×5 valid, 60×12²×20→40", 60, 12, 20, 40, 5, pad=0),
    Conv("3×3, 64×2²×512→512", 64, 2, 512, 512, 3),
    Conv("3×3, 64×4²×256→256", 64, 4, 256, 256, 3),
    Conv("3×3, 8×56²×64→64", 8, 56, 64, 64, 3),
    Conv("3×3, 8×14²×256→256", 8, 14, 256, 256, 3),
    Conv("1×1, 8×56²×64→256", 8, 56, 64, 256, 1),
    Conv("3×3 stride 2, 32×32²×64→128", 32, 32, 64, 128, 3, stride=2),
    Conv("depthwise 3×3 stride 2, 32×16²×144", 32, 16, 144, 144, 3, stride=2, groups=144),
    Conv("3×3 stem, 32×32²×3→64", 32, 32, 3, 64, 3),
)
POOLS = (
    Pool("max-pool 2×2/2, 64×32²×64", 64, 32, 64, 2, 2),
    Pool("max-pool 3×3/2, 8×112²×64", 8, 112, 64, 3, 2, pad=1),
    Pool("average pool 2×2/2, 64×32²×64", 64, 32, 64, 2, 2, op="avg"),
)


def waited(f: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """A compiled call that waits for its result."""
    compiled = jax.jit(f).lower(*args).compile()
    return lambda: jax.block_until_ready(compiled(*args))


def normal(*shape: int) -> jax.Array:
    return jax.device_put(np.random.default_rng(0).standard_normal(shape, np.float32))


def lax_conv(x: Any, k: Any, case: Conv) -> Any:
    words = case.words
    return jax.lax.conv_general_dilated(
        x, k, (case.stride,) * 2, (words["padding"],) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=case.groups,
    )  # fmt: skip


def gradients(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, k, g: jax.vjp(f, x, k)[1](g)


def conv_calls(case: Conv) -> tuple[Calls, Calls, dict[str, Calls]]:
    """Forward and both gradients of every peer, and the step in and out of scan of jaxconv's and lax's."""
    x = normal(case.batch, case.n, case.n, case.c_in)
    k = normal(case.size, case.size, case.c_in // case.groups, case.c_out) / case.size

    def ours(x: Any, k: Any) -> Any:
        return jc.conv(x, k, **case.words)

    def plain(x: Any, k: Any) -> Any:
        return lax_conv(x, k, case)

    g = normal(*jax.eval_shape(ours, x, k).shape)
    forward = {"jaxconv": waited(ours, x, k), "lax": waited(plain, x, k)}
    backward = {"jaxconv": waited(gradients(ours), x, k, g), "lax": waited(gradients(plain), x, k, g)}
    if torch is not None:
        tx, tg = (torch.from_numpy(np.array(a)).permute(0, 3, 1, 2) for a in (x, g))
        tk = torch.from_numpy(np.array(k)).permute(3, 2, 0, 1).contiguous()
        p, s = [case.words["padding"][0]] * 2, [case.stride] * 2
        forward["torch"] = lambda: torch.nn.functional.conv2d(tx, tk, stride=s, padding=p, groups=case.groups)
        backward["torch"] = lambda: torch.ops.aten.convolution_backward(
            tg, tx, tk, None, s, p, [1, 1], False, [0, 0], case.groups, [True, True, False]
        )

    def in_and_out(f: Callable[..., Any]) -> Calls:
        def step(k: Any, x: Any) -> Any:
            y, back = jax.vjp(lambda k: f(x, k), k)
            dx = jax.vjp(lambda x: f(x, k), x)[1](y)[0]
            return k - 1e-9 * back(y)[0] + 1e-30 * dx.sum()

        def loop(k: Any, x: Any) -> Any:
            return jax.lax.scan(lambda k, _: (step(k, x), None), k, None, length=LENGTH)[0]

        return {"outside": waited(step, k, x), "in scan": waited(loop, k, x)}

    return forward, backward, {"jaxconv": in_and_out(ours), "lax": in_and_out(plain)}


def pool_calls(case: Pool) -> tuple[Calls, Calls]:
    """Forward, and the gradient from what forward kept, of every peer."""
    x = normal(case.batch, case.n, case.n, case.c)
    op = jc.max_pool if case.op == "max" else jc.avg_pool
    window, strides = (1, case.size, case.size, 1), (1, case.stride, case.stride, 1)
    pads = ((0, 0), (case.pad, case.pad), (case.pad, case.pad), (0, 0))
    init, reduce = (-jnp.inf, jax.lax.max) if case.op == "max" else (0.0, jax.lax.add)

    def ours(x: Any) -> Any:
        return op(x, case.size, stride=case.stride, padding=case.pad)

    def plain(x: Any) -> Any:
        return jax.lax.reduce_window(x, init, reduce, window, strides, pads)

    g = normal(*jax.eval_shape(ours, x).shape)
    forward = {"jaxconv": waited(ours, x), "lax": waited(plain, x)}
    backward = {}
    for name, f in (("jaxconv", ours), ("lax", plain)):
        kept = jax.jit(lambda x, f=f: jax.vjp(f, x)[1])(x)
        backward[name] = waited(lambda kept, g: kept(g), kept, g)
    if torch is not None:
        tx, tg = (torch.from_numpy(np.array(a)).permute(0, 3, 1, 2) for a in (x, g))
        k, s, p, aten = [case.size] * 2, [case.stride] * 2, [case.pad] * 2, torch.ops.aten
        if case.op == "max":
            at = aten.max_pool2d_with_indices(tx, k, s, p)[1]
            forward["torch"] = lambda: torch.nn.functional.max_pool2d(tx, k, s, p)
            backward["torch"] = lambda: aten.max_pool2d_with_indices_backward(tg, tx, k, s, p, [1, 1], False, at)
        else:
            forward["torch"] = lambda: torch.nn.functional.avg_pool2d(tx, k, s, p)
            backward["torch"] = lambda: aten.avg_pool2d_backward(tg, tx, k, s, p, False, True, None)
    return forward, backward


def medians(calls: Calls, repeats: int, pause: float, group: int = 1) -> dict[str, float]:
    """Milliseconds of each call, in turn, after one that does not count; `group` of each in a row."""
    for call in calls.values():
        call()
    return {name: statistics.median(ms) for name, ms in in_turn(calls, repeats, pause, group).items()}


def eight_at_once(repeats: int, pause: float) -> str:
    """Eight nets' value and gradient under one vmap, and the same as eight jitted calls."""
    net = jc.chain(
        jc.Conv(20, 5), jax.nn.relu, jc.MaxPool(2), jc.Conv(40, 5), jax.nn.relu, jc.MaxPool(2),
        jc.flatten, jc.Dense(100), jax.nn.relu, head=jc.Dense(10),
    )  # fmt: skip
    x, keys = normal(60, 28, 28, 1), jax.random.split(jax.random.key(0), 8)
    params = jax.vmap(lambda key: net.init(key, x.shape)[0])(keys)
    value = jax.value_and_grad(lambda params, x: (net.apply(params, state, x)[0] ** 2).sum())
    state = net.init(keys[0], x.shape)[1]
    members = [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(8)]
    one, every = jax.jit(value), jax.jit(jax.vmap(value, (0, None)))
    calls = {
        "vmap": lambda: jax.block_until_ready(every(params, x)),
        "eight": lambda: [jax.block_until_ready(one(member, x)) for member in members],
    }
    ms = medians(calls, repeats, pause)
    ratio = ms["vmap"] / ms["eight"]
    return (
        f"Eight of the README's nets on 60 digits, value and gradient: one vmap {ms['vmap']:.1f} ms, "
        f"eight single calls {ms['eight']:.1f} ms, {ratio:.2f}."
    )


def cells(ms: dict[str, float]) -> list[str]:
    shown = [f"{ms[name]:.2f}" if name in ms else "" for name in ("jaxconv", "lax", "torch")]
    return [*shown, f"{ms['jaxconv'] / ms['lax']:.2f}", f"{ms['jaxconv'] / ms['torch']:.2f}" if "torch" in ms else ""]


def table(repeats: int, pause: float, chosen: str, looped: tuple[str, ...]) -> str:
    """The Markdown table, line after line as they are measured; a column for each peer whose step runs in scan."""
    words = ["in scan" if name == "jaxconv" else f"{name} in scan" for name in looped]
    against = ["lax", "torch", "/lax", "/torch"]
    head = ["ms", "forward", *against, "gradients", *against, *words]
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    ratios: dict[str, list[float]] = {"forward": [], "gradients": []}
    print(*lines, sep="\n", flush=True)
    for case in (*CONVS, *POOLS):
        if chosen not in case.name:
            continue
        forward, backward, *loop = conv_calls(case) if isinstance(case, Conv) else pool_calls(case)
        y, g = medians(forward, repeats, pause), medians(backward, repeats, pause)
        scans = [medians(loop[0][name], max(repeats // 2, 3), pause) if loop else {} for name in looped]
        shares = [f"{ms['in scan'] / LENGTH / ms['outside']:.2f}" if ms else "" for ms in scans]
        lines.append("| " + " | ".join([case.name, *cells(y), *cells(g), *shares]) + " |")
        print(lines[-1], flush=True)
        for name, ms in (("forward", y), ("gradients", g)):
            ratios[name] += [ms["jaxconv"] / ms["torch"]] if "torch" in ms else []
    means = {name: statistics.geometric_mean(values) for name, values in ratios.items() if values}
    lines += ["", "Geometric means against torch: " + ", ".join(f"{n} {m:.2f}" for n, m in means.items()) + "."]
    lines += [eight_at_once(repeats, pause)] if not chosen else []
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--pause", type=float, default=0.004, help="seconds before each call")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--lax-in-scan", action="store_true", help="plain lax's step in scan, too")
    parser.add_argument("--out", type=Path, help="also written here")
    options = parser.parse_args()
    on_two_threads()
    if torch is not None:
        torch.set_num_threads(THREADS)
    text = f"{machine('jax', 'jaxlib', 'torch')}; f32; medians of {options.repeats}, peers in turn."
    print(text, end="\n\n", flush=True)
    looped = ("jaxconv", "lax") if options.lax_in_scan else ("jaxconv",)
    text += "\n\n" + table(options.repeats, options.pause, options.only, looped)
    print(*text.splitlines()[-2:], sep="\n")
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
