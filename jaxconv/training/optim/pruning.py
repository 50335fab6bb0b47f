"""Magnitude pruning: masks of the weights to keep, a schedule of sparsity, and an optimizer that keeps the others 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import optax

from jaxconv._base.errors import ConfigError, not_one_of
from jaxconv.training.optim.masks import partition

__all__ = ["PruneScope", "PrunedState", "cubic_sparsity", "hold_pruned", "magnitude_masks", "pruned"]

PruneScope: TypeAlias = Literal["global", "layer"]
Sparsity: TypeAlias = float | jax.Array
_KERNELS = ("*kernel",)


def magnitude_masks(
    params: Any,
    sparsity: Sparsity,
    *,
    patterns: Sequence[str] = _KERNELS,
    scope: PruneScope = "global",
    structured: bool = False,
) -> Any:
    """Masks of the weights to keep: all but the smallest.

    Args:
      params: a tree of parameters.
      sparsity: share of weights to prune, from 0 to 1; a number or a traced scalar. The count is rounded down.
      patterns: path patterns of the parameters to prune, as in `partition`.
      scope: "global" compares the weights of all of them, "layer" those of each parameter.
      structured: whether complete output channels are pruned, slices along the last axis, by the root mean square of
        their weights.

    Returns:
      A tree of bools with the structure and shapes of `params`: True for weights to keep, and for all others.

    Raises:
      ConfigError: if the sparsity is a number outside of 0 to 1, the scope is unknown, or there are no patterns.
      ShapeError: if a pattern matches no parameter.

    Source: Han et al., Learning both Weights and Connections for Efficient Neural Networks, 2015; of channels: Li et
      al., Pruning Filters for Efficient ConvNets, 2016.

    >>> params = {"conv": {"kernel": jnp.array([[0.1, -3.0], [2.0, 0.5]]), "bias": jnp.zeros(2)}}
    >>> magnitude_masks(params, 0.5)["conv"]["kernel"].tolist()
    [[False, True], [True, False]]
    >>> magnitude_masks(params, 0.5, structured=True)["conv"]["kernel"].tolist()
    [[False, True], [False, True]]
    """
    _check(scope, sparsity)
    if not patterns:
        raise ConfigError("pruning needs patterns of the parameters to prune, got none")
    labels = partition(params, {"prune": patterns}, default="")
    leaves, structure = jax.tree.flatten(params)
    chosen = [number for number, label in enumerate(jax.tree.leaves(labels)) if label]
    scores = {number: _scores(leaves[number], structured) for number in chosen}
    counts = {number: leaves[number].size // max(score.size, 1) for number, score in scores.items()}
    if scope == "layer":
        kept = {number: _largest(score, jnp.ones(score.shape, jnp.int32), sparsity) for number, score in scores.items()}
    else:
        every = jnp.concatenate([jnp.zeros(0), *scores.values()])
        weights = jnp.concatenate([jnp.zeros(0, jnp.int32), *(jnp.full(scores[n].shape, counts[n]) for n in chosen)])
        ends = [sum(scores[n].size for n in chosen[: place + 1]) for place in range(len(chosen))]
        kept = dict(zip(chosen, jnp.split(_largest(every, weights, sparsity), ends[:-1]), strict=True))
    masks = [
        _spread(kept[number], leaf, structured) if number in kept else jnp.ones(jnp.shape(leaf), bool)
        for number, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(structure, masks)


def _check(scope: str, sparsity: Sparsity) -> None:
    if scope not in get_args(PruneScope):
        raise ConfigError(not_one_of("scope", scope, get_args(PruneScope)))
    if isinstance(sparsity, int | float) and not 0 <= sparsity <= 1:
        raise ConfigError(f"sparsity must be a share from 0 to 1, got {sparsity}")


def _scores(weights: jax.Array, structured: bool) -> jax.Array:
    """What is compared, flat: magnitudes, or the root mean square of each output channel."""
    magnitudes = jnp.abs(weights).astype(jnp.float32)
    if not structured or magnitudes.ndim == 0:
        return magnitudes.ravel()
    return jnp.sqrt(jnp.mean(magnitudes**2, axis=tuple(range(magnitudes.ndim - 1))))


def _largest(scores: jax.Array, counts: jax.Array, sparsity: Sparsity) -> jax.Array:
    """Whether each score is kept: the smallest, which stand for `counts` weights, are not, up to their share."""
    order, total = jnp.argsort(scores), counts.sum()
    most = jnp.floor(jnp.asarray(sparsity, jnp.float32) * total * (1 + 1e-6)).astype(jnp.int32)  # 0.29 * 100 is 29
    return jnp.zeros(scores.shape, bool).at[order].set(jnp.cumsum(counts[order]) > most)


def _spread(kept: jax.Array, leaf: Any, structured: bool) -> jax.Array:
    return jnp.broadcast_to(kept, leaf.shape) if structured else kept.reshape(leaf.shape)


def cubic_sparsity(final: float, begin: int, end: int, initial: float = 0.0) -> Callable[[Any], jax.Array]:
    """A schedule of sparsity that prunes fast at first: final + (initial - final) * (1 - t)³, t from 0 to 1.

    Args:
      final: sparsity from the step `end` on.
      begin: first step of the increase; the sparsity is `initial` before.
      end: its last step.
      initial: sparsity at its beginning.

    Returns:
      `step -> sparsity`.

    Raises:
      ConfigError: if a sparsity is outside of 0 to 1, or the steps do not increase.

    Source: Zhu and Gupta, To prune, or not to prune, 2017.

    >>> schedule = cubic_sparsity(0.8, begin=0, end=100)
    >>> [round(float(schedule(step)), 3) for step in (0, 50, 100, 200)]
    [0.0, 0.7, 0.8, 0.8]
    """
    if not (0 <= initial <= 1 and 0 <= final <= 1):
        raise ConfigError(f"sparsity must be a share from 0 to 1, got {initial} to {final}")
    if not 0 <= begin < end:
        raise ConfigError(f"sparsity must increase between two steps, got begin={begin}, end={end}")

    def schedule(step: Any) -> jax.Array:
        left = 1 - jnp.clip((jnp.asarray(step, jnp.float32) - begin) / (end - begin), 0, 1)
        return final + (initial - final) * left**3

    return schedule


class PrunedState(NamedTuple):
    """State of `pruned`.

    Args:
      inner: that of the optimizer.
      masks: True for weights that are kept.
      step: number of updates so far.
    """

    inner: Any
    masks: Any
    step: Any


def hold_pruned(optimizer: optax.GradientTransformation, masks: Any) -> optax.GradientTransformationExtraArgs:
    """An optax optimizer that keeps pruned weights at 0.

    Args:
      optimizer: an `optax.GradientTransformation`.
      masks: a tree of bools with the structure of the parameters, from `magnitude_masks`; False for pruned weights.

    Returns:
      An `optax.GradientTransformationExtraArgs`, whose first update sets pruned weights to 0.

    >>> params = {"w": jnp.array([0.1, 2.0])}
    >>> tx = hold_pruned(optax.sgd(0.5), {"w": jnp.array([False, True])})
    >>> updates, _ = tx.update({"w": jnp.ones(2)}, tx.init(params), params)
    >>> optax.apply_updates(params, updates)["w"].tolist()
    [0.0, 1.5]
    """
    inner = optax.with_extra_args_support(optimizer)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        _check_given(params)
        updates, state = inner.update(_masked(updates, masks), state, params, **extra)
        return _held(updates, params, masks), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


def pruned(
    optimizer: optax.GradientTransformation,
    sparsity: Sparsity | Callable[[Any], Any],
    *,
    every: int = 100,
    **options: Any,
) -> optax.GradientTransformationExtraArgs:
    """An optax optimizer that prunes the smallest weights as it trains, and keeps them at 0.

    Args:
      optimizer: an `optax.GradientTransformation`.
      sparsity: share of weights to prune, or a schedule `step -> share`, such as `cubic_sparsity`.
      every: number of steps from one choice of the weights to the next, the first at step 0; in between they stay.
      options: `patterns`, `scope` and `structured` of `magnitude_masks`.

    Returns:
      An `optax.GradientTransformationExtraArgs`; the masks are `masks` of its state. Weights that are pruned have
      gradients of 0 for the optimizer, and stay pruned as long as the sparsity does not decrease.

    Raises:
      ConfigError: as `magnitude_masks`, or if `every` is no number of steps.

    Source: Zhu and Gupta, To prune, or not to prune, 2017.

    >>> params = {"kernel": jnp.array([0.1, -0.2, 3.0, 4.0])}
    >>> tx = pruned(optax.sgd(0.5), 0.5)
    >>> updates, state = tx.update({"kernel": jnp.ones(4)}, tx.init(params), params)
    >>> optax.apply_updates(params, updates)["kernel"].tolist()
    [0.0, 0.0, 2.5, 3.5]
    """
    if not (isinstance(every, int) and every >= 1):
        raise ConfigError(f"every must be a number of steps ≥ 1, got {every!r}")
    schedule = sparsity if callable(sparsity) else lambda step: sparsity
    if not callable(sparsity):
        _check(options.get("scope", "global"), sparsity)
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> PrunedState:
        masks = magnitude_masks(params, 0.0, **options)
        return PrunedState(inner.init(params), masks, jnp.zeros([], jnp.int32))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
        _check_given(params)
        masks = jax.lax.cond(
            state.step % every == 0,
            lambda: magnitude_masks(params, schedule(state.step), **options),
            lambda: state.masks,
        )
        updates, own = inner.update(_masked(updates, masks), state.inner, params, **extra)
        return _held(updates, params, masks), PrunedState(own, masks, optax.safe_increment(state.step))

    return optax.GradientTransformationExtraArgs(init, update)


def _check_given(params: Any) -> None:
    if params is None:
        raise ValueError("pruning needs the parameters: tx.update(updates, state, params)")


def _masked(updates: Any, masks: Any) -> Any:
    return jax.tree.map(lambda update, mask: jnp.where(mask, update, 0), updates, masks)


def _held(updates: Any, params: Any, masks: Any) -> Any:
    """Updates that make pruned weights 0."""
    return jax.tree.map(lambda update, leaf, mask: jnp.where(mask, update, -leaf), updates, params, masks)


def __dir__() -> list[str]:
    return sorted(__all__)
