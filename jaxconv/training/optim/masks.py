"""Parameter groups by path: labels, freezing, learning-rate multipliers."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxconv._base.errors import ShapeError, did_you_mean
from jaxconv._base.paths import fits, leaf_names


def partition(tree: Any, labels: Mapping[str, str | Sequence[str]], default: str = "train") -> Any:
    """Label every leaf by its path, for `optax.multi_transform`.

    Args:
      tree: params (nested dicts).
      labels: {label: pattern or patterns}; a pattern is a path with * and ? ("stem/*", "*/bias"), and the path of a
        part matches everything in it. The first matching label is used.
      default: label of all other leaves.

    Returns:
      A tree of strings with the structure of `tree`.

    Raises:
      ShapeError: if a pattern matches no leaf.

    >>> partition({"stem": {"kernel": 0, "bias": 0}, "head": {"kernel": 0}}, {"frozen": "stem"})
    {'head': {'kernel': 'train'}, 'stem': {'bias': 'frozen', 'kernel': 'frozen'}}
    """
    if not isinstance(labels, Mapping):
        raise ShapeError("labels must be {label: pattern or patterns}", got=f"{labels!r}", fix="{'frozen': 'stem'}")
    pairs = [(word, p) for word, found in labels.items() for p in ([found] if isinstance(found, str) else found)]
    paths = leaf_names(tree)
    prefixes = sorted({path.rsplit("/", i)[0] for path in paths for i in range(path.count("/") + 1)})

    for _, pattern in pairs:
        if not any(fits(path, pattern) for path in paths):
            raise ShapeError(
                "a pattern must match at least one parameter",
                got=f"{pattern!r}{did_you_mean(pattern, prefixes)}",
                fix=f"paths here: {', '.join(paths[:8])}{', …' if len(paths) > 8 else ''}"
                if paths
                else "a tree of params",
            )
    marks = [next((word for word, pattern in pairs if fits(path, pattern)), default) for path in paths]
    return jax.tree.unflatten(jax.tree.structure(tree), marks)


def freeze(optimizer: optax.GradientTransformation, *patterns: str) -> optax.GradientTransformation:
    """An optax optimizer that freezes the parameters whose paths match a pattern.

    Args:
      optimizer: an `optax.GradientTransformation`.
      patterns: path patterns, as in `partition`.

    Returns:
      An `optax.GradientTransformation`; frozen parameters get updates of zero and no optimizer state. Running
      statistics are state, not parameters: for those, see `jaxconv.freeze_statistics`.

    >>> import optax, jax.numpy as jnp
    >>> params = {"stem": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}
    >>> tx = freeze(optax.sgd(0.5), "stem")
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> updates["stem"]["kernel"], updates["head"]["kernel"]
    (Array([0., 0.], dtype=float32), Array([-0.5, -0.5], dtype=float32))
    """
    if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
        raise ShapeError("freeze needs patterns", got=f"{patterns!r}", fix="freeze(optimizer, 'stem', '*/bias')")
    parts: dict[Hashable, optax.GradientTransformation] = {"train": optimizer, "frozen": optax.set_to_zero()}
    return optax.multi_transform(parts, lambda params: partition(params, {"frozen": patterns}))


def scale_lr(optimizer: optax.GradientTransformation, rates: Mapping[str, float]) -> optax.GradientTransformation:
    """An optax optimizer with learning-rate multipliers, such as a lower rate for a backbone.

    Args:
      optimizer: an `optax.GradientTransformation`.
      rates: {pattern: multiplier}; patterns as in `partition`. The first match is used; updates of unmatched parameters
        are unchanged.

    Returns:
      An `optax.GradientTransformation`.

    Raises:
      ShapeError: if a multiplier is not a number ≥ 0; when initialized, if a pattern matches no parameter.

    >>> import optax, jax.numpy as jnp
    >>> params = {"stem": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2)}}
    >>> tx = scale_lr(optax.sgd(1.0), {"stem": 0.25})
    >>> updates, _ = tx.update(params, tx.init(params), params)
    >>> updates["stem"]["kernel"], updates["head"]["kernel"]
    (Array([-0.25, -0.25], dtype=float32), Array([-1., -1.], dtype=float32))
    """
    if not isinstance(rates, Mapping) or not all(
        isinstance(rate, int | float) and rate >= 0 for rate in rates.values()
    ):
        raise ShapeError(
            "scale_lr needs {pattern: multiplier ≥ 0}", got=f"{rates!r}", fix="scale_lr(optimizer, {'stem': 0.1})"
        )
    labels, multipliers = {str(i): pattern for i, pattern in enumerate(rates)}, list(rates.values())

    def init(params: Any) -> Any:
        partition(params, labels)  # fail early if a pattern matches nothing
        return optax.EmptyState()

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        marks = partition(updates, labels, default="")
        return jax.tree.map(lambda leaf, mark: leaf * multipliers[int(mark)] if mark else leaf, updates, marks), state

    return optax.chain(optimizer, optax.GradientTransformation(init, update))


def normalized(optimizer: optax.GradientTransformation, *patterns: str) -> optax.GradientTransformation:
    """An optax optimizer that scales kernels to a norm of sqrt(output channels) before each update.

    A batch norm makes the function independent of the scale of the kernel before it, which otherwise grows and so
    lowers the effective learning rate.

    Args:
      optimizer: an `optax.GradientTransformation`; it sees the scaled kernels.
      patterns: path patterns, as in `partition`, of kernels `[..., C_out]`.

    Returns:
      An `optax.GradientTransformation`. A kernel of zeros is not scaled.

    Raises:
      ShapeError: when initialized, if a pattern matches no parameter.

    Source: Salimans and Kingma, Weight Normalization, 2016; as a projection after each step in Jordan, airbench94_muon,
    2024.

    >>> import optax, jax.numpy as jnp
    >>> params = {"conv": {"kernel": jnp.array([[3.0], [4.0]])}}
    >>> tx = normalized(optax.sgd(0.5), "conv")
    >>> updates, _ = tx.update({"conv": {"kernel": jnp.zeros([2, 1])}}, tx.init(params), params)
    >>> [round(float(value), 2) for value in optax.apply_updates(params, updates)["conv"]["kernel"].ravel()]
    [0.6, 0.8]
    """

    def scaled(params: Any) -> Any:
        marks = partition(params, {"kernel": patterns}, default="")
        return jax.tree.map(lambda leaf, mark: _scaled(leaf) if mark else leaf, params, marks)

    def init(params: Any) -> Any:
        return optimizer.init(scaled(params))

    def update(updates: Any, state: Any, params: Any = None, **rest: Any) -> Any:
        start = scaled(params)
        updates, state = optax.with_extra_args_support(optimizer).update(updates, state, start, **rest)
        return jax.tree.map(lambda change, new, old: change + (new - old), updates, start, params), state

    return optax.GradientTransformationExtraArgs(init, update)


def _scaled(kernel: jax.Array) -> jax.Array:
    """A kernel [..., C_out] of norm sqrt(C_out)."""
    norm = jnp.linalg.norm(kernel.astype(jnp.float32).ravel())
    factor = jnp.where(norm > 0, kernel.shape[-1] ** 0.5 / jnp.where(norm > 0, norm, 1), 1)
    return (kernel * factor).astype(kernel.dtype)
