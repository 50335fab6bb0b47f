"""Benchmark of training steps and inference: jaxconv, Flax, Flax under `jaxconv.accelerate`, torch, on two CPU threads.

python experiments/bench_models.py
python experiments/bench_models.py --nets mnist resnet18 --repeats 30 --memory
python experiments/bench_models.py --nets photo_resnet18 photo_resnet50 photo_mobilenet_v2 photo_convnext_tiny
python experiments/bench_models.py --nets photo_resnet50 --side 224 --batch 4 --inference
python experiments/bench_models.py --check

A step: forward, softmax cross-entropy, backward, SGD (0.01, momentum 0.9), running averages. Inference: the forward
pass in evaluation mode, in torch under inference_mode. One batch of random float32 images, 32 of 32×32×3 (mnist: 60 of
28×28×1), 10 classes; for the photo_ nets --batch of --side × --side × 3, 1000 classes. Every net is defined once, by
functions that each library provides, but jaxconv's photo_ nets are those of `jaxconv.models`. The peers' parameters
must agree in size, one by one. The peers take turns in one process, each round starting with the next one. torch runs
in the faster of its two memory formats, with its fused SGD. Peers that are not installed are left out.
"""

import argparse
import importlib.util
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np
from peers import Batch, Peer, faster_torch_peer, flax_pure, jax_peer, jaxconv_pure, torch_peer
from timing import in_turn, machine, on_two_threads
from worded_nets import PHOTOGRAPHS, SMALL, Net
from words import jaxconv_words

import jaxconv as jc
from jaxconv.models import registry

PEERS = ("jaxconv", "flax", "flax accelerated", "torch")


@dataclass(frozen=True)
class Work:
    """What every peer of one line of the table is given."""

    title: str
    net: Net  # the peers', in words
    layer: jc.Layer  # and jaxconv's
    shape: tuple[int, int, int, int]
    classes: int
    photographs: bool
    inference: bool

    def batch(self) -> Batch:
        """Random images and labels."""
        random = np.random.default_rng(0)
        images = random.standard_normal(self.shape, np.float32)
        return images, random.integers(self.classes, size=self.shape[0], dtype=np.int32)


def work(name: str, args: argparse.Namespace) -> Work:
    """The net of that name on the images that the command line says."""
    if name in PHOTOGRAPHS:
        layer = registry[name.removeprefix("photo_")](1000)
        title, shape = f"{name}, {args.batch}×{args.side}²", (args.batch, args.side, args.side, 3)
        return Work(title, PHOTOGRAPHS[name], layer, shape, 1000, True, args.inference)
    shape = (60, 28, 28, 1) if name == "mnist" else (32, 32, 32, 3)
    return Work(name, SMALL[name], SMALL[name](jaxconv_words()), shape, 10, False, args.inference)


def available(wanted: list[str]) -> tuple[str, ...]:
    """Those of the peers that can run here; says which cannot."""
    flax, torch = (importlib.util.find_spec(name) is not None for name in ("flax", "torch"))
    there = dict(zip(PEERS, (True, flax, flax and hasattr(jc, "accelerate"), torch), strict=True))
    print("".join(f"left out: {name}\n" for name in wanted if not there[name]), end="")
    return tuple(name for name in PEERS if name in wanted and there[name])


def build(work: Work, peers: tuple[str, ...], check: bool) -> Iterator[Peer]:
    """The peers of one net, compiled, with parameters of equal sizes."""
    batch, sizes = work.batch(), None
    for name in peers:
        if name == "torch":
            peer = (torch_peer if check else faster_torch_peer)(work.net, batch, work.inference)
        elif name == "jaxconv":
            pure = jaxconv_pure(work.layer, work.shape, work.inference, keyed=work.photographs)
            peer = jax_peer(name, pure, batch, work.inference)
        else:
            peer = jax_peer(name, flax_pure(work.net, work.inference), batch, work.inference)
        sizes = sizes or peer.sizes
        assert peer.sizes == sizes, f"{work.title}: parameters of {name}: {sum(peer.sizes)}, not {sum(sizes)}"
        yield peer


def measure(peers: list[Peer], repeats: int, sleep: float, group: int) -> None:
    """Times groups of runs of the peers in turn, after two runs each."""
    for peer in peers:
        numbers = peer.run(), peer.run()
        assert math.isfinite(numbers[0]), f"{peer.name}: the first run gives {numbers[0]}"
    times = in_turn({peer.name: peer.run for peer in peers}, repeats, sleep, group)
    for peer in peers:
        peer.ms += times[peer.name]


def row(title: str, peers: list[Peer]) -> str:
    """One net's line of the table."""
    times = {
        peer.name: f"{statistics.median(peer.ms):.1f} ({min(peer.ms):.1f} to {max(peer.ms):.1f})" for peer in peers
    }
    medians = {peer.name: statistics.median(peer.ms) for peer in peers}
    compiles = " / ".join(f"{peer.compile_s:.1f}" for peer in peers if peer.compile_s)

    def ratio(above: str, below: str) -> str:
        return f"{medians[above] / medians[below]:.2f}" if {above, below} <= medians.keys() else "–"

    ratios = ratio("jaxconv", "torch"), ratio("flax accelerated", "jaxconv")
    return f"| {' | '.join([title, *(times.get(p, '–') for p in PEERS), *ratios, compiles])} |"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=SMALL | PHOTOGRAPHS, default=list(SMALL))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--inference", action="store_true", help="the forward pass in evaluation mode, not steps")
    parser.add_argument("--side", type=int, default=128, help="height and width of the photographs")
    parser.add_argument("--batch", type=int, default=8, help="photographs in a batch")
    parser.add_argument("--repeats", type=int, default=15, help="timed runs of each peer")
    parser.add_argument("--group", type=int, default=1, help="timed runs in a row, as in training, after one untimed")
    parser.add_argument("--sleep", type=float, default=0.03, help="seconds for the last peer's threads to fall asleep")
    parser.add_argument("--memory", action="store_true", help="also what was compiled: temporaries and outputs, in MB")
    parser.add_argument("--check", action="store_true", help="one run of each peer: its parameters and loss")
    args = parser.parse_args()
    if min(args.side - 31, args.batch, args.repeats) < 1:
        parser.error("the photo_ nets need a --side of at least 32; --batch and --repeats are at least 1")
    if (args.side, args.batch, args.inference) == (32, 1, False) and PHOTOGRAPHS.keys() & set(args.nets):
        parser.error("torch's batch norm trains on more than one number a channel: --batch 2 or --side 33")
    return args


def main() -> None:
    """Times the nets one after the other, then prints the table."""
    args = arguments()
    on_two_threads()
    jax.config.update("jax_enable_compilation_cache", False)
    what = "; inference" if args.inference else ""
    print(f"{machine('jax', 'jaxlib', 'flax', 'torch')}{what}; n = {args.repeats * args.group}, medians (min to max)")
    names, rows = available(args.peers), []
    for net in args.nets:
        now = work(net, args)
        if args.check:
            number = "logits' standard deviation" if args.inference else "loss"
            for peer in build(now, names, check=True):
                print(f"{now.title}, {peer.name}: {sum(peer.sizes)} parameters, {number} {peer.run():.4f}", flush=True)
            continue
        peers = list(build(now, names, check=False))
        measure(peers, args.repeats, args.sleep, args.group)
        rows.append(row(now.title, peers))
        if args.memory:
            sizes = (f"{p.name} {p.memory_mb:.1f} MB" for p in peers if p.memory_mb is not None)
            print(f"{now.title}, temporaries and outputs: {', '.join(sizes)}", flush=True)
    if rows:
        times = "jaxconv ms (min to max) | flax | flax accelerated | torch"
        print(f"\n| net | {times} | jaxconv / torch | accelerated / jaxconv | compile s jaxconv / flax / accelerated |")
        print("\n".join(["|---" * 8 + "|", *rows]))


if __name__ == "__main__":
    main()
