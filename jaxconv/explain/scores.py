"""Scores that an explanation is of: the class score of each input."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxconv._base.compat import Tracer
from jaxconv._base.errors import ShapeError, count

__all__ = ["Predict", "Target", "as_input", "broadcast", "chosen", "fixed", "input_gradient", "target_scores"]

Predict: TypeAlias = Callable[[jax.Array], jax.Array]
"""x [N, *spatial, C] -> class scores [N, K], or one score for each input [N]."""
Target: TypeAlias = ArrayLike | Callable[[jax.Array], jax.Array] | None
"""What is explained: a class, one for each input [N], a function from outputs to scores [N], or the predicted class."""


def target_scores(y: jax.Array, target: Target) -> jax.Array:
    """The score of each input.

    Args:
      y: outputs, [N, K] or, without a class, [N].
      target: a class, classes [N], a function from y to [N], or None for the highest score of each input.

    Returns:
      [N].

    Raises:
      ShapeError: if y has no classes, or a class is out of range. A class that is traced by `jax.jit` cannot be
        checked; out of range, its score is NaN.

    >>> y = jnp.array([[1.0, 5.0], [2.0, 0.0]])
    >>> target_scores(y, 0), target_scores(y, None), target_scores(y, lambda y: y.sum(-1))
    (Array([1., 2.], dtype=float32), Array([5., 2.], dtype=float32), Array([6., 2.], dtype=float32))
    """
    if callable(target):
        found = target(y)
        if jnp.shape(found) != y.shape[:1]:
            got = f"outputs {y.shape}, scores {jnp.shape(found)}"
            raise ShapeError("target must return one score for each input: [N]", got=got, kind="shape")
        return found
    if target is None and y.ndim == 1:
        return y
    classes = chosen(y, target)
    return jnp.take_along_axis(y, classes[:, None], 1)[:, 0]


def chosen(y: jax.Array, target: ArrayLike | None) -> jax.Array:
    """The class of each input, int [N]; see `target_scores`."""
    if y.ndim != 2:
        raise ShapeError(
            "the function must return class scores [N, K]",
            got=f"outputs {y.shape}",
            fix="target=lambda y: …, which returns one score for each input",
            kind="rank",
        )
    if target is None:
        return jnp.argmax(y, -1)
    classes = target if isinstance(target, Tracer) else np.asarray(target)
    if not jnp.issubdtype(classes.dtype, jnp.integer) or classes.shape not in ((), y.shape[:1]):
        got = f"{classes.dtype} {classes.shape} for {count(y.shape[0], 'input')}"
        raise ShapeError("target must be a class, or classes [N]", got=got, fix="target=3")
    if isinstance(classes, np.ndarray) and classes.size:
        low, high = int(classes.min()), int(classes.max())
        if low < 0 or high >= y.shape[1]:
            wrong = high if high >= y.shape[1] else low
            raise ShapeError(f"target must be one of {y.shape[1]} classes: 0 to {y.shape[1] - 1}", got=f"{wrong}")
    return jnp.broadcast_to(classes, y.shape[:1])


def fixed(f: Predict, x: jax.Array, target: Target) -> Target:
    """The target, or the class that is predicted for x; for methods that also run f on other inputs."""
    if target is not None:
        return target
    y = f(x)
    return None if y.ndim == 1 else chosen(y, None)


def as_input(x: ArrayLike) -> jax.Array:
    """x [N, *spatial, C] as floats.

    Raises:
      ShapeError: if it has fewer axes, or complex values.
    """
    x = jnp.asarray(x)
    if x.ndim < 3 or jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise ShapeError(
            "x must be [N, *spatial, C] of real numbers",
            got=f"{x.dtype} {x.shape}",
            fix="x[None] for one image" if x.ndim == 3 else "",
            kind="rank",
        )
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)


def input_gradient(f: Predict, x: jax.Array, target: Target) -> jax.Array:
    """The gradient of each input's score with respect to it, [N, *spatial, C]."""
    return jax.grad(lambda x: target_scores(f(x), target).sum())(x)


def broadcast(value: ArrayLike, x: jax.Array, name: str) -> jax.Array:
    """`value` with the dtype of x and a shape that broadcasts to it; raises ShapeError if there is none."""
    array = jnp.asarray(value, x.dtype)
    try:
        fits = np.broadcast_shapes(array.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"{name} must broadcast to x {x.shape}", got=f"{array.shape}", kind="shape")
    return array
