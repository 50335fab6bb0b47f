"""Teacher of a run: a finished run, or a net with pretrained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from jaxconv._base.errors import ConfigError, DataError, ShapeError, count
from jaxconv.data import Dataset
from jaxconv.run.config import DistillConfig
from jaxconv.run.predict import Predictor, pretrained
from jaxconv.run.trained import read_trained
from jaxconv.training.evaluation import make_log_probabilities
from jaxconv.training.step import Teacher

__all__ = ["make_teacher"]


def make_teacher(wanted: DistillConfig, dataset: Dataset[Any]) -> Teacher | None:
    """The teacher of a config.

    Args:
      wanted: the config's section.
      dataset: of the student.

    Returns:
      `images -> log-probabilities` [N, C] (of an ensemble, of its mean); None if there is no teacher.

    Raises:
      ConfigError: if the section is incomplete, or the teacher has other classes or another input.
      DataError: if its run or weights cannot be read.
    """
    if wanted.run is None and wanted.weights is None and wanted.net is None:
        return None
    found = _teacher(wanted, dataset)
    key = "distill.net" if wanted.run is None else "distill.run"
    if found.input.classes != dataset.classes:
        pairs = zip(found.input.classes, dataset.classes, strict=False)
        first = next((f"its class {i} is {a!r}, not {b!r}" for i, (a, b) in enumerate(pairs) if a != b), "")
        counts = f"it has {len(found.input.classes)}, the data {len(dataset.classes)}"
        raise ConfigError(f"{key}: the teacher must have the data's classes; {first or counts}")
    if found.input.shape[2] != dataset.image_shape[2] or found.input.peak != dataset.peak:
        theirs = f"{count(found.input.shape[2], 'channel')} up to {found.input.peak:g}"
        ours = f"{count(dataset.image_shape[2], 'channel')} up to {dataset.peak:g}"
        raise ConfigError(f"{key}: the teacher must take the data's pixels, {ours}; it takes {theirs}")
    function = make_log_probabilities(found.net, found.prepare, members=found.members)
    images = jax.ShapeDtypeStruct((1, *dataset.image_shape), "uint8")
    try:
        shape = jax.eval_shape(function, found.params, found.state, images).shape
    except ShapeError as error:
        raise ConfigError(f"{key}: the teacher cannot take images {list(dataset.image_shape)}: {error}") from error
    if shape != (1, len(dataset.classes)):
        raise ConfigError(f"{key}: the teacher must return logits [N, {len(dataset.classes)}], got {list(shape)}")
    return lambda images: function(found.params, found.state, images)


def _teacher(wanted: DistillConfig, dataset: Dataset[Any]) -> Predictor:
    if wanted.run is not None:
        if wanted.net is not None or wanted.weights is not None:
            raise ConfigError("distill.run is the teacher; leave out distill.net and distill.weights")
        try:
            return read_trained(Path(wanted.run))[0]
        except (ConfigError, DataError) as error:
            raise type(error)(f"distill.run: {error}") from error
        except OSError as error:
            raise ConfigError(f"distill.run: cannot read {wanted.run[:60]}: {error.strerror or error}") from None
    if wanted.net is None or wanted.weights is None:
        raise ConfigError("distill.net and distill.weights must both be given: a model and a file of its weights")
    size, _, channels = dataset.image_shape
    try:
        return pretrained(wanted.net, wanted.weights, dataset.classes, wanted.source, size=size, channels=channels)
    except (ConfigError, DataError, ShapeError) as error:
        raise type(error)(f"distill.weights: {error}") from error
