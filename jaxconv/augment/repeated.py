"""Repeated augmentation."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxconv.augment.contract import Augment, check_arguments, images_of, number_problem
from jaxconv.data.dataset import Batch


def repeat(times: int = 3) -> Augment:
    """Repeat the first `1 / times` of the images until they fill the batch, so that each is augmented several times.

    It comes first in `compose` or in a config: what follows draws for each copy. The batch keeps its size, and an epoch
    sees `1 / times` of the images. Copies are N / times apart, so that gradient accumulation separates them.

    Args:
      times: number of copies of each image.

    Returns:
      `(key, batch) -> batch`; images, labels and weights repeat together.

    Raises:
      ConfigError: if `times` is not an int ≥ 1.
      ShapeError: when called, if not with a Batch of images [N, H, W, C].

    Source: Berman et al., MultiGrain: a Unified Image Embedding for Classes and Instances, 2019; Hoffer et al., Augment
    Your Batch: Improving Generalization Through Instance Repetition, 2020.

    >>> batch = Batch(jnp.zeros([5, 1, 1, 1]), jnp.arange(5), jnp.ones(5))
    >>> repeat(2)(jax.random.key(0), batch).label
    Array([0, 1, 2, 0, 1], dtype=int32)
    """
    check_arguments("repeat", number_problem("times", times, "a whole number, 1 or more", lambda n: n >= 1, whole=True))

    def run(key: jax.Array, batch: Batch) -> Batch:
        n = len(images_of("repeat", batch))
        distinct = -(-n // times)
        copies = min(times, n)

        def fill(values: jax.Array) -> jax.Array:
            return jnp.concatenate([jnp.asarray(values)[:distinct]] * copies)[:n] if n else values

        filled: Batch = jax.tree.map(fill, batch)
        return filled

    return run
