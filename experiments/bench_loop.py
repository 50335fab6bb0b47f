"""Overhead of the training loop: one step per dispatch against many.

    python experiments/bench_loop.py

For each net: milliseconds per step with one step per dispatch and with many, and the host's time between two
dispatches (batch indices, dispatch, metrics) as a fraction of the dispatch duration that `fit` chooses. Medians; the
variants take turns in one process.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
import optax
from timing import machine, on_two_threads

import jaxconv as jc
from jaxconv.augment import shift
from jaxconv.data import Arrays
from jaxconv.models import conv_pool
from jaxconv.training.batches import Resident
from jaxconv.training.loop import DISPATCH_SECONDS, compile_steps
from jaxconv.training.step import init_state, make_step

NETS: dict[str, tuple[Callable[[], jc.Layer], int, int]] = {
    "a dense layer on 8×8, batch 32": (lambda: jc.chain(scaled, jc.flatten, jc.Dense(10)), 8, 32),
    "conv_pool(8) on 8×8, batch 64": (lambda: jc.chain(scaled, conv_pool(features=[8], kernel_size=3)), 8, 64),
    "conv_pool(20, 40) on 28×28, batch 60": (lambda: jc.chain(scaled, conv_pool()), 28, 60),
}


def scaled(x: jax.Array) -> jax.Array:
    """uint8 to 0..1."""
    return x.astype(np.float32) / 255


def main() -> None:
    """Measure each net and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    on_two_threads()
    print(f"{machine('jax')}; medians of {rounds}")
    print(f"{'':40}{'1 a call':>10}{'many':>10}{'ratio':>8}{'host ms':>10}{'share':>8}")
    for name, (make, size, batch) in NETS.items():
        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, (2048, size, size, 1)).astype(np.uint8)
        source = Arrays(images, generator.integers(0, 10, 2048).astype(np.int32))
        net, tx, feed = make(), optax.adamw(1e-3), Resident(source, batch, 0)
        state = init_state(net, tx, jax.random.key(0), (1, size, size, 1))
        run = compile_steps(make_step(net, tx, augment=shift(1)), state, feed)
        many, step = 64, 0
        times: dict[int, list[float]] = {1: [], many: []}
        host = []
        for turn in range(rounds + 1):
            for count in times:
                began = time.perf_counter()
                for _ in range(many // count):
                    before = time.perf_counter()
                    items = feed.items(step, count)
                    state, *found = run(state, feed.data, items, np.int32(count))
                    host += [time.perf_counter() - before] * (turn > 0 and count == many)
                    step += count
                jax.block_until_ready((state, found))
                times[count] += [(time.perf_counter() - began) / many] * (turn > 0)
        one, chunk = (1000 * statistics.median(times[count]) for count in times)
        fixed = 1000 * statistics.median(host)
        share = fixed / (1000 * DISPATCH_SECONDS)
        print(f"{name:40}{one:10.3f}{chunk:10.3f}{one / chunk:8.2f}{fixed:10.3f}{share:8.2%}")


if __name__ == "__main__":
    main()
