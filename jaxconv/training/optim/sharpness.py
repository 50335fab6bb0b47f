"""Sharpness-aware minimization (SAM), and the parameters that schedule-free optimizers evaluate."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxconv._base.errors import ConfigError
from jaxconv.training.optim.masks import freeze as frozen

__all__ = ["averaged_params", "sharpness_aware"]


def sharpness_aware(
    optimizer: optax.GradientTransformation, rho: float = 0.05, freeze: Sequence[str] = ()
) -> optax.GradientTransformationExtraArgs:
    """An optax optimizer that updates by the gradient at the worst parameters nearby (`optax.contrib.sam`).

    Its `update` takes `grad_fn(params, 0) -> gradient`, which `make_step` gives: a step takes two gradients of the same
    batch.

    Args:
      optimizer: the optimizer of the update.
      rho: distance of these parameters, along the gradient.
      freeze: path patterns of parameters that stay in place.

    Returns:
      An `optax.GradientTransformationExtraArgs`.

    Raises:
      ConfigError: if rho is not above 0.

    Source: Foret et al., Sharpness-aware minimization for efficiently improving generalization, 2021.

    >>> tx = sharpness_aware(optax.sgd(0.1), rho=0.05)
    >>> params, gradient = jnp.array([1.0]), jax.grad(lambda x: (x**2).sum())
    >>> updates, _ = tx.update(gradient(params), tx.init(params), params, grad_fn=lambda x, _: gradient(x))
    >>> print(updates)
    [-0.21]
    """
    if not rho > 0:
        raise ConfigError(f"optim.sam must be a distance above 0, got {rho}")
    climb: optax.GradientTransformation = optax.chain(optax.GradientTransformation(_empty, _normalize), optax.sgd(rho))
    climb = frozen(climb, *freeze) if freeze else climb
    inner = optax.contrib.sam(optimizer, climb, opaque_mode=True)

    def update(updates: Any, state: Any, params: Any = None, *, grad_fn: Any = None, **extra: Any) -> Any:
        return inner.update(updates, state, params, grad_fn=grad_fn)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _empty(params: Any) -> optax.EmptyState:
    return optax.EmptyState()


def _normalize(updates: Any, state: Any, params: Any = None) -> Any:
    """Updates of norm 1; of zeros, zeros, for which `optax.contrib.normalize` returns NaN."""
    norm = optax.tree.norm(updates)
    factor = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 0)
    return jax.tree.map(lambda leaf: leaf * factor.astype(leaf.dtype), updates), state


def averaged_params(opt_state: Any, params: Any) -> Any:
    """The parameters to evaluate of a schedule-free optimizer, an average of those at the ends of its steps.

    Args:
      opt_state: of an optimizer made of `optax.contrib.schedule_free`; parameters that it does not update, such as
        frozen ones, are returned unchanged.
      params: those that gradients are taken at.
    """
    kind = optax.contrib.ScheduleFreeState

    def is_state(node: Any) -> bool:
        return isinstance(node, kind)

    def is_masked(node: Any) -> bool:
        return isinstance(node, optax.MaskedNode)

    for state in filter(is_state, jax.tree.leaves(opt_state, is_leaf=is_state)):
        leaf = functools.partial(_averaged, b1=state.b1)
        params = jax.tree.map(leaf, state.z, params, is_leaf=is_masked)
    return params


def _averaged(z: Any, y: jax.Array, b1: Any) -> jax.Array:
    return y if isinstance(z, optax.MaskedNode) else ((y - (1.0 - b1) * z) / b1).astype(y.dtype)


def __dir__() -> list[str]:
    return sorted(__all__)
