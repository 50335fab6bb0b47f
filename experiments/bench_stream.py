"""Benchmark of the input pipeline: fraction of its time that a run waits for data.

    python experiments/bench_stream.py

Writes CIFAR-sized PNG files to a temporary folder, then trains ResNet-18 and a small residual net on them, streamed
through Grain; every file is read and decoded at every use.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import jax
import numpy as np
import optax
from PIL import Image
from timing import machine, on_two_threads
from worded_nets import resnet18
from words import jaxconv_words

import jaxconv as jc
from jaxconv import data
from jaxconv.augment import compose, flip, normalize, shift
from jaxconv.models import small_residual
from jaxconv.training.batches import Streamed
from jaxconv.training.loop import fit
from jaxconv.training.step import init_state, make_step

BATCH = 32


def write_images(folder: Path, count: int) -> None:
    """Random images with some structure in ten class folders, to train on, and ten to test on."""
    generator = np.random.default_rng(0)
    for number in range(count + 10):
        part = "train" if number < count else "val"
        place = folder / part / f"class{number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        coarse = generator.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((32, 32)).save(place / f"{number:05}.png")


def main() -> None:
    """Train each net and print a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    on_two_threads()
    print(machine("jax", "grain", "pillow"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder, args.images)
        dataset = data.load("images", folder, size=32, in_memory=False)
        print(f"{'net, batch 32 of 32×32 PNG files':40}{'images/s':>10}{'waiting':>10}")
        nets: dict[str, jc.Layer] = {
            "ResNet-18": resnet18(jaxconv_words()),
            "small_residual(48, 96-192)": small_residual(stem=48, features=[96, 192]),
        }
        for title, net in nets.items():
            tx = optax.sgd(0.1, momentum=0.9)

            def prepare(images: jax.Array) -> jax.Array:
                return normalize(images, dataset.mean, dataset.std)

            step = make_step(net, tx, augment=compose(shift(4, "reflect"), flip()), prepare=prepare)
            feed = Streamed(dataset.train, BATCH, 0, 0, args.steps)
            state = init_state(net, tx, jax.random.key(0), (1, *dataset.image_shape))
            fitted = fit(step, state, feed, steps=args.steps)
            feed.close()
            print(f"{title:40}{fitted.images_per_second:10.1f}{fitted.waited / fitted.seconds:10.1%}")


if __name__ == "__main__":
    main()
