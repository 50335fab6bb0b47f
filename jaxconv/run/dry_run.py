"""Dry run: layers, steps, memory and communication of a config."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax

from jaxconv._base.errors import ConfigError
from jaxconv.analysis.collectives import Collective, collectives
from jaxconv.analysis.summary import Summary, summary
from jaxconv.run.build import build, check, matmul_precision, state_bytes, training_feed
from jaxconv.run.config import Config
from jaxconv.training.loop import compile_steps

__all__ = ["Described", "describe"]


@dataclasses.dataclass(frozen=True)
class Described:
    """Steps, memory and communication of a run.

    Args:
      net: summary of the net for one image.
      steps: total steps.
      images: size of the training set.
      batch: images of a step, of each member of an ensemble.
      share: those of one device.
      mesh: sizes of the axes of the mesh of devices.
      whole_bytes: parameters, state, optimizer state and EMA.
      state_bytes: their part on each device.
      data_bytes: images on each device.
      step_bytes: temporary memory of a step on each device.
      all_bytes: all memory of a step on each device.
      collectives: what the devices send each other in a step.
    """

    net: Summary
    steps: int
    images: int
    batch: int
    share: int
    mesh: dict[str, int]
    whole_bytes: int
    state_bytes: int
    data_bytes: int
    step_bytes: int
    all_bytes: int
    collectives: list[Collective]


def describe(settings: Config, devices: int | None = None) -> Described:
    """Report a run's layers, steps, memory and communication. Its step is compiled; nothing is run.

    Args:
      settings: the config.
      devices: number of devices to compile for, by this machine's CPU; the machine's own devices if None. Possible only
        before JAX has looked for devices.

    Raises:
      ConfigError, DataError, ShapeError: if the config is invalid.
    """
    if devices is not None:
        _have_devices(devices)
    inputs, model, training = build(settings)
    mesh = training.devices
    whole = check(settings, inputs, model, training)
    start = mesh.structs(whole)
    feed = training_feed(inputs, settings, training.seeds, 0, training.steps, mesh)
    with matmul_precision(settings.precision), jax.disable_jit(False):
        compiled: Any = compile_steps(training.step, start, feed, members=training.members)
    memory = compiled.memory_analysis()
    used = memory.argument_size_in_bytes + memory.temp_size_in_bytes if memory else 0
    return Described(
        summary(model.net, model.shape),
        training.steps,
        len(inputs.train),
        settings.train.batch_size,
        settings.train.batch_size // mesh.parts,
        {axis: size for axis, size in mesh.mesh.shape.items() if size > 1},
        state_bytes(whole),
        _share_bytes(start),
        _share_bytes((feed.data_shapes, feed.shapes)),
        memory.temp_size_in_bytes if memory else 0,
        used + memory.output_size_in_bytes - memory.alias_size_in_bytes if memory else 0,
        collectives(compiled.as_text()),
    )


def _have_devices(count: int) -> None:
    """Let JAX have so many devices of its CPU, which need not have as many cores."""
    if count < 1:
        raise ConfigError(f"--devices must be at least 1; got {count}")
    try:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        pass  # JAX has its devices already
    if jax.device_count() != count:
        raise ConfigError(
            f"devices must be given before JAX has looked for devices; got {count}, JAX has {jax.device_count()}"
        )


def _share_bytes(tree: Any) -> int:
    """Size of one device's part of these shapes."""
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
