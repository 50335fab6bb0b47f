"""Build the parts of a run from its config: data, model, optimizer and step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxconv.run.build.check import check, state_bytes
from jaxconv.run.build.determinism import make_deterministic
from jaxconv.run.build.inputs import Inputs, evaluation_batches, load_dataset, load_inputs, load_unread, training_feed
from jaxconv.run.build.model import Model, build_model, make_views
from jaxconv.run.build.precision import in_precision, matmul_precision
from jaxconv.run.build.training import Training, build_training, resolved
from jaxconv.run.config import Config

__all__ = [
    "Inputs",
    "Model",
    "Training",
    "build",
    "build_model",
    "check",
    "evaluation_batches",
    "in_precision",
    "load_dataset",
    "load_inputs",
    "load_unread",
    "make_deterministic",
    "make_views",
    "matmul_precision",
    "resolved",
    "state_bytes",
    "training_feed",
]


def build(settings: Config, devices: Sequence[Any] | None = None) -> tuple[Inputs, Model, Training]:
    """Load the data, and build the net, the optimizer and the step.

    Args:
      settings: the config.
      devices: to train on; all of JAX's if None.

    Raises:
      ConfigError, DataError, ShapeError: if the config is invalid.
    """
    make_deterministic(settings)
    inputs = load_inputs(settings)
    model = build_model(settings, inputs.dataset, inputs.train)
    return inputs, model, build_training(settings, inputs, model, devices)
