"""Reading of images with Grain, in the order of the steps."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data.dataset import Arrays, Source, label_struct
from jaxconv.data.labels import as_label, label_problem, range_problem, taken

__all__ = ["Joined", "Plan", "join", "read_ahead"]

Plan = Callable[[int], tuple[np.ndarray, np.ndarray]]  # step -> indices [B], weights [B]
_CACHED_STEPS = 16
_PARTS = 4  # of a batch for each thread


@dataclasses.dataclass(frozen=True)
class Joined:
    """A batch, and an error message for each of its damaged images.

    Not a tuple: Grain would send its arrays through shared memory, of which containers have 64 MB, and whose last
    blocks are not released before Python exits.
    """

    image: np.ndarray
    label: Any
    weight: np.ndarray
    damaged: tuple[str, ...]


class _Images:
    """Item k is a part of a batch, read image by image.

    Parts are as large as possible, since each costs Grain a tenth of a millisecond, and so many that all threads read.
    Each of Grain's n workers takes every n-th item and forms batches. So items are numbered such that those of a worker
    form complete batches: worker w has batches w, w + n, ….
    """

    def __init__(
        self, source: Source, plan: Plan, steps: range, batch: int, shape: Any, classes: Any, workers: int, parts: int
    ):
        self.source, self.plan, self.steps, self.batch = source, plan, steps, batch
        self.classes, self.workers, self.shape = classes, max(workers, 1), tuple(shape)
        self.struct = label_struct(source)
        self.cuts = np.linspace(0, batch, min(parts, batch) + 1).astype(int).tolist()
        self.known: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    @property
    def parts(self) -> int:
        """Number of parts of a batch."""
        return len(self.cuts) - 1

    def __len__(self) -> int:
        rounds = -(-len(self.steps) // self.workers)
        return rounds * self.workers * self.parts

    def __getitem__(self, item: int) -> Joined:
        turn, worker = divmod(item, self.workers)
        lap, part = divmod(turn, self.parts)
        number = lap * self.workers + worker
        places = range(self.cuts[part], self.cuts[part + 1])
        images = np.zeros((len(places), *self.shape), np.uint8)
        labels = jax.tree.map(lambda leaf: np.zeros((len(places), *leaf.shape), leaf.dtype), self.struct)
        weights = np.zeros(len(places), np.float32)
        damaged = []
        if number < len(self.steps):  # in the last round some workers have no batch
            indices, given = self._batch(self.steps[number])
            for row, place in enumerate(places):
                if given[place] == 0:
                    continue
                try:
                    image, label = self._checked(int(indices[place]))
                except _DamagedError as error:
                    damaged.append(str(error))
                    continue
                images[row], weights[row] = image, given[place]
                for into, value in zip(jax.tree.leaves(labels), jax.tree.leaves(label), strict=True):
                    into[row] = value
        return Joined(images, labels, weights, tuple(damaged))

    def _checked(self, index: int) -> tuple[np.ndarray, Any]:
        """An image and its label, of the shapes that all have."""
        try:
            image, label = self.source[index]
        except DataError as error:
            raise _DamagedError(str(error) or f"image {index} cannot be read") from None
        if image.shape != self.shape or image.dtype != np.uint8:
            raise DataError(
                f"image {index} must be uint8 {list(self.shape)} as the others, it is {image.dtype} {list(image.shape)}"
            )
        check_label(label, index, self.classes)
        label = as_label(label)
        shapes = [[tuple(np.shape(leaf)) for leaf in jax.tree.leaves(each)] for each in (label, self.struct)]
        if shapes[0] != shapes[1]:
            got, others = (", ".join(str(list(shape)) for shape in each) for each in shapes)
            raise DataError(f"image {index}: its label must be {others} as those of the others, it is {got}")
        return image, label

    def _batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and weights of a step, cached, since each of its parts needs them."""
        found = self.known.get(step)
        if found is None:  # two threads may both compute it; the plan is pure
            found = checked_batch(self.plan, step, self.batch, len(self.source))
            self.known[step] = found
            for old in list(self.known):
                if old < step - _CACHED_STEPS * self.workers:
                    self.known.pop(old, None)
        return found


class _DamagedError(Exception):
    """An image cannot be read."""


class _Batches:
    """Item k is a batch gathered from memory."""

    def __init__(self, source: Arrays, plan: Plan, steps: range, batch: int, classes: int | None):
        self.source, self.plan, self.steps, self.batch, self.classes = source, plan, steps, batch, classes

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, item: int) -> Joined:
        indices, weights = checked_batch(self.plan, self.steps[item], self.batch, len(self.source))
        images, labels = self.source.images[indices], taken(self.source.labels, indices)
        for array in (images, *jax.tree.leaves(labels)):
            array[weights == 0] = 0
        if self.classes is not None and range_problem(labels, self.classes):
            for place, index in enumerate(indices):
                check_label(taken(labels, place), int(index), self.classes)
        return Joined(images, labels, weights.astype(np.float32), ())


def check_label(label: Any, index: int, classes: int | None) -> None:
    """Raise DataError if a label is outside the classes."""
    if classes is not None and (problem := label_problem(label, classes)):
        raise DataError(f"image {index}: {problem}")


def checked_batch(plan: Plan, step: int, batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The plan's indices and weights of a step; raises ConfigError if they are invalid."""
    indices, weights = plan(step)
    indices = np.asarray(indices)
    if indices.shape != (batch,) or indices.dtype.kind not in "iu":
        found = f"{indices.dtype} {list(indices.shape)}"
        raise ConfigError(f"batches({step}) must be {batch} whole numbers, as at the first step; got {found}")
    if indices.min() < 0 or indices.max() >= size:
        raise ConfigError(
            f"batches({step}) must lie in 0..{size - 1}, the {size} images; got {indices.min()} to {indices.max()}"
        )
    return indices, weights


def join(parts: Sequence[Joined]) -> Joined:
    """The parts of a batch as one."""
    return Joined(
        np.concatenate([part.image for part in parts]),
        jax.tree.map(lambda *leaves: np.concatenate(leaves), *(part.label for part in parts)),
        np.concatenate([part.weight for part in parts]),
        tuple(message for part in parts for message in part.damaged),
    )


def read_ahead(
    source: Source,
    plan: Plan,
    steps: range,
    batch: int,
    shape: Any,
    classes: Any,
    threads: int,
    workers: int,
    ahead: int,
) -> Any:
    """Start reading: Grain's iterator of `Joined`, one for each step in order."""
    import grain

    record: Any  # of Grain's own type
    if isinstance(source, Arrays):
        record = _Batches(source, plan, steps, batch, classes)
        dataset: Any = grain.MapDataset.source(record)
        data = dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=ahead))
    else:
        record = _Images(source, plan, steps, batch, shape, classes, workers, _PARTS * threads)
        images: Any = grain.MapDataset.source(record)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(ahead * record.parts, threads))
        data = images.to_iter_dataset(options).batch(record.parts, drop_remainder=True, batch_fn=join)
        if workers:
            from absl import flags

            if not flags.FLAGS.is_parsed():  # Grain reads flags, which only absl programs parse
                flags.FLAGS.mark_as_parsed()
            several = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=ahead)
            data = data.mp_prefetch(several, worker_init_fn=_settle)
    iterator = iter(data)
    iterator.start_prefetch()
    return iterator


def _settle(index: int, count: int) -> None:
    """Make a worker process exit with its parent, even if that is killed."""
    import multiprocessing
    import multiprocessing.connection
    import os
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent handles it
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
