"""Streaming batches: images are read and decoded in the background."""

from __future__ import annotations

import collections
import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TypeVar

import jax
import numpy as np

from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.limits import cpu_cores
from jaxconv.data.dataset import Arrays, Batch, Source, shape_of
from jaxconv.data.order import masked_batch
from jaxconv.data.reader import Plan, read_ahead

T = TypeVar("T")

__all__ = ["Stream", "evaluation_stream", "prefetch_to_device", "stream"]

Corrupt = Literal["fail", "skip"]
_FAST = 0.5e-3  # seconds of an image, of which Python takes a third; two threads read such ones at half the rate of one


class Stream(Iterator[Batch]):
    """Batches in the order of their steps; made by `stream` and `evaluation_stream`.

    Each has image uint8 [B, H, W, C], label int32 [B] and weight float32 [B]. A context manager: exiting it, or
    reaching the end, stops threads and processes.

    `waited` is the time in seconds that `next` waited for images. `skipped` counts how often each damaged image was
    skipped, by error message.
    """

    def __init__(
        self, source: Source, plan: Plan, steps: range, batch: int, corrupt: Corrupt, whole: int, **reading: Any
    ):
        self.waited, self._whole, self._lost = 0.0, whole, 0
        self.skipped: dict[str, int] = collections.Counter()
        self._corrupt = corrupt
        self._steps = iter(steps)
        self._iterator = read_ahead(source, plan, steps, batch, shape_of(source), **reading) if steps else None

    def __next__(self) -> Batch:
        step = next(self._steps, None)
        if step is None or self._iterator is None:
            self.close()
            raise StopIteration
        began = time.perf_counter()
        try:
            joined = next(self._iterator)
            self._judge(joined.damaged, joined.weight, step)
        except BaseException:
            self.close()
            raise
        finally:
            self.waited += time.perf_counter() - began
        return Batch(joined.image, joined.label, joined.weight)

    def _judge(self, damaged: tuple[str, ...], weight: np.ndarray, step: int) -> None:
        if damaged and self._corrupt == "fail":
            raise DataError(damaged[0])
        self._lost = 0 if weight.any() else self._lost + len(damaged)
        if damaged and self._lost and (len(weight) == self._whole or self._lost >= self._whole):
            # A lost disk looks like damaged images; a step must not train on nothing.
            of = f"of step {step}" if self._lost == len(damaged) else f"up to step {step}"
            raise DataError(f"none of the {self._lost} images {of} can be read; the first: {damaged[0]}")
        for message in damaged:
            self.skipped[message] += 1

    def close(self) -> None:
        """Stop reading; `next` then raises StopIteration."""
        self._steps = iter(())
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def stream(
    source: Source,
    batches: Callable[[int], np.ndarray],
    start: int,
    stop: int,
    *,
    classes: int | None = None,
    threads: int | None = None,
    workers: int = 0,
    ahead: int = 2,
    corrupt: Corrupt | None = None,
    whole: int | None = None,
) -> Stream:
    """Read the batches of steps in the background, in parallel.

    A batch depends on its step number alone, so a resumed run gets the same batches, with any number of threads and
    workers.

    Args:
      source: the images; `Arrays` need neither threads nor workers.
      batches: `step -> indices int [B]`, a pure function: see `jaxconv.data.order.batch_indices`.
      start: the first step.
      stop: the step before which to stop.
      classes: number of classes, to check labels; None for no check.
      threads: decoding threads per process; None for one per core, or a single one for images that are read so fast
        that threads would wait for Python's lock.
      workers: reader processes; 0 for threads alone, which suffice if decoding releases the GIL, as Pillow does.
      ahead: prefetched batches per process.
      corrupt: "fail" raises at the step of a damaged image; "skip" sets its pixels and weight to 0. None for the
        source's `corrupt`, or "fail".
      whole: number of images of a whole batch, if `batches` returns only the share of one of several processes.

    Returns:
      The batches; reading has started.

    Raises:
      ConfigError: if an argument is out of range, or `batches` returns an invalid index.
      DataError: if an image is damaged, of another shape, or has a label outside the classes; with "skip", if no image
        of a whole batch can be read.

    >>> from jaxconv.data import Arrays
    >>> source = Arrays(np.zeros([6, 8, 8, 1], np.uint8), np.arange(6, dtype=np.int32))
    >>> with stream(source, lambda step: np.array([step, step + 1]), start=3, stop=5) as batches:
    ...     [batch.label.tolist() for batch in batches]
    [[3, 4], [4, 5]]
    """
    size = len(np.asarray(batches(start))) if start < stop else 1
    ones = np.ones(size, np.float32)

    def plan(step: int) -> tuple[np.ndarray, np.ndarray]:
        return batches(step), ones

    return _open(source, plan, range(start, stop), size, whole, classes, threads, workers, ahead, corrupt)


def evaluation_stream(
    source: Source,
    batch_size: int,
    *,
    rows: np.ndarray | None = None,
    classes: int | None = None,
    threads: int | None = None,
    workers: int = 0,
    ahead: int = 2,
    corrupt: Corrupt | None = None,
) -> Stream:
    """Read every image once, in order; the last batch is padded with examples of weight 0.

    Args:
      source: the images.
      batch_size: images per batch.
      rows: rows of each batch to read, the share of one of several processes; all if None.
      classes, threads, workers, ahead, corrupt: as in `stream`.

    Raises:
      ConfigError, DataError: as `stream`.

    >>> from jaxconv.data import Arrays
    >>> source = Arrays(np.zeros([3, 8, 8, 1], np.uint8), np.arange(3, dtype=np.int32))
    >>> [(batch.label.tolist(), batch.weight.tolist()) for batch in evaluation_stream(source, 2)]
    [([0, 1], [1.0, 1.0]), ([2, 0], [1.0, 0.0])]
    """
    size = len(source)

    def plan(step: int) -> tuple[np.ndarray, np.ndarray]:
        indices, weights = masked_batch(step, size, batch_size)
        return (indices, weights) if rows is None else (indices[rows], weights[rows])

    steps, share = range(-(-size // max(batch_size, 1))), batch_size if rows is None else len(rows)
    return _open(source, plan, steps, share, batch_size, classes, threads, workers, ahead, corrupt)


def _open(
    source: Source,
    plan: Plan,
    steps: range,
    batch: int,
    whole: int | None,
    classes: int | None,
    threads: int | None,
    workers: int,
    ahead: int,
    corrupt: Corrupt | None,
) -> Stream:
    own: Corrupt = getattr(source, "corrupt", "fail")
    policy = own if corrupt is None else corrupt
    threads = _threads(source, workers) if threads is None else threads
    lowest = {"start": (steps.start, 0), "batch_size": (batch, 1), "threads": (threads, 1)}
    lowest |= {"workers": (workers, 0), "ahead": (ahead, 1)}
    lines = [f"{name} must be at least {low}, got {value}" for name, (value, low) in lowest.items() if value < low]
    if policy not in ("fail", "skip"):
        lines.append(f"corrupt must be 'fail' or 'skip', got {policy!r}")
    if lines:
        raise ConfigError("; ".join(lines))
    reading = {"classes": classes, "threads": threads, "workers": workers, "ahead": ahead}
    return Stream(source, plan, steps, batch, policy, whole or batch, **reading)


def _threads(source: Source, workers: int) -> int:
    """One thread per core of a process, but one alone for images that are read so fast that Python's lock decides."""
    threads = max(1, cpu_cores() // max(workers, 1))
    if isinstance(source, Arrays) or threads == 1 or len(source) == 0:
        return threads
    seconds = []
    for _ in range(2):  # the first time files and modules are cold
        began = time.perf_counter()
        try:
            source[0]
        except Exception:  # reading it will say so
            return threads
        seconds.append(time.perf_counter() - began)
    return 1 if min(seconds) < _FAST else threads


def prefetch_to_device(batches: Iterable[T], size: int = 2, placement: Any = None) -> Iterator[T]:
    """Copy batches to the device ahead of use.

    `jax.device_put` is asynchronous, so that the copy overlaps the running step. There is no benefit on a CPU.

    Args:
      batches: pytrees of arrays, such as a `Stream`.
      size: number of prefetched batches.
      placement: device or sharding, or a function that places a batch; None for the default device.

    Yields:
      The same batches as JAX arrays.

    >>> [int(batch.sum()) for batch in prefetch_to_device([np.ones(2), np.ones(3)])]
    [2, 3]
    """
    put = placement if callable(placement) else functools.partial(jax.device_put, device=placement)
    source = iter(batches)
    queue = collections.deque(map(put, itertools.islice(source, size)))
    while queue:
        yield queue.popleft()
        queue.extend(map(put, itertools.islice(source, 1)))
