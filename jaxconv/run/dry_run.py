"""Dry run: layers, steps and memory of a config."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from jaxconv.analysis.summary import Summary, summary
from jaxconv.run.build import build, check, matmul_precision, state_bytes, training_feed
from jaxconv.run.config import Config
from jaxconv.training.loop import compile_steps

__all__ = ["Described", "describe"]


@dataclasses.dataclass(frozen=True)
class Described:
    """Steps and memory of a run.

    Args:
      net: summary of the net for one image.
      steps: total steps.
      images: size of the training set.
      state_bytes: parameters, state, optimizer state and EMA.
      data_bytes: images in device memory.
      step_bytes: temporary memory of a step.
    """

    net: Summary
    steps: int
    images: int
    state_bytes: int
    data_bytes: int
    step_bytes: int


def describe(settings: Config) -> Described:
    """Report a run's layers, steps and memory. Its step is compiled; nothing is run.

    Args:
      settings: the config.

    Raises:
      ConfigError, DataError, ShapeError: if the config is invalid.
    """
    inputs, model, training = build(settings)
    start = check(settings, inputs, model, training)
    feed = training_feed(inputs, settings, training.seeds, 0, training.steps, training.devices)
    with matmul_precision(settings.precision), jax.disable_jit(False):
        compiled: Any = compile_steps(training.step, start, feed, members=training.members)
    memory = compiled.memory_analysis()
    return Described(
        summary(model.net, model.shape),
        training.steps,
        len(inputs.train),
        state_bytes(start),
        sum(leaf.nbytes for leaf in jax.tree.leaves(feed.data)),
        memory.temp_size_in_bytes if memory else 0,
    )
