"""Benchmark of the input pipeline: images per second beside torch's DataLoader, and how long a run waits for data.

    python experiments/bench_stream.py
    python experiments/bench_stream.py --cpu 5

Writes JPEG and PNG files to a temporary folder, and reads them as jaxconv does and by torch's DataLoader with two
workers, decoded by Pillow and by torchvision; then images in memory, of the size of MNIST's and CIFAR's. Passes are
taken in turn, the time of each is that from its first batch to its last. Then ResNet-18 and a small residual net are
trained on the PNG files, streamed; every file is read and decoded at every use.

`--cpu` prints instead the processor's time of reading a JPEG file by each filter, in one thread, which depends less on
what else the machine does.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

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
from jaxconv.data import Arrays
from jaxconv.data.order import batch_indices
from jaxconv.data.pack import pack
from jaxconv.data.stream import stream
from jaxconv.models import small_residual
from jaxconv.training.batches import Resident, Streamed
from jaxconv.training.loop import fit
from jaxconv.training.step import init_state, make_step

BATCH = 32
FILTERS = "lanczos", "bicubic", "bilinear", "box", "nearest"


def write_images(folder: Path, count: int) -> None:
    """Random images with some structure in ten class folders, to train on, and ten to test on."""
    generator = np.random.default_rng(0)
    for number in range(count + 10):
        part = "train" if number < count else "val"
        place = folder / part / f"class{number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        coarse = generator.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((32, 32)).save(place / f"{number:05}.png")


def write_photographs(folder: Path, count: int) -> None:
    """Random JPEG files of 500×375 pixels with the detail of photographs, about 60 kB each."""
    generator = np.random.default_rng(0)
    for number in range(count + 10):
        place = folder / ("train" if number < count else "val") / f"class{number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((375, 500, 3), np.float32)
        for cells, amplitude in ((4, 60), (16, 40), (64, 20)):
            coarse = generator.integers(0, 256, (cells, cells, 3)).astype(np.uint8)
            pixels += np.asarray(Image.fromarray(coarse).resize((500, 375)), np.float32) * (amplitude / 120)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(place / f"{number:05}.jpg", quality=90)


def ours(source: Any, workers: int, size: int) -> Callable[[], Iterable[Any]]:
    """Batches of one epoch by jaxconv, in random order."""
    steps = len(source) // size

    def start() -> Iterable[Any]:
        return stream(source, lambda step: batch_indices(0, step, size, len(source)), 0, steps, workers=workers)

    return start


def resident(source: Arrays, size: int) -> Callable[[], Iterable[Any]]:
    """Batches of one epoch as a run takes them from images in memory: gathered inside of a compiled program of many
    steps; yields their number. Each is complete before one pixel of its images is used."""
    feed, steps = Resident(source, size, 0), len(source) // size

    @jax.jit
    def taken(data: Any, items: Any) -> jax.Array:
        return jax.lax.map(lambda item: jax.lax.optimization_barrier(feed.take(data, item)).image[:, 0, 0], items)

    def start() -> Iterable[Any]:
        for first in range(0, steps, feed.max_steps):
            count = min(feed.max_steps, steps - first)
            jax.block_until_ready(taken(feed.data, feed.items(first, count)))
            yield count

    return start


class Pictures:
    """A dataset for torch: files decoded by Pillow, resized and cropped as torchvision's transforms do with Pillow."""

    def __init__(self, source: Any, side: int) -> None:
        self.files = [str(source.base / file) for file in source.files]
        self.labels, self.side = source.labels.tolist(), side

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        with Image.open(self.files[index]) as picture:
            image = picture.convert("RGB")
        share = self.side / min(image.size)
        width, height = (round(n * share) for n in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - self.side) // 2, (height - self.side) // 2
        image = image.crop((left, top, left + self.side, top + self.side))
        return torch.from_numpy(np.array(image)).permute(2, 0, 1), self.labels[index]


class Decoded(Pictures):
    """The same, decoded and resized by torchvision."""

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from torchvision import io
        from torchvision.transforms.v2 import functional as f

        image = io.decode_image(self.files[index], io.ImageReadMode.RGB)
        image = f.resize(image, [self.side], antialias=True)
        return f.center_crop(image, [self.side, self.side]), self.labels[index]


def torch_pictures(source: Any, side: int, size: int) -> dict[str, Callable[[], Iterable[Any]]]:
    """Batches of one epoch by torch's DataLoader, in random order, by each decoder that works here."""
    import torch

    def start(dataset: Pictures) -> Callable[[], Iterable[Any]]:
        return lambda: torch.utils.data.DataLoader(dataset, size, shuffle=True, num_workers=2, drop_last=True)

    found = {"torch, 2 workers, Pillow": start(Pictures(source, side))}
    try:
        Decoded(source, side)[0]
    except (ImportError, RuntimeError) as error:  # torchvision without its own library, as beside a torch without CUDA
        print(f"torchvision cannot decode here: {str(error).splitlines()[0]}")
    else:
        found["torch, 2 workers, torchvision"] = start(Decoded(source, side))
    return found


def torch_arrays(images: np.ndarray, labels: np.ndarray, workers: int, size: int) -> Callable[[], Iterable[Any]]:
    """The same of arrays in memory."""
    import torch

    found = torch.utils.data.TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    return lambda: torch.utils.data.DataLoader(found, size, shuffle=True, num_workers=workers, drop_last=True)


def rate(start: Callable[[], Iterable[Any]], size: int) -> float:
    """Images per second of one pass but for its first third, in which processes start."""
    steps, times = [], []
    for found in start():
        steps.append(found if isinstance(found, int) else 1)
        times.append(time.perf_counter())
    done = np.cumsum(steps)
    first = int(np.searchsorted(done, done[-1] / 3))
    return float((done[-1] - done[first]) * size / (times[-1] - times[first]))


def compare(title: str, peers: dict[str, Callable[[], Iterable[Any]]], size: int, rounds: int) -> None:
    """Print a row for each peer: the median rate of its passes, the range, and the ratio to the best of torch."""
    names = list(peers)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            time.sleep(1)
            rates[name].append(rate(peers[name], size))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    best = max((median for name, median in medians.items() if name.startswith("torch")), default=float("nan"))
    for name, found in rates.items():
        spread = f"{min(found):,.0f} to {max(found):,.0f}"
        print(f"{title:30}{name:34}{medians[name]:12,.0f}{spread:>24}{medians[name] / best:8.2f}", flush=True)


def load_rates(folder: Path, rounds: int) -> None:
    """The table of loading."""
    print(f"{'images':30}{'by':34}{'images/s':>12}{'range':>24}{'ratio':>8}")
    kinds: list[tuple[str, Callable[[Path, int], None], int, int, int]] = [
        ("JPEG, 500×375 to 224²", write_photographs, 1200, 224, 32),
        ("PNG, 32²", write_images, 20000, 32, 128),
    ]
    for title, write, count, side, size in kinds:
        place = folder / f"rate{side}"
        write(place, count)
        dataset = data.load("images", place, size=side, in_memory=False)
        source: Any = dataset.train
        peers = {f"jaxconv, {n} workers" if n else "jaxconv, threads": ours(source, n, size) for n in (0, 2)}
        as_torch = data.load("images", place, size=side, in_memory=False, interpolation="bilinear").train
        for n in (0, 2) if side == 224 else ():
            peers[f"jaxconv, {n or 'threads'}{' workers' if n else ''}, bilinear"] = ours(as_torch, n, size)
        pack(dataset, folder / f"packed{side}")
        packed = data.load("images", folder / f"packed{side}", size=side, in_memory=False).train
        peers |= {"jaxconv, packed": ours(packed, 0, size)}
        compare(title, peers | torch_pictures(source, side, size), size, rounds)
    generator = np.random.default_rng(0)
    for title, shape in (("in memory, 60,000 of 28²×1", (28, 28, 1)), ("in memory, 50,000 of 32²×3", (32, 32, 3))):
        images = generator.integers(0, 256, (60_000 if shape[0] == 28 else 50_000, *shape)).astype(np.uint8)
        labels = generator.integers(0, 10, len(images)).astype(np.int32)
        source = Arrays(images, labels)
        peers = {"jaxconv, of a run": resident(source, 128), "jaxconv, stream": ours(source, 0, 128)}
        peers |= {f"torch, {n} workers": torch_arrays(images, labels, n, 128) for n in (0, 2)}
        compare(title, peers, 128, rounds)


def cpu_times(folder: Path, rounds: int) -> None:
    """The table of the processor's time."""
    side, count = 224, 100
    write_photographs(folder, count)
    sources = {name: data.load("images", folder, size=side, in_memory=False, interpolation=name) for name in FILTERS}
    readers: dict[str, Any] = {f"jaxconv, {name}": dataset.train for name, dataset in sources.items()}
    readers["torchvision's transforms, Pillow, bilinear"] = Pictures(sources["lanczos"].train, side)
    times: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds + 1):
        for name, reader in readers.items():
            began = time.process_time()
            for index in range(count):
                reader[index]
            times[name].append((time.process_time() - began) / count * 1e3)
    print(f"{'JPEG, 500×375 to 224²':48}{'CPU ms':>8}{'range':>20}")
    for name, found in times.items():
        found = found[1:]  # but for the first pass, of cold files
        print(f"{name:48}{statistics.median(found):8.2f}{f'{min(found):.2f} to {max(found):.2f}':>20}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5, help="passes of each loader; 0 leaves the table of rates out")
    parser.add_argument(
        "--cpu", type=int, default=0, metavar="ROUNDS", help="only the processor's time, of so many passes"
    )
    args = parser.parse_args()
    on_two_threads()
    print(machine("jax", "grain", "pillow", "torch", "torchvision"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.cpu:
            cpu_times(folder, args.cpu)
            return
        if args.rounds:
            load_rates(folder, args.rounds)
        write_images(folder / "train32", args.images)
        dataset = data.load("images", folder / "train32", size=32, in_memory=False)
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
