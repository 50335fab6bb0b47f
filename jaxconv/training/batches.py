"""Training batches: from arrays in device memory, or streamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv.data import Arrays, Batch, Source
from jaxconv.data.dataset import shape_of
from jaxconv.data.order import batch_indices
from jaxconv.data.stream import prefetch_to_device, stream

__all__ = ["Feed", "Resident", "Streamed", "shuffled_batches"]


def shuffled_batches(source: Arrays, batch_size: int, *, seed: int, steps: Iterable[int]) -> Iterator[Batch]:
    """Shuffled training batches of a source in memory.

    A batch is a function of `seed` and its step alone: every image is used once per epoch, and a resumed loop passes
    `range(int(train.step), last)`.

    Args:
      source: the images.
      batch_size: images per step.
      seed: seed of the shuffling.
      steps: the numbers of the steps, counted from 0.

    Yields:
      Batches of `batch_size` images, each of weight 1.

    Raises:
      ConfigError: if batch_size is not positive.

    >>> source = Arrays(np.zeros([6, 8, 8, 1], np.uint8), np.arange(6, dtype=np.int32))
    >>> labels = np.concatenate([batch.label for batch in shuffled_batches(source, 2, seed=0, steps=range(3))])
    >>> sorted(labels.tolist())
    [0, 1, 2, 3, 4, 5]
    """
    _check_batch_size(batch_size)
    weight = np.ones(batch_size, np.float32)

    def batch(step: int) -> Batch:
        indices = batch_indices(seed, step, batch_size, len(source))
        return Batch(source.images[indices], source.labels[indices], weight)

    return map(batch, steps)


class Feed(Protocol):
    """What `fit` asks for batches. Any step's batch is a function of its number, so a run may go on anywhere.

    Attributes:
      data: arrays that lie on the device throughout.
      longest: steps that `items` can be asked for at once.
      batch_size: images a step.
      waited: seconds that the run has waited for data so far.
      shapes: what `items` gives, as a tree of `jax.ShapeDtypeStruct`.
      skipped: images that could not be read, by what was wrong, and how often each was left out.
    """

    data: Any
    longest: int
    batch_size: int

    @property
    def waited(self) -> float: ...

    @property
    def shapes(self) -> Any: ...

    @property
    def skipped(self) -> dict[str, int]: ...

    def items(self, first: int, count: int) -> Any:
        """What `take` needs for the steps from `first` on: a pytree with a first axis of `longest`."""
        ...

    def take(self, data: Any, item: Any) -> Batch:
        """The batch of one step, inside jit."""
        ...

    def close(self) -> None:
        """Stop whatever reads ahead."""
        ...


class Resident:
    """Batches of images that lie on the device as they are stored; only their numbers are sent.

    Args:
      source: the images.
      batch_size: images a step.
      seeds: of the order of the images; a sequence gives each member of an ensemble its own.
      longest: steps that may be asked for at once.

    Raises:
      ConfigError: batch_size is not positive.
    """

    def __init__(self, source: Arrays, batch_size: int, seeds: int | Sequence[int], longest: int = 256) -> None:
        _check_batch_size(batch_size)
        self.data = jnp.asarray(source.images), jnp.asarray(source.labels)
        self.batch_size, self.longest, self._size = batch_size, longest, len(source)
        self._seeds: Sequence[int] = [seeds] if isinstance(seeds, int) else seeds
        axes = (batch_size,) if isinstance(seeds, int) else (len(seeds), batch_size)
        self.shapes = jax.ShapeDtypeStruct((longest, *axes), jnp.int32)
        self.waited, self.skipped = 0.0, dict[str, int]()

    def items(self, first: int, count: int) -> np.ndarray:
        """int32 [longest, batch_size], or [longest, members, batch_size]; what is past `count` is zero."""
        found = np.zeros([self.longest, len(self._seeds), self.batch_size], np.int32)
        for number in range(count):
            for member, seed in enumerate(self._seeds):
                found[number, member] = batch_indices(seed, first + number, self.batch_size, self._size)
        return found.reshape(self.shapes.shape)

    def close(self) -> None:
        """Nothing to stop."""

    def take(self, data: tuple[jax.Array, jax.Array], item: Any) -> Batch:
        """The images of these numbers, each of weight 1."""
        images, labels = data
        return Batch(images[item], labels[item], jnp.ones(item.shape, jnp.float32))


class Streamed:
    """Batches that are read, while the steps before them run, from images that do not lie in memory.

    Args:
      source: the images.
      batch_size: images a step.
      seeds: as for `Resident`.
      first: the step to begin with; later ones are asked for in order.
      last: the step to end before.
      **reading: as `jaxconv.data.stream.stream` takes it.

    Raises:
      ConfigError: batch_size is not positive.
    """

    longest = 1
    data = ()

    def __init__(
        self, source: Source, batch_size: int, seeds: int | Sequence[int], first: int, last: int, **reading: Any
    ) -> None:
        _check_batch_size(batch_size)
        self.batch_size, self._lone, self._next = batch_size, isinstance(seeds, int), first
        each = [seeds] if isinstance(seeds, int) else seeds
        self._streams = [
            stream(
                source, partial(batch_indices, seed, batch_size=batch_size, size=len(source)), first, last, **reading
            )
            for seed in each
        ]
        axes = (1, batch_size) if self._lone else (1, len(each), batch_size)
        image = shape_of(source)
        self.shapes = Batch(
            jax.ShapeDtypeStruct((*axes, *image), jnp.uint8),
            jax.ShapeDtypeStruct(axes, jnp.int32),
            jax.ShapeDtypeStruct(axes, jnp.float32),
        )

        # The next batches are on their way to the device while a step runs there.
        self._batches = prefetch_to_device(map(self._join, zip(*self._streams, strict=True)))

    def _join(self, members: tuple[Batch, ...]) -> Batch:
        """A step's batches as one, of `shapes`."""
        return jax.tree.map(lambda shape, *parts: np.stack(parts).reshape(shape.shape), self.shapes, *members)

    def close(self) -> None:
        """Stop reading ahead."""
        for each in self._streams:
            each.close()

    @property
    def waited(self) -> float:
        """Seconds that the run has waited for images."""
        return sum(each.waited for each in self._streams)

    @property
    def skipped(self) -> dict[str, int]:
        """Images that could not be read, by what was wrong, and how often each was left out."""
        return dict(sum((Counter(each.skipped) for each in self._streams), Counter[str]()))

    def items(self, first: int, count: int) -> Batch:
        """The images themselves: a batch with a first axis of 1, and one for members."""
        assert (first, count) == (self._next, 1), f"a stream goes on at {self._next}, not at {first}"
        self._next += 1
        return next(self._batches)

    def take(self, data: Any, item: Batch) -> Batch:
        """The batch as it is."""
        return item


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
