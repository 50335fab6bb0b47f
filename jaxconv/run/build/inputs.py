"""Data of a run: the dataset, its split, batches for training and for evaluation."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from jaxconv import data
from jaxconv._base.errors import ConfigError
from jaxconv.data import Arrays, Batch, Source
from jaxconv.data.balance import balanced_order, labels_of
from jaxconv.data.dataset import label_struct
from jaxconv.data.order import batch_indices
from jaxconv.data.registry import with_defaults
from jaxconv.data.split import held_back
from jaxconv.data.stream import evaluation_stream
from jaxconv.run.config import Config
from jaxconv.training.batches import Feed, Resident, Streamed
from jaxconv.training.devices import Devices
from jaxconv.training.evaluation import batches

__all__ = ["EVAL_BATCH", "Inputs", "batch_struct", "evaluation_batches", "load_dataset", "load_inputs", "load_unread", "training_feed"]

EVAL_BATCH = 500


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The images of a run.

    Args:
      dataset: with its test images, classes and normalization.
      train: images to train on.
      validation: images held out of the training set, or None.
    """

    dataset: data.Dataset[Any]
    train: Source
    validation: Source | None


def load_inputs(settings: Config) -> Inputs:
    """Load a config's dataset and hold out its validation images.

    Raises:
      ConfigError, DataError: if there is no such dataset, or it cannot be read.
    """
    dataset = load_dataset(settings)
    return Inputs(dataset, *held_back(dataset.train, settings.data.validation))


def load_dataset(settings: Config, root: str | None = None) -> data.Dataset[Any]:
    """Load a config's dataset.

    Args:
      settings: the config.
      root: data directory; the config's if None.

    Raises:
      ConfigError, DataError: if there is no such dataset, or it cannot be read.
    """
    found = settings.data
    folder = root or found.root
    try:
        return data.load(found.name, folder, found.corrupt, **found.arguments)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise ConfigError(f"data.root: {error.strerror}: {str(error.filename)[:60]}…") from None


def load_unread(settings: Config) -> data.Dataset[Any]:
    """Load a config's dataset without reading its images where they can be read one by one.

    Raises:
      ConfigError, DataError: as `load_dataset`.
    """
    found = settings.data
    if "in_memory" in with_defaults(found.name, {}):
        found = dataclasses.replace(found, arguments={**found.arguments, "in_memory": False})
    return load_dataset(dataclasses.replace(settings, data=dataclasses.replace(found, corrupt="skip")))


def training_feed(
    inputs: Inputs,
    settings: Config,
    seeds: int | Sequence[int],
    first: int,
    last: int,
    devices: Devices,
) -> Feed:
    """Training batches of the steps from `first` up to `last`.

    Args:
      inputs: the run's data.
      settings: the config.
      seeds: of the order of the images; a sequence has one for each member of an ensemble.
      first: step of the first batch.
      last: total steps of the run.
      devices: the run's mesh.
    """
    size, train = settings.train.batch_size, inputs.train
    order = balanced_order(labels_of(train)) if settings.train.sampling == "balanced" else batch_indices
    if isinstance(train, Arrays):
        return Resident(train, size, seeds, devices=devices, order=order)
    return Streamed(train, size, seeds, first, last, devices, order, **_reading(settings, len(inputs.dataset.classes)))


def evaluation_batches(
    source: Source, settings: Config, classes: int, devices: Devices | None = None
) -> Iterable[Batch]:
    """Batches that hold each image of a source exactly once, divided among the devices if there are any."""
    size = EVAL_BATCH if isinstance(source, Arrays) else min(EVAL_BATCH, settings.train.batch_size)
    if devices is not None:
        size += -size % devices.parts
    if isinstance(source, Arrays):
        whole = batches(source, size)
        return whole if devices is None else map(devices.batch, whole)
    reading = _reading(settings, classes)
    if devices is None:
        return evaluation_stream(source, size, **reading)
    own = evaluation_stream(source, size, rows=devices.own(size), **reading)
    return (devices.batch(batch, size) for batch in own)


def batch_struct(dataset: data.Dataset[Any], size: int) -> Batch:
    """Shapes and dtypes of a batch of `size` images."""
    return Batch(
        jax.ShapeDtypeStruct((size, *dataset.image_shape), np.uint8),
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape), leaf.dtype), label_struct(dataset.train)),
        jax.ShapeDtypeStruct((size,), np.float32),
        jax.ShapeDtypeStruct((size,), np.int32),
        jax.ShapeDtypeStruct((size,), np.int32),
    )


def _reading(settings: Config, classes: int) -> dict[str, Any]:
    """Options for reading a dataset that is not held in memory."""
    return {"workers": settings.data.workers, "corrupt": settings.data.corrupt, "classes": classes}
