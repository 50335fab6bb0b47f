"""Whole training steps of four nets in jaxconv, Flax, Flax under `jaxconv.accelerate`, and torch, on two CPU threads.

python experiments/bench_models.py
python experiments/bench_models.py --nets mnist resnet18 --repeats 30 --memory
python experiments/bench_models.py --check

A step: forward, softmax cross-entropy, backward, SGD (0.01, momentum 0.9), running averages. One batch of random
float32 images, 32 of 32×32×3 (mnist: 60 of 28×28×1), 10 classes. Every net is written once, in words each library
speaks; the peers' parameters must agree in size, one by one. The peers take turns in one process, each round starting
with the next one. torch runs in the faster memory format of the two, with its fused SGD. Peers not there are left out.
"""

import argparse
import functools
import importlib.util
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from timing import THREADS, in_turn, machine, milliseconds, on_two_threads

import jaxconv as jc

LEARNING_RATE, MOMENTUM = 0.01, 0.9
LAYER_NORM_EPS = 1e-6
PEERS = ("jaxconv", "flax", "flax accelerated", "torch")
Words = SimpleNamespace
Batch = tuple[np.ndarray, np.ndarray]
Pure = tuple[Callable[..., Any], Any, Any]  # forward(params, state, x) -> (logits, state), params, state


def resnet18(w: Words) -> Any:
    """ResNet-18 with the stem for 32×32: one 3×3 convolution, no max-pool (He et al., 2015)."""

    def block(c_in: int, c_out: int, stride: int) -> list[Any]:
        same = (c_in, stride) == (c_out, 1)
        body = w.chain(
            *(w.conv(c_in, c_out, 3, stride, 1, bias=False), w.batch_norm(c_out), w.relu),
            *(w.conv(c_out, c_out, 3, 1, 1, bias=False), w.batch_norm(c_out)),
        )
        shortcut = None if same else w.chain(w.conv(c_in, c_out, 1, stride, bias=False), w.batch_norm(c_out))
        return [w.residual(body, shortcut), w.relu]

    parts, c_in = [w.conv(3, 64, 3, 1, 1, bias=False), w.batch_norm(64), w.relu], 64
    for c_out, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        parts += block(c_in, c_out, stride) + block(c_out, c_out, 1)
        c_in = c_out
    return w.chain(*parts, w.global_pool, w.dense(512, 10))


def mobilenet_v2(w: Words) -> Any:
    """MobileNetV2 with strides for 32×32; expansion 1 has no expanding convolution (Sandler et al., 2018)."""
    table = (
        *((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    )  # expansion, features, blocks, stride

    def unit(c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1) -> list[Any]:
        conv = w.conv(c_in, c_out, size, stride, size // 2, groups=groups, bias=False)
        return [conv, w.batch_norm(c_out), w.relu6]

    def block(c_in: int, c_out: int, expansion: int, stride: int) -> Any:
        wide = c_in * expansion
        expand = unit(c_in, wide, 1) if expansion > 1 else []
        project = [w.conv(wide, c_out, 1, bias=False), w.batch_norm(c_out)]
        body = w.chain(*expand, *unit(wide, wide, 3, stride, wide), *project)
        return w.residual(body) if (c_in, stride) == (c_out, 1) else body

    parts, c_in = unit(3, 32, 3), 32
    for expansion, c_out, blocks, stride in table:
        for i in range(blocks):
            parts.append(block(c_in, c_out, expansion, 1 if i else stride))
            c_in = c_out
    return w.chain(*parts, *unit(320, 1280, 1), w.global_pool, w.dense(1280, 10))


def convnext(w: Words) -> Any:
    """A small ConvNeXt: stages of 2 blocks at 96, 192 and 384, without layer scale (Liu et al., 2022)."""

    def block(c: int) -> Any:
        depthwise = w.conv(c, c, 7, 1, 3, groups=c)
        return w.residual(w.chain(depthwise, w.layer_norm(c), w.dense(c, 4 * c), w.gelu, w.dense(4 * c, c)))

    parts = [w.conv(3, 96, 2, 2), w.layer_norm(96), block(96), block(96)]
    for c in (192, 384):
        parts += [w.layer_norm(c // 2), w.conv(c // 2, c, 2, 2), block(c), block(c)]
    return w.chain(*parts, w.global_pool, w.layer_norm(384), w.dense(384, 10))


def mnist(w: Words) -> Any:
    """The README's ten lines, less the dropout."""
    first = (w.conv(1, 20, 5), w.relu, w.max_pool(2))
    second = (w.conv(20, 40, 5), w.relu, w.max_pool(2))
    return w.chain(*first, *second, w.flatten, w.dense(640, 100), w.relu, w.dense(100, 10))


NETS = {net.__name__: net for net in (resnet18, mobilenet_v2, convnext, mnist)}
ACTIVATIONS = {"relu": jax.nn.relu, "relu6": jax.nn.relu6, "gelu": functools.partial(jax.nn.gelu, approximate=False)}


def jaxconv_words() -> Words:
    """The words in jaxconv; the channels that come in follow from the input."""
    return Words(
        conv=lambda c_in, c_out, size, stride=1, padding=0, **more: (
            jc.Conv(c_out, size, stride=stride, padding=padding, **more)
        ),
        dense=lambda c_in, c_out: jc.Dense(c_out), max_pool=jc.MaxPool,
        batch_norm=lambda c: jc.BatchNorm(), layer_norm=lambda c: jc.LayerNorm(eps=LAYER_NORM_EPS),
        global_pool=jc.global_avg_pool, flatten=jc.flatten, chain=jc.chain, residual=jc.residual, **ACTIVATIONS,
    )  # fmt: skip


def residual_of(module: type) -> type:
    """body(x) + shortcut(x), or + x, as a kind of module."""

    class Residual(module):
        def __init__(self, body: Any, shortcut: Any = None):
            super().__init__()
            self.body, self.shortcut = body, shortcut

        def __call__(self, x: Any) -> Any:
            return self.body(x) + (x if self.shortcut is None else self.shortcut(x))

    return Residual


def flax_words() -> Words:
    """The words in Flax NNX."""
    from flax import nnx

    rngs = nnx.Rngs(0)

    def conv(c_in: int, c_out: int, size: int, stride: int = 1, padding: int = 0, groups: int = 1, bias: bool = True):
        options = {"padding": padding, "feature_group_count": groups, "use_bias": bias}
        return nnx.Conv(c_in, c_out, (size, size), stride, **options, rngs=rngs)

    return Words(
        conv=conv, dense=lambda c_in, c_out: nnx.Linear(c_in, c_out, rngs=rngs),
        batch_norm=lambda c: nnx.BatchNorm(c, momentum=0.9, rngs=rngs),
        layer_norm=lambda c: nnx.LayerNorm(c, epsilon=LAYER_NORM_EPS, rngs=rngs),
        max_pool=lambda n: functools.partial(nnx.max_pool, window_shape=(n, n), strides=(n, n)),
        global_pool=lambda x: x.mean((1, 2)), flatten=lambda x: x.reshape(len(x), -1),
        chain=nnx.Sequential, residual=residual_of(nnx.Module), **ACTIVATIONS,
    )  # fmt: skip


def torch_words() -> Words:
    """The words in torch. What acts on the last axis gets a view with the channels there."""
    from torch import nn

    class OnChannels(nn.Module):
        def __init__(self, layer: nn.Module):
            super().__init__()
            self.layer = layer

        def forward(self, x: Any) -> Any:
            return self.layer(x.movedim(1, -1)).movedim(-1, 1)

    return Words(
        conv=nn.Conv2d, dense=lambda c_in, c_out: OnChannels(nn.Linear(c_in, c_out)), max_pool=nn.MaxPool2d,
        batch_norm=nn.BatchNorm2d, layer_norm=lambda c: OnChannels(nn.LayerNorm(c, eps=LAYER_NORM_EPS)),
        global_pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), flatten=nn.Flatten(),
        chain=nn.Sequential, residual=residual_of(nn.Module),
        relu=nn.ReLU(inplace=True), relu6=nn.ReLU6(inplace=True), gelu=nn.GELU(),
    )  # fmt: skip


@dataclass
class Peer:
    """One net in one library: `run` does a whole step, waits for it, and gives the loss."""

    name: str
    run: Callable[[], float]
    sizes: list[int]  # of every parameter, sorted
    compile_s: float | None = None
    memory_mb: float | None = None  # temporaries and outputs, some of them in donated memory
    ms: list[float] = field(default_factory=list)


def jaxconv_pure(net: Callable[[Words], Any], shape: tuple[int, ...]) -> Pure:
    """The net in jaxconv."""
    layer = net(jaxconv_words())
    return functools.partial(layer.apply, train=True), *layer.init(jax.random.key(0), shape)


def flax_pure(net: Callable[[Words], Any], shape: tuple[int, ...]) -> Pure:
    """The net in Flax, split into its graph, its parameters and the rest."""
    from flax import nnx

    graph, params, state = nnx.split(net(flax_words()), nnx.Param, ...)

    def forward(params: Any, state: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        model = nnx.merge(graph, params, state, copy=True)
        logits = model(x)
        return logits, nnx.split(model, nnx.Param, ...)[2]

    return forward, params, state


def pure_step(forward: Callable[..., Any], optimiser: optax.GradientTransformation) -> Callable[..., Any]:
    """step(params, state, opt_state, x, y) -> (params, state, opt_state, loss)."""

    def step(params: Any, state: Any, opt_state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, ...]:
        def loss_of(params: Any) -> tuple[jax.Array, Any]:
            logits, new = forward(params, state, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), new

        (loss, new), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt_state = optimiser.update(gradients, opt_state, params)
        return optax.apply_updates(params, updates), new, opt_state, loss

    return step


def jax_peer(name: str, pure: Pure, batch: Batch) -> Peer:
    """Compiles the step from scratch and takes the time of it."""
    forward, params, state = pure
    optimiser = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
    step = pure_step(forward, optimiser)
    step = jc.accelerate(step) if name == "flax accelerated" else step
    carry, x_y = (params, state, optimiser.init(params)), tuple(map(jnp.asarray, batch))
    sizes = sorted(leaf.size for leaf in jax.tree.leaves(params))

    jax.clear_caches()
    began = time.perf_counter()
    compiled = jax.jit(step, donate_argnums=(0, 1, 2)).lower(*carry, *x_y).compile()
    compile_s = time.perf_counter() - began

    def run() -> float:
        nonlocal carry
        *carry, loss = jax.block_until_ready(compiled(*carry, *x_y))
        return float(loss)

    memory = compiled.memory_analysis()
    memory_mb = (memory.temp_size_in_bytes + memory.output_size_in_bytes) / 1e6
    return Peer(name, run, sizes, compile_s, memory_mb)


def torch_peer(net: Callable[[Words], Any], batch: Batch, memory_format: str = "channels_last") -> Peer:
    """The net in torch, in eager mode, with parameters and images in the given memory format."""
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    layout = getattr(torch, memory_format)
    model = net(torch_words()).to(memory_format=layout)
    optimiser = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True)
    x = torch.from_numpy(batch[0]).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    y = torch.from_numpy(batch[1]).long()

    def run() -> float:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()
        return loss.item()

    return Peer("torch", run, sorted(p.numel() for p in model.parameters()))


def faster_torch_peer(net: Callable[[Words], Any], batch: Batch) -> Peer:
    """The one of the two memory formats whose best of three steps, after one to warm up, takes less."""
    peers = {name: torch_peer(net, batch, name) for name in ("channels_last", "contiguous_format")}
    best = {name: min([milliseconds(peer.run) for _ in range(4)][1:]) for name, peer in peers.items()}
    print("torch: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in best.items()))
    return peers[min(best, key=best.__getitem__)]


def available() -> tuple[str, ...]:
    """The peers that can run here; says which cannot."""
    flax, torch = (importlib.util.find_spec(name) is not None for name in ("flax", "torch"))
    there = dict(zip(PEERS, (True, flax, flax and hasattr(jc, "accelerate"), torch), strict=True))
    print("".join(f"left out: {name}\n" for name in PEERS if not there[name]), end="")
    return tuple(name for name in PEERS if there[name])


def build(name: str, peers: tuple[str, ...], check: bool) -> Iterator[Peer]:
    """The peers of one net, compiled, with parameters of equal sizes."""
    net, shape = NETS[name], (60, 28, 28, 1) if name == "mnist" else (32, 32, 32, 3)
    random = np.random.default_rng(0)
    batch = random.standard_normal(shape, np.float32), random.integers(10, size=shape[0], dtype=np.int32)
    sizes = None
    for peer in peers:
        if peer == "torch":
            built = torch_peer(net, batch) if check else faster_torch_peer(net, batch)
        else:
            built = jax_peer(peer, (jaxconv_pure if peer == "jaxconv" else flax_pure)(net, shape), batch)
        sizes = sizes or built.sizes
        assert built.sizes == sizes, f"{name}: parameters of {peer}: {sum(built.sizes)}, not {sum(sizes)}"
        yield built


def measure(peers: list[Peer], repeats: int, sleep: float) -> None:
    """Times the peers in turn, after two steps each."""
    for peer in peers:
        losses = peer.run(), peer.run()
        assert math.isfinite(losses[0]), f"{peer.name}: the first step's loss is {losses[0]}"
    times = in_turn({peer.name: peer.run for peer in peers}, repeats, sleep)
    for peer in peers:
        peer.ms += times[peer.name]


def row(name: str, peers: list[Peer]) -> str:
    """One net's line of the table."""
    times = {
        peer.name: f"{statistics.median(peer.ms):.1f} ({min(peer.ms):.1f} to {max(peer.ms):.1f})" for peer in peers
    }
    medians = {peer.name: statistics.median(peer.ms) for peer in peers}
    compiles = " / ".join(f"{peer.compile_s:.1f}" for peer in peers if peer.compile_s)

    def ratio(above: str, below: str) -> str:
        return f"{medians[above] / medians[below]:.2f}" if {above, below} <= medians.keys() else "–"

    ratios = ratio("jaxconv", "torch"), ratio("flax accelerated", "jaxconv")
    return f"| {' | '.join([name, *(times.get(p, '–') for p in PEERS), *ratios, compiles])} |"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--repeats", type=int, default=15, help="timed steps of each peer")
    parser.add_argument("--sleep", type=float, default=0.004, help="seconds for the last peer's threads to fall asleep")
    parser.add_argument("--memory", action="store_true", help="also the compiled steps' temporaries and outputs, in MB")
    parser.add_argument("--check", action="store_true", help="one step of each peer: its parameters and loss")
    return parser.parse_args()


def main() -> None:
    """Times the nets one after the other, then prints the table."""
    args = arguments()
    on_two_threads()
    jax.config.update("jax_enable_compilation_cache", False)
    print(f"{machine('jax', 'jaxlib', 'flax', 'torch')}; n = {args.repeats}, medians (min to max)")
    names, rows = available(), []
    for net in args.nets:
        if args.check:
            for peer in build(net, names, check=True):
                print(f"{net}, {peer.name}: {sum(peer.sizes)} parameters, loss {peer.run():.4f}", flush=True)
            continue
        peers = list(build(net, names, check=False))
        measure(peers, args.repeats, args.sleep)
        rows.append(row(net, peers))
        if args.memory:
            sizes = (f"{p.name} {p.memory_mb:.1f} MB" for p in peers if p.memory_mb is not None)
            print(f"{net}, temporaries and outputs: {', '.join(sizes)}", flush=True)
    if rows:
        times = "jaxconv ms (min to max) | flax | flax accelerated | torch"
        print(f"\n| net | {times} | jaxconv / torch | accelerated / jaxconv | compile s jaxconv / flax / accelerated |")
        print("\n".join(["|---" * 8 + "|", *rows]))


if __name__ == "__main__":
    main()
