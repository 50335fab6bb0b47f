"""Cross-entropy against a loop in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.errors import ShapeError
from jaxconv.losses import cross_entropy


def by_loop(logits, labels, weights, smoothing):
    total = 0.0
    for row, label, weight in zip(logits.astype(np.float64), labels, weights, strict=True):
        log_p = row - np.log(np.exp(row - row.max()).sum()) - row.max()
        target = np.full(len(row), smoothing / len(row))
        target[label] += 1 - smoothing
        total -= weight * (target * log_p).sum()
    return total / weights.sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_value(rng, assert_close, smoothing, weighted):
    logits = rng.normal(0, 5, (7, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 7).astype(np.int32)
    weights = rng.uniform(0, 2, 7).astype(np.float32) if weighted else None
    got = jax.jit(cross_entropy)(logits, labels, weights, smoothing)
    expected = by_loop(logits, labels, np.ones(7) if weights is None else weights, smoothing)
    assert_close(got, np.asarray(expected))


def test_gradient_is_softmax_minus_target(rng, assert_close):
    logits = rng.normal(size=(5, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, 1, 0])
    p = np.exp(logits.astype(np.float64))
    expected = (p / p.sum(1, keepdims=True) - np.eye(3)[labels]) / 5
    assert_close(jax.grad(cross_entropy)(jnp.asarray(logits), jnp.asarray(labels)), expected)


def test_edges():
    labels = jnp.array([0, 1])
    assert cross_entropy(jnp.zeros([2, 3]), labels, jnp.zeros(2)) == 0
    assert np.isnan(cross_entropy(jnp.zeros([2, 3]), jnp.array([0, 3])))
    assert cross_entropy(jnp.array([[1e4, 0.0], [0.0, 1e4]]), labels) == 0
    assert cross_entropy(jnp.zeros([2, 3], jnp.bfloat16), labels).dtype == jnp.float32


def test_message():
    with pytest.raises(ShapeError) as caught:
        cross_entropy(jnp.zeros([2, 5, 5, 10]), jnp.zeros([2], jnp.int32))
    assert str(caught.value) == (
        "logits must be [N, C] and labels [N], integers and not one-hot\n"
        "  got: logits [2, 5, 5, 10], labels [2]\n"
        "  fix: put flatten or a global pool before the last Dense"
    )
    with pytest.raises(ShapeError, match=r"labels \[2, 10\]"):
        cross_entropy(jnp.zeros([2, 10]), jnp.zeros([2, 10]))
