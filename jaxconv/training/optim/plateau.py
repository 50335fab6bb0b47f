"""Learning rate that is reduced when evaluations stop improving."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np
import optax

from jaxconv.training.placement import number_in

__all__ = ["observe_loss", "plateau_scale", "scaled_on_plateau"]

_STATE = optax.contrib.ReduceLROnPlateauState


def scaled_on_plateau(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optax optimizer whose updates `observe_loss` reduces, as `optax.contrib.reduce_on_plateau` does.

    Its state changes between steps alone, by the loss of evaluations.

    Args:
      optimizer: an `optax.GradientTransformation`.

    Returns:
      An `optax.GradientTransformation`.
    """

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        return jax.tree.map(lambda leaf: state.scale.astype(leaf.dtype) * leaf, updates), state

    init = optax.contrib.reduce_on_plateau().init
    return optax.chain(optimizer, optax.GradientTransformation(init, update))


def observe_loss(opt_state: Any, loss: float, **plateau: Any) -> Any:
    """The optimizer's state after an evaluation.

    Args:
      opt_state: of `scaled_on_plateau`; of an ensemble, with a leading axis.
      loss: of the evaluation; that of the ensemble for all its members.
      **plateau: arguments of `optax.contrib.reduce_on_plateau`.

    >>> tx = scaled_on_plateau(optax.sgd(1.0))
    >>> state = tx.init({"w": 1.0})
    >>> for loss in (1.0, 0.5, 0.5, 0.5):
    ...     state = observe_loss(state, loss, factor=0.1, patience=2)
    >>> print(f"{plateau_scale(state):.2f}")
    0.10
    """

    def after(node: Any) -> Any:
        if not _is_state(node):
            return node
        shardings = jax.tree.map(lambda leaf: leaf.sharding, node)
        return _rule(tuple(plateau.items()), np.ndim(node.scale) > 0, shardings)(node, np.float32(loss))

    return jax.tree.map(after, opt_state, is_leaf=_is_state)


@functools.cache
def _rule(plateau: tuple[tuple[str, Any], ...], members: bool, shardings: Any) -> Any:
    """The compiled function from a state of optax's rule and a loss to the next state."""
    rule = optax.contrib.reduce_on_plateau(**dict(plateau))

    def one(state: Any, value: Any) -> Any:
        return rule.update({}, state, value=value)[1]

    return jax.jit(jax.vmap(one, (0, None)) if members else one, out_shardings=shardings)


def plateau_scale(opt_state: Any) -> float:
    """The factor of the learning rate so far; 1 if the state is not of `scaled_on_plateau`."""
    found = [node for node in jax.tree.leaves(opt_state, is_leaf=_is_state) if _is_state(node)]
    return number_in(found[0].scale) if found else 1.0


def _is_state(node: Any) -> bool:
    return isinstance(node, _STATE)


def __dir__() -> list[str]:
    return sorted(__all__)
