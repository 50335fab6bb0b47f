"""Ensembles: one architecture trained with several seeds under `jax.vmap`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax

from jaxconv._base.errors import ConfigError
from jaxconv._base.types import InputSpec
from jaxconv.layers.layer import Layer
from jaxconv.training.step import TrainState, init_state

T = TypeVar("T")

__all__ = ["Members", "init_ensemble", "member", "over_members"]

Members = bool | Callable[..., Any]
"""False for a single net, True to map a function over the members of an ensemble by `jax.vmap`, or a function to use in
its place: `Devices.vmap`."""


def init_ensemble(
    net: Layer,
    tx: optax.GradientTransformation,
    seeds: Sequence[int],
    x: InputSpec,
    *,
    average: bool = False,
    scale_loss: bool = False,
) -> TrainState:
    """Initial train states of several members, one for each seed.

    `jax.vmap` of the step trains them all, as `fit(members=True)` does. Each member equals its separate run up to the
    rounding of sums in another order.

    Args:
      net: layer to train.
      tx: the optimizer.
      seeds: one seed for each member.
      x: array, `jax.ShapeDtypeStruct` or shape of an input batch.
      average: as in `init_state`.
      scale_loss: as in `init_state`.

    Returns:
      A state whose leaves have a leading axis of `len(seeds)`.

    Raises:
      ConfigError: if there are no seeds, or duplicates.

    >>> from jaxconv.layers import Dense
    >>> state = init_ensemble(Dense(3), optax.sgd(0.1), [0, 1], (1, 4))
    >>> state.params["kernel"].shape
    (2, 4, 3)
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError(f"an ensemble needs a different seed for each member, got {list(seeds)}")
    keys = jnp.stack([jax.random.key(seed) for seed in seeds])
    return jax.vmap(lambda key: init_state(net, tx, key, x, average=average, scale_loss=scale_loss))(keys)


def over_members(function: Callable[..., T], members: Members, in_axes: Sequence[int | None]) -> Callable[..., T]:
    """A function of one net, mapped over the members of an ensemble if there are any."""
    if callable(members):
        return members(function, in_axes)
    return jax.vmap(function, tuple(in_axes)) if members else function


def member(tree: T, number: int) -> T:
    """One member of an ensemble's params, state or train state.

    Args:
      tree: a pytree whose leaves have a leading axis of members.
      number: index of the member, from 0.

    >>> member({"kernel": jnp.arange(6).reshape(2, 3)}, 1)
    {'kernel': Array([3, 4, 5], dtype=int32)}
    """
    return jax.tree.map(lambda leaf: leaf[number], tree)
