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

__all__ = [
    "Predict",
    "Target",
    "as_input",
    "broadcast",
    "chosen",
    "fixed",
    "input_gradient",
    "pixel_score",
    "target_scores",
]

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
    return jnp.argmax(y, -1) if target is None else _classes(target, y)


def _classes(target: ArrayLike, y: jax.Array) -> jax.Array:
    """The target as classes, int [N], of outputs [N, …, K]; raises ShapeError if one does not exist."""
    classes = target if isinstance(target, Tracer) else np.asarray(target)
    if not jnp.issubdtype(classes.dtype, jnp.integer) or classes.shape not in ((), y.shape[:1]):
        got = f"{classes.dtype} {classes.shape} for {count(y.shape[0], 'input')}"
        raise ShapeError("target must be a class, or classes [N]", got=got, fix="target=3")
    if isinstance(classes, np.ndarray) and classes.size:
        low, high, last = int(classes.min()), int(classes.max()), y.shape[-1] - 1
        if low < 0 or high > last:
            wrong = high if high > last else low
            raise ShapeError(f"target must be one of {y.shape[-1]} classes: 0 to {last}", got=f"{wrong}")
    return jnp.broadcast_to(classes, y.shape[:1])


def pixel_score(target: ArrayLike, where: ArrayLike | None = None) -> Callable[[jax.Array], jax.Array]:
    """Target of a segmentation: the sum of a class's scores over pixels, s = Σ y[i, j, target] over (i, j) in `where`.

    With `grad_cam` it is Seg-Grad-CAM.

    Args:
      target: a class, or classes [N].
      where: bool [*spatial] or [N, *spatial]: one pixel, a region, or the predicted mask of the class,
        `f(x).argmax(-1) == target`, which is a constant for the methods; all pixels if None.

    Returns:
      A function from scores [N, *spatial, K] to [N], for the `target` of any method.

    Raises:
      ShapeError: when called, if the scores are not those of pixels, the class is out of range, or `where` is not bool
        or does not fit.

    Source: Vinogradova et al., Towards Interpretable Semantic Segmentation via Gradient-weighted Class Activation
    Mapping, 2020.

    >>> y = jnp.arange(8.0).reshape(1, 2, 2, 2)  # two classes at 2×2 pixels
    >>> pixel_score(1)(y), pixel_score(1, y[0, ..., 1] > 4)(y)
    (Array([16.], dtype=float32), Array([12.], dtype=float32))
    """

    def score(y: jax.Array) -> jax.Array:
        if y.ndim < 3:
            raise ShapeError(
                "the function must return scores of pixels [N, *spatial, K]",
                got=f"outputs {y.shape}",
                fix="target=3, a class" if y.ndim == 2 else "",
                kind="rank",
            )
        index = _classes(target, y).reshape(-1, *[1] * (y.ndim - 1))
        own = jnp.take_along_axis(y, index, -1)[..., 0]
        inside = jnp.asarray(True if where is None else where)
        if inside.dtype != bool or (where is not None and inside.shape not in (own.shape, own.shape[1:])):
            got = f"{inside.dtype} {inside.shape} for outputs {y.shape}"
            raise ShapeError("where must be bool, [*spatial] or [N, *spatial]", got=got, kind="shape")
        return jnp.where(inside, own, 0).sum(range(1, own.ndim))

    return score


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
