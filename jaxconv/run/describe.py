"""A dry run: the net's table, the steps and the memory of a config."""

from __future__ import annotations

import dataclasses

import jax

from jaxconv.analysis.summary import Summary, summary
from jaxconv.run import config
from jaxconv.run.setup import matmul_precision, plain_keys, set_up
from jaxconv.training.loop import compile_steps

__all__ = ["Described", "describe"]


@dataclasses.dataclass(frozen=True)
class Described:
    """What a run would be.

    Args:
      net: the net layer by layer, for one image.
      steps: of the whole run.
      images: in the training set.
      state_bytes: parameters, state, optimiser and averages.
      data_bytes: images that lie on the device.
      step_bytes: what a step needs beside them.
    """

    net: Summary
    steps: int
    images: int
    state_bytes: int
    data_bytes: int
    step_bytes: int


def describe(settings: config.Config) -> Described:
    """Say what a config would train and what memory it takes; the step is compiled, nothing is run.

    Args:
      settings: the config.

    Raises:
      ConfigError, DataError, ShapeError: something in it cannot be.
    """
    setup = set_up(settings)
    start, feed = setup.check(), setup.feed()
    with matmul_precision(settings):
        compiled = compile_steps(setup.step, start, feed, members=setup.seeds is not None)
    memory = compiled.memory_analysis()
    return Described(
        summary(setup.net, (1, *setup.dataset.image_shape)),
        setup.steps,
        len(setup.images),
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(plain_keys, start))),
        sum(leaf.nbytes for leaf in jax.tree.leaves(feed.data)),
        memory.temp_size_in_bytes if memory else 0,
    )
