"""Losses by name, as the [loss] section of a config gives them."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base import arguments as checked
from jaxconv._base.errors import ConfigError, raise_problems
from jaxconv.training.losses import (
    binary_cross_entropy,
    boundary,
    cross_entropy,
    dice,
    focal,
    lovasz,
    mean_squared_error,
)
from jaxconv.training.step import Loss

__all__ = ["GIVEN", "loss_problems", "losses", "make_loss", "make_sum", "term_problems", "with_defaults"]

losses: dict[str, Callable[..., jax.Array]] = {
    "cross_entropy": cross_entropy,
    "bce": binary_cross_entropy,
    "focal": focal,
    "mse": mean_squared_error,
    "dice": dice,
    "lovasz": lovasz,
    "boundary": boundary,
}
"""Losses by the names that a config gives them."""
_SHARED = {"smoothing": "train.label_smoothing", "class_weights": "loss.class_weights"}
GIVEN = ("logits", "outputs", "labels", "targets", "weights", "ignore_index", *_SHARED)
"""Parameters that are not arguments of a config: a batch, its ignored label, or what other keys set."""


def make_loss(
    name: str = "cross_entropy",
    arguments: Mapping[str, Any] | None = None,
    *,
    smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> Loss:
    """Make a loss by name.

    Args:
      name: a key of `losses`, or "module:function" of a function `(logits, labels, weights, …) -> scalar`, a weighted
        mean.
      arguments: the function's own arguments, as parsed from TOML.
      smoothing: label smoothing, in [0, 1).
      class_weights: one for each class of the dataset; further logits of the net weigh 1. None for equal weights.

    Returns:
      `(logits, labels, weights) -> scalar`.

    Raises:
      ConfigError: if there is no such function, its arguments are invalid, or it takes no label smoothing or class
        weights that are given.

    >>> loss = make_loss("focal", {"gamma": 0}, smoothing=0.1)
    >>> print(f"{loss(jnp.zeros([1, 4]), jnp.array([0]), jnp.ones(1)):.4f}")  # log 4
    1.3863
    """
    function = checked.find("loss.name", name, losses)
    arguments = arguments or {}
    raise_problems(loss_problems(name, arguments))
    given = checked.typed(function, arguments)
    parameters = inspect.signature(function).parameters
    for key, value in (("smoothing", smoothing or None), ("class_weights", class_weights)):
        if value is not None and key not in parameters:
            raise ConfigError(f"{_SHARED[key]} must be unset for loss.name={name}, which has no such argument")
    if smoothing:
        given["smoothing"] = smoothing
    if class_weights is None:
        return functools.partial(function, **given)

    def weighted(logits: jax.Array, labels: jax.Array, weights: jax.Array, **ignored: Any) -> jax.Array:
        each = jnp.array([*class_weights, *[1.0] * (logits.shape[-1] - len(class_weights))])
        return function(logits, labels, weights, class_weights=each, **given, **ignored)

    return weighted


def make_sum(
    loss: Loss,
    terms: Mapping[str, Any],
    *,
    smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> Loss:
    """Add further losses to a loss.

    Args:
      loss: from `make_loss`.
      terms: weight by name of the loss; or a table of its `weight`, 1 by default, and its arguments.
      smoothing: label smoothing, of the terms that have such an argument.
      class_weights: as in `make_loss`, of the terms that have such an argument.

    Returns:
      `(logits, labels, weights) -> scalar`.

    Raises:
      ConfigError: if a term is invalid.

    >>> loss = make_sum(make_loss(), {"focal": {"weight": 2, "gamma": 0}})
    >>> print(f"{loss(jnp.zeros([1, 4]), jnp.array([0]), jnp.ones(1)):.4f}")  # 3 log 4
    4.1589
    """
    raise_problems(term_problems(terms))
    parts = [(1.0, loss)]
    for name, term in terms.items():
        weight, arguments = _weight(term)
        takes = inspect.signature(checked.find("loss.terms", name, losses)).parameters
        shared = {"smoothing": smoothing, "class_weights": class_weights}
        options: dict[str, Any] = {key: value for key, value in shared.items() if key in takes}
        parts.append((weight, make_loss(name, arguments, **options)))

    def total(logits: jax.Array, labels: Any, weights: jax.Array, **ignored: Any) -> jax.Array:
        return sum((weight * part(logits, labels, weights, **ignored) for weight, part in parts), jnp.float32(0))

    return total


def term_problems(terms: Mapping[str, Any]) -> list[str]:
    """Check the terms of `make_sum`; returns one line for each problem.

    Args:
      terms: as in `make_sum`.

    >>> term_problems({"dice": -1})
    ['loss.terms.dice: must be a weight above 0, or a table of weight and arguments, got -1']
    """
    lines = []
    for name, term in terms.items():
        weight, arguments = _weight(term)
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 < weight < math.inf:
            be = "must be a weight above 0, or a table of weight and arguments"
            lines.append(f"loss.terms.{name}: {be}, got {term!r}")
        else:
            lines += loss_problems(name, arguments, f"loss.terms.{name}")
    return lines


def _weight(term: Any) -> tuple[Any, dict[str, Any]]:
    """Weight and arguments of a term."""
    if not isinstance(term, Mapping):
        return term, {}
    return term.get("weight", 1.0), {key: value for key, value in term.items() if key != "weight"}


def loss_problems(name: str, arguments: Mapping[str, Any], path: str = "loss") -> list[str]:
    """Check a loss's name and arguments; returns one line for each problem.

    Args:
      name: a key of `losses`, or "module:function".
      arguments: the function's own arguments, as parsed from TOML.
      path: of the table, for messages.

    >>> loss_problems("focal", {"gama": 2})
    ["loss.gama: focal takes gamma; did you mean 'gamma'?"]
    """
    try:
        function = checked.find("loss.name" if path == "loss" else path, name, losses)
    except ConfigError as error:
        return [str(error)]
    lines = checked.given_problems(path, name, function, arguments, hidden=GIVEN)
    return lines + checked.missing(path, name, function, arguments, elsewhere=GIVEN)


def with_defaults(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments completed by the function's defaults.

    Args:
      name: a key of `losses`, or "module:function".
      arguments: those given.

    >>> with_defaults("focal", {})
    {'gamma': 2.0}
    """
    return checked.with_defaults(checked.find("loss.name", name, losses), arguments, GIVEN)


def __dir__() -> list[str]:
    return sorted(__all__)
