"""Running statistics of batch norms, computed anew over images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv._base.types import ParamsLike, State
from jaxconv.layers.layer import Layer
from jaxconv.layers.surgery import batch_statistics

__all__ = ["recompute_statistics"]


def recompute_statistics(
    net: Layer,
    params: ParamsLike,
    state: State,
    batches: Iterable[Any],
    *,
    prepare: Callable[[jax.Array], jax.Array] | None = None,
) -> State:
    """State of a net whose batch norms have their statistics from these images, for parameters that are an average.

    Each batch norm gets the mean and variance of its inputs over all images. Everything else is in inference: dropout
    is off, as it will be when the statistics are used. Batches normalize by their own statistics, as in training, and
    should be shuffled, of one size, and as large as those of training.

    Args:
      net: the layer.
      params: its parameters.
      state: its state, whose running statistics are replaced.
      batches: of images [B, H, W, C].
      prepare: `images -> input of the net`.

    Returns:
      The new state; that given if the net has no state.

    Raises:
      ConfigError: if there are no batches.

    Source: `torch.optim.swa_utils.update_bn`; Izmailov et al., Averaging Weights Leads to Wider Optima, 2018.

    >>> from jaxconv.layers import BatchNorm
    >>> norm = BatchNorm()
    >>> params, state = norm.init(jax.random.key(0), (1, 1))
    >>> state = recompute_statistics(norm, params, state, [jnp.array([[1.0], [3.0]]), jnp.array([[5.0], [7.0]])])
    >>> {name: round(float(values[0]), 3) for name, values in state.items()}
    {'mean': 4.0, 'var': 5.0}
    """
    if not jax.tree.leaves(state):
        return state
    measured = batch_statistics(net)

    @jax.jit
    def one(params: ParamsLike, state: State, images: jax.Array) -> State:
        return measured.apply(params, state, images if prepare is None else prepare(images))[1]

    sums: list[np.ndarray] = []
    count = 0
    for images in batches:
        leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(_with_squares(one(params, state, images)))]
        sums = [total + leaf for total, leaf in zip(sums, leaves, strict=True)] if count else leaves
        count += 1
    if not count:
        raise ConfigError("recompute_statistics needs at least one batch of images, got none")
    structure = jax.tree.structure(_with_squares(state))
    means = jax.tree.unflatten(structure, [total / count for total in sums])
    return jax.tree.map(lambda old, new: jnp.asarray(new, old.dtype), state, _total_variance(means))


def _with_squares(state: Any) -> Any:
    """The state with the square of each mean beside it and its variance."""
    if not isinstance(state, dict):
        return state
    if state.keys() == {"mean", "var"}:
        return state | {"square": np.asarray(state["mean"], np.float64) ** 2}
    return {name: _with_squares(part) for name, part in state.items()}


def _total_variance(means: Any) -> Any:
    """The state of averages over batches: the variance is the mean of the variances and the variance of the means."""
    if not isinstance(means, dict):
        return means
    if means.keys() == {"mean", "var", "square"}:
        spread = np.maximum(means["square"] - means["mean"] ** 2, 0)
        return {"mean": means["mean"], "var": means["var"] + spread}
    return {name: _total_variance(part) for name, part in means.items()}
