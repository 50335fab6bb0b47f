"""Benchmark of norms with an activation, forward and backward, against torch.

    python experiments/bench_norms.py
    JAXCONV_NATIVE=0 python experiments/bench_norms.py batch layer

Each argument is a kind of norm; all by default. A call computes the output and the gradients of input, scale and bias
for a random cotangent. Both run in turn on the same two threads, torch in the faster of its two memory formats, with a
pause before each call, in which the other's spinning threads go to sleep. The table shows medians (minima) in ms, then
the geometric mean of the medians' ratios.
"""

import argparse
import functools
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from timing import THREADS, in_turn, machine, milliseconds, on_two_threads

import jaxconv as jc

ROWS = (
    ("batch", "relu", (32, 32, 32, 64)),
    ("batch", "relu", (32, 16, 16, 128)),
    ("batch", "relu", (32, 8, 8, 256)),
    ("batch", "relu", (8, 56, 56, 64)),
    ("batch", "relu6", (32, 32, 32, 96)),
    ("batch", "relu6", (32, 16, 16, 144)),
    ("batch", "relu6", (32, 8, 8, 192)),
    ("batch", "relu6", (32, 4, 4, 576)),
    ("batch", "relu6", (32, 2, 2, 960)),
    ("batch", "none", (32, 32, 32, 24)),
    ("layer", "none", (32, 8, 8, 96)),
    ("layer", "none", (8, 56, 56, 96)),
    ("layer", "none", (8, 28, 28, 384)),
    ("group", "relu", (8, 56, 56, 64)),
    ("group", "relu", (32, 16, 16, 128)),
    ("group", "relu", (32, 8, 8, 256)),
    ("instance", "relu", (4, 128, 128, 32)),
    ("instance", "relu", (32, 16, 16, 128)),
)
GROUPS = 32


def jaxconv_call(kind: str, activation: str, arrays: list[np.ndarray]) -> Callable[[], Any]:
    x, scale, bias, dy = map(jnp.asarray, arrays)
    act = {"relu": jax.nn.relu, "relu6": jax.nn.relu6, "none": lambda v: v}[activation]
    batch = jc.BatchNorm()
    _, state = batch.init(jax.random.key(0), x.shape)
    norm: Callable[..., jax.Array] = {
        "batch": lambda x, s, b: batch.apply({"scale": s, "bias": b}, state, x, train=True)[0],
        "layer": jc.layer_norm,
        "group": lambda x, s, b: jc.group_norm(x, GROUPS, s, b),
        "instance": jc.instance_norm,
    }[kind]

    def step(x: jax.Array, scale: jax.Array, bias: jax.Array, dy: jax.Array) -> Any:
        y, back = jax.vjp(lambda *of: act(norm(*of)), x, scale, bias)
        return y, back(dy)

    compiled = jax.jit(step).lower(x, scale, bias, dy).compile()
    return lambda: jax.block_until_ready(compiled(x, scale, bias, dy))


def torch_call(kind: str, activation: str, arrays: list[np.ndarray]) -> Callable[[], Any]:
    """Of channels-first and channels-last tensors the faster ones; layer norm is over the last axis as it is."""
    f = torch.nn.functional
    act = {"relu": f.relu, "relu6": f.relu6, "none": lambda v: v}[activation]
    norm: Callable[..., torch.Tensor] = {
        "batch": lambda x, s, b: f.batch_norm(x, torch.zeros_like(s), torch.ones_like(s), s, b, training=True),
        "layer": lambda x, s, b: f.layer_norm(x, s.shape, s, b),
        "group": lambda x, s, b: f.group_norm(x, GROUPS, s, b),
        "instance": lambda x, s, b: f.instance_norm(x, weight=s, bias=b),
    }[kind]

    def call(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, dy: torch.Tensor) -> Any:
        y = act(norm(x, scale, bias))
        return y, torch.autograd.grad(y, (x, scale, bias), dy)

    x, scale, bias, dy = map(torch.from_numpy, arrays)
    pairs = [(x, dy)]
    if kind != "layer":
        last = [v.movedim(-1, 1) for v in (x, dy)]
        pairs = [(last[0], last[1]), (last[0].contiguous(), last[1].contiguous())]
    calls = [
        functools.partial(call, x.requires_grad_(), scale.requires_grad_(), bias.requires_grad_(), dy)
        for x, dy in pairs
    ]
    return min(calls, key=lambda call: min(milliseconds(call) for _ in range(4)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", help="batch, layer, group, instance; all by default")
    parser.add_argument("--repeats", type=int, default=25, help="timed calls of each")
    parser.add_argument("--pause", type=float, default=0.004, help="seconds before each call")
    options = parser.parse_args()
    on_two_threads()
    torch.set_num_threads(THREADS)
    print(f"{machine('jax', 'jaxlib', 'torch')}; f32; medians (minima) of {options.repeats}.\n")
    print("| norm | x | jaxconv | torch | jaxconv/torch |\n|---|---|---:|---:|---:|")
    rng, ratios = np.random.default_rng(0), []
    for kind, activation, shape in ROWS:
        if options.kinds and kind not in options.kinds:
            continue
        sizes = (shape, shape[-1:], shape[-1:], shape)
        arrays = [rng.standard_normal(size, np.float32) for size in sizes]
        calls = {"jaxconv": jaxconv_call(kind, activation, arrays), "torch": torch_call(kind, activation, arrays)}
        for call in calls.values():
            call()
        ms = in_turn(calls, options.repeats, options.pause)
        ratios.append(statistics.median(ms["jaxconv"]) / statistics.median(ms["torch"]))
        shown = [f"{statistics.median(of):.2f} ({min(of):.2f})" for of in ms.values()]
        name = f"{kind}, {activation}" if activation != "none" else kind
        print(f"| {name} | {'×'.join(map(str, shape))} | {' | '.join(shown)} | {ratios[-1]:.2f} |", flush=True)
    print(f"\ngeometric mean {statistics.geometric_mean(ratios):.2f}, worst {max(ratios):.2f}")


if __name__ == "__main__":
    main()
