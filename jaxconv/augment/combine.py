"""Combinators of augmentations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv.augment.contract import Augment, check_arguments, draws, images_of, probability_problem
from jaxconv.augment.mix import soft_labels
from jaxconv.data.dataset import Batch


def compose(*augments: Augment) -> Augment:
    """Apply augmentations in order, each with its own key (folded from its position).

    Args:
      *augments: augmentations in the order in which they run; none for the identity.

    Returns:
      `(key, batch) -> batch`.

    >>> from jaxconv.augment import flip
    >>> batch = Batch(jnp.array([[[[1], [2]]]]), jnp.array([0]), jnp.ones(1))
    >>> jax.jit(compose(flip(1.0), flip(1.0)))(jax.random.key(0), batch).image.ravel()
    Array([1, 2], dtype=int32)
    """

    def run(key: jax.Array, batch: Batch) -> Batch:
        for position, augment in enumerate(augments):
            batch = augment(jax.random.fold_in(key, position), batch)
        return batch

    return run


def sometimes(augment: Augment, probability: float) -> Augment:
    """Augment each image with a given probability.

    Args:
      augment: augmentation; it runs on the full batch, and its result is selected per image.
      probability: probability of augmenting an image.

    Returns:
      `(key, batch) -> batch`; images and labels get the common type of both: float32 images and soft labels if the
      augmentation makes them.

    Raises:
      ConfigError: if `probability` is outside 0..1.
      ShapeError: when called, if the augmentation changes the images' shape.

    >>> from jaxconv.augment import flip
    >>> batch = Batch(jnp.array([[[[1], [2]]]]), jnp.array([0]), jnp.ones(1))
    >>> sometimes(flip(1.0), 0.0)(jax.random.key(0), batch).image.ravel()
    Array([1, 2], dtype=int32)
    """
    check_arguments("sometimes", probability_problem(probability))

    def run(key: jax.Array, batch: Batch) -> Batch:
        coin, inner = jax.random.split(key)
        chosen = draws(coin, 1, len(images_of("sometimes", batch)))[0] < probability
        return _select(chosen.astype(jnp.int32), [batch, augment(inner, batch)])

    return run


def random_choice(*augments: Augment) -> Augment:
    """Apply one of several augmentations to each image, chosen uniformly.

    Args:
      *augments: augmentations; all run on the full batch, and one result is selected per image.

    Returns:
      `(key, batch) -> batch`; dtypes as in `sometimes`.

    Raises:
      ConfigError: if there are no augmentations.
      ShapeError: when called, if the results differ in shape.

    >>> from jaxconv.augment import flip
    >>> batch = Batch(jnp.array([[[[1], [2]]]]), jnp.array([0]), jnp.ones(1))
    >>> jax.jit(random_choice(flip(1.0), flip(1.0)))(jax.random.key(0), batch).image.ravel()
    Array([2, 1], dtype=int32)
    """
    if not augments:
        raise ConfigError("random_choice: expected at least one augmentation")

    def run(key: jax.Array, batch: Batch) -> Batch:
        draw, inner = jax.random.split(key)
        choice = jax.random.randint(draw, (len(images_of("random_choice", batch)),), 0, len(augments))
        return _select(choice, [augment(jax.random.fold_in(inner, i), batch) for i, augment in enumerate(augments)])

    return run


def _select(choice: jax.Array, batches: Sequence[Batch]) -> Batch:
    """Each image with its label and weight from batch number `choice` [N]."""
    images = [jnp.asarray(batch.image) for batch in batches]
    if len({image.shape for image in images}) > 1:
        shapes = " and ".join(str(list(image.shape)) for image in images)
        raise ShapeError("augmentations to choose from must return images of one shape", got=shapes)
    picked: Batch = jax.tree.map(lambda *values: _pick(choice, values), *batches)
    return picked


def _pick(choice: jax.Array, arrays: Sequence[Any]) -> jax.Array:
    arrays = [jnp.asarray(array) for array in arrays]
    if len({array.ndim for array in arrays}) > 1:  # hard and soft labels
        num_classes = max(array.shape[-1] for array in arrays if array.ndim == 2)
        arrays = [soft_labels(array, len(choice), num_classes) for array in arrays]
    dtype = jnp.result_type(*arrays)
    result = arrays[0].astype(dtype)
    for number, array in enumerate(arrays[1:], 1):
        result = jnp.where((choice == number).reshape(-1, *[1] * (array.ndim - 1)), array.astype(dtype), result)
    return result
