"""Adversarial examples: small perturbations that change the prediction."""

from __future__ import annotations

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxconv import geometry
from jaxconv._base.compat import Tracer
from jaxconv._base.errors import ShapeError, did_you_mean
from jaxconv._base.keys import check_key
from jaxconv.explain.scores import Predict, as_input, broadcast, chosen

__all__ = ["fgsm", "pgd"]

NORMS = ("inf", "2")


def fgsm(
    f: Predict,
    x: ArrayLike,
    labels: ArrayLike,
    *,
    epsilon: ArrayLike,
    low: ArrayLike = 0.0,
    high: ArrayLike = 1.0,
    targeted: bool = False,
) -> jax.Array:
    """Fast gradient sign method: x + ε·sign(∂L/∂x), clipped to the range of images; L is the cross-entropy.

    Args:
      f: x -> logits [N, K], of images in low..high: with the normalization that belongs to the net inside.
      x: [N, *spatial, C] in low..high.
      labels: a class, or classes [N]: the true ones, or, if `targeted`, those to be predicted.
      epsilon: ε, the largest change of a value; broadcast to x.
      low, high: range of values; broadcast to x, one for each channel for example.
      targeted: whether L is decreased.

    Returns:
      [N, *spatial, C]; the perturbation is the difference from x.

    Raises:
      ShapeError: if f returns no class scores, a class is out of range, or epsilon is negative.

    Source: Goodfellow et al., Explaining and Harnessing Adversarial Examples, 2014.

    >>> f = lambda x: jnp.concatenate([x[:, 0], -x[:, 0]], -1)
    >>> fgsm(f, jnp.full((1, 1, 1), 0.25), 0, epsilon=0.5), fgsm(f, jnp.full((1, 1, 1), 0.25), 1, epsilon=0.5)
    (Array([[[0.]]], dtype=float32), Array([[[0.75]]], dtype=float32))
    """
    x = as_input(x)
    size = broadcast(_at_least_0(epsilon), x, "epsilon")
    sign = jnp.sign(_loss_gradient(f, x, labels, targeted))
    return jnp.clip(x + size * sign, broadcast(low, x, "low"), broadcast(high, x, "high"))


def pgd(
    f: Predict,
    x: ArrayLike,
    labels: ArrayLike,
    *,
    epsilon: float,
    steps: int = 10,
    step_size: float | None = None,
    norm: Literal["inf", "2"] = "inf",
    key: jax.Array | None = None,
    low: ArrayLike = 0.0,
    high: ArrayLike = 1.0,
    targeted: bool = False,
) -> jax.Array:
    """Projected gradient descent: steps up the loss, each followed by a projection onto the ball around x.

    Args:
      f, x, labels, low, high, targeted: as in `fgsm`.
      epsilon: radius of the ball.
      steps: number of steps; each is one forward and one backward pass.
      step_size: length of a step, in the norm of the ball; 2.5·ε/steps if None.
      norm: "inf", of the largest change of a value, or "2", of the Euclidean length of all changes of an image.
      key: random key of a start within the ball; None starts at x.

    Returns:
      [N, *spatial, C], within the ball and the range up to rounding.

    Raises:
      ShapeError: as `fgsm`; if the norm is unknown, or steps < 1.

    Source: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, 2017.

    >>> f = lambda x: jnp.concatenate([x[:, 0], -x[:, 0]], -1)
    >>> pgd(f, jnp.full((1, 1, 1), 0.75), 0, epsilon=0.5, steps=5)
    Array([[[0.25]]], dtype=float32)
    """
    x, steps = as_input(x), geometry.integer(steps, "steps")
    if norm not in NORMS:
        raise ShapeError(f"norm must be one of {', '.join(NORMS)}", got=f"{norm!r}{did_you_mean(norm, NORMS)}")
    _at_least_0(epsilon)
    least, most = broadcast(low, x, "low"), broadcast(high, x, "high")
    length = 2.5 * epsilon / steps if step_size is None else step_size
    axes = tuple(range(1, x.ndim))

    def norms(d: jax.Array) -> jax.Array:
        return jnp.sqrt((d**2).sum(axes, keepdims=True))

    def project(y: jax.Array) -> jax.Array:
        d = y - x
        if norm == "inf":
            return jnp.clip(x + jnp.clip(d, -epsilon, epsilon), least, most)
        return jnp.clip(x + d * jnp.minimum(1, epsilon / jnp.maximum(norms(d), 1e-12)), least, most)

    def step(y: jax.Array, _: Any) -> tuple[jax.Array, None]:
        g = _loss_gradient(f, y, labels, targeted)
        d = jnp.sign(g) if norm == "inf" else g / jnp.maximum(norms(g), 1e-12)
        return project(y + length * d), None

    start = x if key is None else project(x + _in_ball(check_key(key), x, epsilon, norm))
    return jax.lax.scan(step, start, length=steps)[0]


def _at_least_0(epsilon: ArrayLike) -> ArrayLike:
    """epsilon; raises ShapeError if it is known and negative."""
    if not isinstance(epsilon, Tracer) and not (np.asarray(epsilon) >= 0).all():
        raise ShapeError("epsilon must be ≥ 0", got=f"{epsilon=}")
    return epsilon


def _in_ball(key: jax.Array, x: jax.Array, epsilon: float, norm: str) -> jax.Array:
    """A uniformly drawn point of the ball for each input."""
    if norm == "inf":
        return jax.random.uniform(key, x.shape, x.dtype, -epsilon, epsilon)
    size = math.prod(x.shape[1:])
    return epsilon * jax.random.ball(key, size, shape=x.shape[:1], dtype=x.dtype).reshape(x.shape)


def _loss_gradient(f: Predict, x: jax.Array, labels: ArrayLike, targeted: bool) -> jax.Array:
    def loss(x: jax.Array) -> jax.Array:
        logits = f(x)
        found = optax.softmax_cross_entropy_with_integer_labels(logits, chosen(logits, labels)).sum()
        return -found if targeted else found

    return jax.grad(loss)(x)
