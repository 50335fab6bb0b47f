"""Many nets of one kind at once: the same functions, mapped over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import optax

from jaxconv._base.errors import ConfigError
from jaxconv._base.types import InputSpec
from jaxconv.layers.layer import Layer
from jaxconv.training.step import TrainState, init_state

T = TypeVar("T")

__all__ = ["init_ensemble", "member"]


def init_ensemble(
    net: Layer,
    tx: optax.GradientTransformation,
    seeds: Sequence[int],
    x: InputSpec,
    *,
    average: bool = False,
    scale_loss: bool = False,
) -> TrainState:
    """The states of several nets before their first step, one for each seed.

    `jax.vmap` of the step trains them all; `fit(members=True)` does. Each is then what it would be
    alone, up to the rounding of sums in another order.

    Args:
      net: the layer to train.
      tx: the optimizer.
      seeds: one for each member.
      x: array, `jax.ShapeDtypeStruct` or shape of an input batch.
      average: as in `init_state`.
      scale_loss: as in `init_state`.

    Returns:
      A state whose every leaf has a first axis of `len(seeds)`.

    Raises:
      ConfigError: there are no seeds, or one comes twice.

    >>> from jaxconv.layers import Dense
    >>> state = init_ensemble(Dense(3), optax.sgd(0.1), [0, 1], (1, 4))
    >>> state.params["kernel"].shape
    (2, 4, 3)
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError(f"an ensemble needs a seed of its own for each member, got {list(seeds)}")
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    return jax.vmap(lambda key: init_state(net, tx, key, x, average=average, scale_loss=scale_loss))(keys)


def member(tree: T, number: int) -> T:
    """One member of an ensemble's params, state or whole train state.

    Args:
      tree: a pytree whose leaves have a first axis for the members.
      number: from 0.

    >>> member({"kernel": jnp.arange(6).reshape(2, 3)}, 1)
    {'kernel': Array([3, 4, 5], dtype=int32)}
    """
    return jax.tree.map(lambda leaf: leaf[number], tree)
