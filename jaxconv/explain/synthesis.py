"""Images from features: activation maximization and feature inversion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxconv import geometry
from jaxconv._base.errors import ShapeError
from jaxconv._base.keys import check_key
from jaxconv.explain.scores import Predict, Target, as_input, broadcast, target_scores

__all__ = ["invert_features", "maximize_activation", "total_variation"]


def maximize_activation(
    f: Predict,
    x: ArrayLike,
    target: Target = None,
    *,
    steps: int = 200,
    learning_rate: float = 0.05,
    decay: float = 0.0,
    variation: float = 0.0,
    jitter: int = 0,
    key: jax.Array | None = None,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
) -> jax.Array:
    """Activation maximization: an input with a high score, by gradient ascent (Adam) on s - λ‖x‖² - μ·TV(x).

    Args:
      f: x -> class scores [N, K] or scores [N]; for a channel of a layer, of `at_layer`:
        `lambda x: probe(x)[1][..., 3].mean((1, 2))`.
      x: [N, *spatial, C], where the ascent starts: noise of low contrast, for example.
      target: as in `saliency`; None, of class scores, climbs whichever is highest.
      steps: number of steps; each is one forward and one backward pass.
      learning_rate: of Adam, in units of x.
      decay: λ; the squares are a mean over an input.
      variation: μ, see `total_variation`.
      jitter: cells by which x is rolled at random in each step, along each axis; favors large structures.
      key: random key, for jitter.
      low, high: range of values; None for no bound.

    Returns:
      [N, *spatial, C].

    Raises:
      ShapeError: as `saliency`; if steps < 1, or jitter is given without a key.

    Source: Erhan et al., Visualizing Higher-Layer Features of a Deep Network, 2009; decay of Simonyan et al., 2013;
    jitter of Mordvintsev et al., Inceptionism, 2015.

    >>> y = maximize_activation(lambda x: -((x - 0.5) ** 2).sum((1, 2)), jnp.zeros((1, 2, 1)))
    >>> bool(jnp.abs(y - 0.5).max() < 0.01)
    True
    """

    def cost(y: jax.Array) -> jax.Array:
        return decay * _mean(y**2) + variation * total_variation(y) - target_scores(f(y), target)

    return _descend(cost, as_input(x), steps, learning_rate, jitter, key, low, high)


def invert_features(
    features: Callable[[jax.Array], jax.Array],
    wanted: ArrayLike,
    x: ArrayLike,
    *,
    steps: int = 400,
    learning_rate: float = 0.05,
    decay: float = 0.0,
    variation: float = 0.0,
    jitter: int = 0,
    key: jax.Array | None = None,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
) -> jax.Array:
    """Feature inversion: an input whose features are as given, minimizing ‖Φ(x) - Φ₀‖²/‖Φ₀‖² + λ‖x‖² + μ·TV(x).

    Args:
      features: Φ, x -> [N, ...]; of `at_layer`, `lambda x: probe(x)[1]`.
      wanted: Φ₀, [N, ...], the features of some images.
      x: [N, *spatial, C], where the descent starts.
      steps, learning_rate, decay, variation, jitter, key, low, high: as in `maximize_activation`.

    Returns:
      [N, *spatial, C]. What differs from the image is what the features do not tell.

    Raises:
      ShapeError: if the features do not have the shape of `wanted`; if steps < 1, or jitter is given without a key.

    Source: Mahendran and Vedaldi, Understanding Deep Image Representations by Inverting Them, 2014.

    >>> found = invert_features(lambda x: x**2, jnp.full((1, 2, 1), 0.25), jnp.full((1, 2, 1), 0.1))
    >>> bool(jnp.abs(found - 0.5).max() < 0.01)
    True
    """
    x, goal = as_input(x), jnp.asarray(wanted)
    shape = jax.eval_shape(features, x).shape
    if shape != goal.shape:
        raise ShapeError("wanted must have the shape of features(x)", got=f"{goal.shape} and {shape}", kind="shape")
    size = jnp.maximum(_sum(goal**2), jnp.finfo(x.dtype).tiny)

    def cost(y: jax.Array) -> jax.Array:
        return _sum((features(y) - goal) ** 2) / size + decay * _mean(y**2) + variation * total_variation(y)

    return _descend(cost, x, steps, learning_rate, jitter, key, low, high)


def total_variation(x: jax.Array) -> jax.Array:
    """Total variation: the mean magnitude of differences between neighbors, summed over the spatial axes.

    Args:
      x: [N, *spatial, C].

    Returns:
      [N].

    >>> total_variation(jnp.array([0.0, 1.0, 3.0]).reshape(1, 3, 1))
    Array([1.5], dtype=float32)
    """
    axes = [axis for axis in range(1, x.ndim - 1) if x.shape[axis] > 1]
    return sum((_mean(jnp.abs(jnp.diff(x, axis=axis))) for axis in axes), start=jnp.zeros(x.shape[0], x.dtype))


def _descend(
    cost: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    steps: int,
    learning_rate: float,
    jitter: int,
    key: jax.Array | None,
    low: ArrayLike | None,
    high: ArrayLike | None,
) -> jax.Array:
    """Minimize each input's cost [N] by Adam."""
    steps, jitter = geometry.integer(steps, "steps"), geometry.integer(jitter, "jitter", 0)
    if jitter and key is None:
        raise ShapeError("jitter needs a random key", got=f"{jitter=}, key=None", fix="key=jax.random.key(0)")
    keys = jax.random.split(jax.random.key(0) if key is None else check_key(key), steps)
    tx, axes = optax.adam(learning_rate), tuple(range(1, x.ndim - 1))
    least, most = (None if v is None else broadcast(v, x, name) for v, name in ((low, "low"), (high, "high")))

    def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
        y, state = carry

        def total(y: jax.Array) -> jax.Array:
            shifts = jax.random.randint(key, [len(axes)], -jitter, jitter + 1)
            return cost(jnp.roll(y, tuple(shifts), axes) if jitter else y).sum()

        updates, state = tx.update(jax.grad(total)(y), state)
        return (jnp.clip(y + updates, least, most), state), None

    return jax.lax.scan(step, (x, tx.init(x)), keys)[0][0]


def _sum(x: jax.Array) -> jax.Array:
    return x.reshape(x.shape[0], -1).sum(-1)


def _mean(x: jax.Array) -> jax.Array:
    return x.mean(tuple(range(1, x.ndim)))
