"""Checks of a run before it starts, from shapes alone: memory and the net's output."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base.errors import ConfigError
from jaxconv._base.limits import check_memory
from jaxconv.run.build.inputs import Inputs
from jaxconv.run.build.model import Model, make_views
from jaxconv.run.build.training import Training
from jaxconv.run.config import Config
from jaxconv.run.tasks import find_task, task_name
from jaxconv.training.ensemble import member
from jaxconv.training.step import TrainState

__all__ = ["check", "state_bytes"]


def check(settings: Config, inputs: Inputs, model: Model, training: Training) -> TrainState:
    """Check that the net can be trained on the data; nothing is computed.

    Args:
      settings: the config.
      inputs: the run's data.
      model: the run's net.
      training: the run's step and state.

    Returns:
      Shapes and dtypes of the state before the first step.

    Raises:
      ShapeError: if the net refuses the data's images (the message has the cause and a shape that works), or they are
        too small for test-time augmentation.
      ConfigError: if the net does not return what its task needs or does not fit into memory, or the config's
        sharding of its parameters is invalid.
    """
    _check_memory(settings, inputs, training)
    state = jax.eval_shape(training.start)
    training.devices.shardings(state)
    wanted = find_task(task_name(settings, inputs.dataset)).output(inputs.dataset)

    def output(params: Any, state: Any) -> Any:
        params, state = member((params, state), 0) if training.members else (params, state)
        return model.net.apply(params, state, jnp.zeros(model.shape))[0]

    jax.eval_shape(make_views(settings.tta), jax.ShapeDtypeStruct(model.shape, jnp.uint8))

    shapes = [list(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(output, state.params, state.state))]
    *most, last = wanted.shape
    fits = len(shapes) == 1 and shapes[0][:-1] == [1, *most]
    if not fits or shapes[0][-1] < last or (shapes[0][-1] > last and not wanted.more):
        raise ConfigError(
            f"net.name: a net that is trained must return {wanted.words}, [N, {', '.join(map(str, wanted.shape))}]; "
            f"of one image {settings.net.name} returns {', '.join(map(str, shapes))}"
        )
    return state


def state_bytes(state: TrainState) -> int:
    """Size of a state, or of one of these shapes."""
    plain = jax.eval_shape(lambda one: dataclasses.replace(one, key=jax.random.key_data(one.key)), state)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(plain))


def _check_memory(settings: Config, inputs: Inputs, training: Training) -> None:
    """Raise ConfigError if a batch or the state before the first step does not fit."""
    shape = inputs.dataset.image_shape
    check_memory(
        f"train.batch_size={settings.train.batch_size} of images {'×'.join(map(str, shape))}",
        4 * settings.train.batch_size * math.prod(shape),
        "a smaller train.batch_size, or smaller images, as by data.size",
    )
    numbers = ", ".join(f"net.{key}={value}" for key, value in settings.net.arguments.items() if _has_int(value))
    what, fix = f"the state of net.name={settings.net.name}, {numbers}".removesuffix(", "), "a smaller net"
    size = settings.ensemble.size
    if size > 1:
        what, fix = f"ensemble.size={size} times {what}", "a smaller ensemble"
    try:
        needed = size * state_bytes(jax.eval_shape(training.single))
    except (MemoryError, OverflowError):
        raise ConfigError(f"{what} needs more memory than any machine has; try {fix}") from None
    check_memory(what, needed, fix)


def _has_int(value: Any) -> bool:
    return any(map(_has_int, value)) if isinstance(value, list | tuple) else type(value) is int
