"""Counts against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.errors import ShapeError
from jaxconv.metrics import accuracy, correct


def test_counts(rng):
    logits, labels = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 4, 50)
    weights = rng.integers(0, 3, 50).astype(np.float32)
    hits = logits.argmax(1) == labels
    args = jnp.asarray(logits), jnp.asarray(labels)
    assert correct(*args) == hits.sum()
    assert correct(*args, jnp.asarray(weights)) == (hits * weights).sum()
    assert accuracy(*args) == pytest.approx(hits.mean())
    assert accuracy(*args, jnp.asarray(weights)) == pytest.approx((hits * weights).sum() / weights.sum())
    assert accuracy(*args, jnp.zeros(50)) == 0


def test_one_hot_labels_are_refused():
    with pytest.raises(ShapeError, match="integers and not one-hot"):
        correct(jnp.zeros([2, 3]), jnp.zeros([2, 3]))
