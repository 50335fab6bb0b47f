"""Images per second of augmentations, each compiled alone.

    python experiments/bench_augment.py
    python experiments/bench_augment.py equalize rand_augment

Each argument is a name of `jaxconv.augment.registry`; all by default. The table shows the best of several calls on
uint8 batches. Measured once, in [augment.md](augment.md).
"""

from __future__ import annotations

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv.augment import from_config, registry
from jaxconv.data import Batch

SHAPES = [(256, 32, 32, 3), (64, 224, 224, 3)]
SETTINGS = {"shift": 4, "rotate": 15, "affine": {"degrees": 15, "scale": [0.8, 1.2]}, "cutout": 8}


def rate(name: str, shape: tuple[int, int, int, int]) -> float:
    """Images per second: the best of several calls within a second."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, shape).astype(np.uint8), np.arange(shape[0], dtype=np.int32) % 10
    batch = jax.tree.map(jnp.asarray, Batch(images, labels, np.ones(shape[0], np.float32)))
    augment = jax.jit(from_config({name: SETTINGS.get(name, True)}, num_classes=10))
    seconds = []
    for number in range(1 + 20):
        start = time.perf_counter()
        jax.block_until_ready(augment(jax.random.key(number), batch))
        seconds.append(time.perf_counter() - start)
        if sum(seconds[1:]) > 1:
            break
    return shape[0] / min(seconds[1:])


def main() -> None:
    """Print the rates as a table."""
    print("| |" + "|".join(f" {n} of {h}×{w}×{c} " for n, h, w, c in SHAPES) + "|\n|---|" + "---:|" * len(SHAPES))
    for name in sys.argv[1:] or registry:
        print(f"| `{name}` |" + "|".join(f" {rate(name, shape):,.0f} " for shape in SHAPES) + "|", flush=True)


if __name__ == "__main__":
    main()
