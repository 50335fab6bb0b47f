"""Training batches: from arrays in device memory, or streamed."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv.data import Arrays, Batch, Source
from jaxconv.data.balance import Order
from jaxconv.data.dataset import label_struct, shape_of
from jaxconv.data.labels import taken
from jaxconv.data.order import batch_epochs, batch_indices
from jaxconv.data.stream import prefetch_to_device, stream
from jaxconv.training.devices import Devices, make_devices

__all__ = ["Feed", "Resident", "Streamed", "shuffled_batches"]


def shuffled_batches(
    source: Arrays, batch_size: int, *, seed: int, steps: Iterable[int], order: Order = batch_indices
) -> Iterator[Batch]:
    """Shuffled training batches of a source in memory.

    A batch is a function of `seed` and its step alone: every image is used once per epoch, and a resumed loop passes
    `range(int(train.step), last)`.

    Args:
      source: the images.
      batch_size: images per step.
      seed: seed of the shuffling.
      steps: step numbers, from 0.
      order: `jaxconv.data.balanced_order(source.labels)` draws each class equally often instead.

    Yields:
      Batches of `batch_size` images, each of weight 1, with index and epoch.

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
        indices, epochs = order(seed, step, batch_size, len(source)), batch_epochs(step, batch_size, len(source))
        return Batch(source.images[indices], taken(source.labels, indices), weight, indices, epochs)

    return map(batch, steps)


class Feed(Protocol):
    """The batches that `fit` trains on. A batch is a function of its step number, so a run can resume anywhere.

    Attributes:
      data: arrays that stay in device memory.
      max_steps: maximum number of steps per chunk.
      batch_size: images per step.
      waited: seconds spent waiting for data so far.
      data_shapes: shapes of `data`, a tree of `jax.ShapeDtypeStruct`.
      shapes: shapes of the result of `items`, likewise.
      skipped: number of times that each unreadable image was skipped, by error message.
    """

    max_steps: int
    batch_size: int

    @property
    def data(self) -> Any: ...

    @property
    def data_shapes(self) -> Any: ...

    @property
    def waited(self) -> float: ...

    @property
    def shapes(self) -> Any: ...

    @property
    def skipped(self) -> dict[str, int]: ...

    def items(self, first: int, count: int) -> Any:
        """A chunk: the inputs of `take` for `count` steps from `first`, a pytree with a leading axis of `max_steps`."""
        ...

    def take(self, data: Any, item: Any) -> Batch:
        """The batch of one step, inside jit."""
        ...

    def close(self) -> None:
        """Stop reading ahead."""
        ...


class Resident:
    """Batches of a dataset in device memory: only indices are transferred.

    Args:
      source: the images.
      batch_size: images per step.
      seeds: seed of the shuffling; a sequence has one for each member of an ensemble.
      max_steps: maximum number of steps per chunk.
      devices: those among which batches are divided, each of which has all images; the default device if None.
      order: of the images.

    Raises:
      ConfigError: if batch_size is not positive.
    """

    def __init__(
        self,
        source: Arrays,
        batch_size: int,
        seeds: int | Sequence[int],
        max_steps: int = 256,
        devices: Devices | None = None,
        order: Order = batch_indices,
    ) -> None:
        _check_batch_size(batch_size)
        self._order = order
        self.batch_size, self.max_steps, self._source = batch_size, max_steps, source
        self._devices = devices or make_devices(data=1)
        self._seeds: Sequence[int] = [seeds] if isinstance(seeds, int) else seeds
        axes = (batch_size,) if isinstance(seeds, int) else (len(seeds), batch_size)
        rows = self._devices.rows(len(axes), members=len(axes) > 1)
        each = jax.ShapeDtypeStruct((max_steps, *axes), jnp.int32, sharding=rows)
        self.shapes = each, each
        self.waited, self.skipped = 0.0, dict[str, int]()

    @functools.cached_property
    def data(self) -> tuple[jax.Array, Any]:
        """The images and labels, copied to the devices on first use."""
        return self._devices.copies((self._source.images, self._source.labels))

    @property
    def data_shapes(self) -> Any:
        """Shapes of `data`."""
        arrays, whole = (self._source.images, self._source.labels), self._devices.whole
        return jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape, jnp.asarray(v[:0]).dtype, sharding=whole), arrays)

    def items(self, first: int, count: int) -> tuple[jax.Array, jax.Array]:
        """Indices and epochs, int32 [max_steps, batch_size] or [max_steps, members, batch_size], 0 after `count`."""
        index, epoch = np.zeros([2, self.max_steps, len(self._seeds), self.batch_size], np.int32)
        for number in range(count):
            place = first + number, self.batch_size, len(self._source)
            epoch[number] = batch_epochs(*place)
            for member, seed in enumerate(self._seeds):
                index[number, member] = self._order(seed, *place)
        shape = self.shapes[0].shape
        axis = len(shape) - 1
        members = len(self._seeds) if axis > 1 else 0
        return self._devices.batch((index.reshape(shape), epoch.reshape(shape)), axis=axis, members=members)

    def close(self) -> None:
        """Nothing to stop."""

    def take(self, data: tuple[jax.Array, Any], item: Any) -> Batch:
        """The images at these indices, each of weight 1, with index and epoch."""
        (images, labels), (index, epoch) = data, item
        return Batch(images[index], taken(labels, index), jnp.ones(index.shape, jnp.float32), index, epoch)


class Streamed:
    """Batches read in the background from images that are not in memory.

    Args:
      source: the images.
      batch_size: images per step.
      seeds: as for `Resident`.
      first: the first step; later ones must be requested in order.
      last: the step to stop before.
      devices: those among which batches are divided; the default device if None.
      order: of the images.
      **reading: keyword arguments of `jaxconv.data.stream.stream`.

    Raises:
      ConfigError: if batch_size is not positive.
    """

    max_steps = 1
    data = data_shapes = ()

    def __init__(
        self,
        source: Source,
        batch_size: int,
        seeds: int | Sequence[int],
        first: int,
        last: int,
        devices: Devices | None = None,
        order: Order = batch_indices,
        **reading: Any,
    ) -> None:
        _check_batch_size(batch_size)
        self.batch_size, self._single, self._next = batch_size, isinstance(seeds, int), first
        each = [seeds] if isinstance(seeds, int) else seeds
        devices = devices or make_devices(data=1)
        own_rows = partial(_own_rows, devices.own(batch_size))
        sizes = {"batch_size": batch_size, "size": len(source)}
        plans = [partial(own_rows, partial(order, each[member]), **sizes) for member in devices.own_members(len(each))]
        epochs = partial(own_rows, batch_epochs, **sizes)
        self._streams = [stream(source, plan, first, last, whole=batch_size, **reading) for plan in plans]
        axes = (1, batch_size) if self._single else (1, len(each), batch_size)
        image = shape_of(source)
        rows = devices.rows(len(axes) - 1, members=not self._single)
        whole = jax.ShapeDtypeStruct(axes, jnp.int32, sharding=rows)
        self.shapes = Batch(
            jax.ShapeDtypeStruct((*axes, *image), jnp.uint8, sharding=rows),
            jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype, sharding=rows), label_struct(source)
            ),
            jax.ShapeDtypeStruct(axes, jnp.float32, sharding=rows),
            whole,
            whole,
        )

        # Transfers of the next batches overlap the running step.
        numbered = [
            map(partial(_numbered, plan, epochs), itertools.count(first), batches)
            for plan, batches in zip(plans, self._streams, strict=True)
        ]
        members = 0 if self._single else len(each)
        place = partial(devices.batch, size=batch_size, axis=len(axes) - 1, members=members)
        self._batches = prefetch_to_device(map(self._join, zip(*numbered, strict=True)), placement=place)

    def _join(self, members: tuple[Batch, ...]) -> Batch:
        """This process's rows of its members' batches of a step, with the axes of `shapes`."""

        def stacked(*parts: np.ndarray) -> np.ndarray:
            return parts[0][None] if self._single else np.stack(parts)[None]

        return jax.tree.map(stacked, *members)

    def close(self) -> None:
        """Stop reading ahead."""
        for each in self._streams:
            each.close()

    @property
    def waited(self) -> float:
        """Seconds spent waiting for images."""
        return sum(each.waited for each in self._streams)

    @property
    def skipped(self) -> dict[str, int]:
        """Number of times that each unreadable image was skipped, by error message."""
        return dict(sum((Counter(each.skipped) for each in self._streams), Counter[str]()))

    def items(self, first: int, count: int) -> Batch:
        """A chunk of one step: the batch with a leading axis of 1 (and one for members)."""
        assert (first, count) == (self._next, 1), f"expected step {self._next}, got {first}"
        self._next += 1
        return next(self._batches)

    def take(self, data: Any, item: Batch) -> Batch:
        """The batch unchanged."""
        return item


def _own_rows(own: np.ndarray, numbers: Callable[..., np.ndarray], step: int, batch_size: int, size: int) -> np.ndarray:
    """What `numbers` says of the images of a step that this process reads."""
    return numbers(step, batch_size, size)[own]


def _numbered(indices: Callable[[int], Any], epochs: Callable[[int], Any], step: int, batch: Batch) -> Batch:
    """A step's batch with the index and epoch of each image."""
    return batch._replace(index=indices(step), epoch=epochs(step))


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
