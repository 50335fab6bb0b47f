"""Losses against loops in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv._base.errors import ShapeError
from jaxconv.training.losses import binary_cross_entropy, cross_entropy, mean_squared_error

pytestmark = pytest.mark.sampled


def by_loop(logits, labels, weights, smoothing):
    total = 0.0
    for row, label, weight in zip(logits.astype(np.float64), labels, weights, strict=True):
        log_p = row - np.log(np.exp(row - row.max()).sum()) - row.max()
        target = np.full(len(row), smoothing / len(row))
        target += (1 - smoothing) * (np.eye(len(row))[label] if np.ndim(label) == 0 else label)
        total -= weight * (target * log_p).sum()
    return total / weights.sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_value(rng, assert_close, quick_jit, smoothing, weighted, soft):
    logits = rng.normal(0, 5, (7, 4)).astype(np.float32)
    labels = rng.dirichlet([1] * 4, 7).astype(np.float32) if soft else rng.integers(0, 4, 7).astype(np.uint8)
    weights = rng.uniform(0, 2, 7).astype(np.float32) if weighted else None
    got = quick_jit(cross_entropy)(logits, labels, weights, smoothing)
    expected = by_loop(logits, labels, np.ones(7) if weights is None else weights, smoothing)
    assert_close(got, np.asarray(expected))


def test_gradient_is_softmax_minus_target(rng, assert_close, quick_jit):
    logits = rng.normal(size=(5, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, 1, 0])
    p = np.exp(logits.astype(np.float64))
    expected = (p / p.sum(1, keepdims=True) - np.eye(3)[labels]) / 5
    for given in (labels, np.eye(3, dtype=np.float32)[labels]):
        assert_close(quick_jit(jax.grad(cross_entropy))(logits, given), expected)


def test_binary_cross_entropy(rng, assert_close, quick_jit):
    binary = quick_jit(binary_cross_entropy)
    logits, labels = rng.normal(0, 3, (6, 4)).astype(np.float32), rng.uniform(size=(6, 4)).astype(np.float32)
    labels[:3] = labels[:3] > 0.5
    weights = rng.uniform(0, 2, 6).astype(np.float32)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    loss = -(labels * np.log(p) + (1 - labels) * np.log1p(-p)).mean(1)
    assert_close(binary(logits, labels), np.asarray(loss.mean()))
    assert_close(binary(logits, labels, weights), np.asarray((weights * loss).sum() / weights.sum()))
    assert_close(binary(jnp.array([[1e4, -1e4]]), jnp.array([[True, False]])), np.zeros([]))
    assert np.isnan(binary(logits, labels + 1))


def test_positive_weights_equal_torch(rng, assert_close, quick_jit):
    from support.torch_or_skip import F, torch

    logits, labels = rng.normal(0, 3, (6, 4)).astype(np.float32), rng.uniform(size=(6, 4)).astype(np.float32)
    labels[:3] = labels[:3] > 0.5
    weights = (0.5, 1.0, 3.0, 10.0)
    z = torch.tensor(logits, requires_grad=True)
    expected = F.binary_cross_entropy_with_logits(z, torch.tensor(labels), pos_weight=torch.tensor(weights))
    expected.backward()
    found, gradient = quick_jit(
        jax.value_and_grad(lambda logits: binary_cross_entropy(logits, labels, positive_weights=weights))
    )(logits)
    assert_close(found, expected.detach().numpy())
    assert_close(gradient, z.grad.numpy())
    with pytest.raises(ShapeError) as caught:
        binary_cross_entropy(logits, labels, positive_weights=(1.0, 2.0))
    assert str(caught.value) == (
        "positive_weights must be [C], one for each class\n  got: positive_weights [2] for 4 classes"
    )


def test_mean_squared_error(rng, assert_close):
    outputs, targets = rng.normal(size=(2, 5, 3, 2)).astype(np.float32)
    weights = rng.uniform(0, 2, 5).astype(np.float32)
    square = ((outputs.astype(np.float64) - targets) ** 2).mean((1, 2))
    assert_close(mean_squared_error(outputs, targets), np.asarray(square.mean()))
    assert_close(mean_squared_error(outputs, targets, weights), np.asarray((weights * square).sum() / weights.sum()))
    assert_close(mean_squared_error(outputs[:, 0, 0], targets[:, 0, 0]), ((outputs - targets)[:, 0, 0] ** 2).mean())


def test_edges():
    labels = jnp.array([0, 1])
    assert cross_entropy(jnp.zeros([2, 3]), labels, jnp.zeros(2)) == 0
    assert np.isnan(cross_entropy(jnp.zeros([2, 3]), jnp.array([0, 3])))
    assert cross_entropy(jnp.array([[1e4, 0.0], [0.0, 1e4]]), labels) == 0
    assert cross_entropy(jnp.zeros([2, 3], jnp.bfloat16), labels).dtype == jnp.float32


def test_what_weighs_nothing_has_no_part(quick_jit):
    labels, weights = jnp.array([1, 7]), jnp.array([1.0, 0.0])
    value, gradient = quick_jit(jax.value_and_grad(cross_entropy))(jnp.zeros([2, 3]), labels, weights)
    assert value == pytest.approx(np.log(3))
    np.testing.assert_allclose(gradient, [[1 / 3, -2 / 3, 1 / 3], [0, 0, 0]], rtol=1e-6)
    assert cross_entropy(jnp.zeros([0, 3]), jnp.zeros(0, int)) == 0


@pytest.mark.slow
def test_labels_outside_the_classes_on_either_side():
    for label in (3, -1):
        assert np.isnan(cross_entropy(jnp.zeros([1, 3]), jnp.array([label])))


@pytest.mark.parametrize("labels", [jnp.array([0]), jnp.array([[1.0, 0.0, 0.0]])])
def test_a_class_ruled_out_has_no_part(labels, quick_jit):
    value, gradient = quick_jit(jax.value_and_grad(cross_entropy))(jnp.array([[0.0, 0.0, -jnp.inf]]), labels)
    assert value == pytest.approx(np.log(2))
    np.testing.assert_allclose(gradient, [[-0.5, 0.5, 0]])


def test_messages():
    def zeros(*shape, dtype=jnp.float32):
        return jnp.zeros(shape, dtype)

    must = "logits must be [N, C], and labels integers [N] or floating [N, C]\n  got: logits float32 "
    for call, message in [
        (
            lambda: cross_entropy(zeros(2, 5, 5, 10), zeros(2, dtype=int)),
            must + "[2, 5, 5, 10], labels int32 [2]\n  fix: put flatten or a global pool before the last Dense",
        ),
        (
            lambda: cross_entropy(zeros(2, 10), zeros(2, 10, dtype=int)),
            must + "[2, 10], labels int32 [2, 10]\n  fix: labels.astype(jnp.float32), or labels.argmax(-1)",
        ),
        (
            lambda: cross_entropy(zeros(2, 10), zeros(2, 1, dtype=int)),
            must + "[2, 10], labels int32 [2, 1]\n  fix: labels[:, 0]",
        ),
        (
            lambda: cross_entropy(zeros(2, 10), zeros(2)),
            must + "[2, 10], labels float32 [2]\n  fix: labels.astype(jnp.int32)",
        ),
        (lambda: cross_entropy(zeros(2, 10), zeros(2, 9)), must + "[2, 10], labels float32 [2, 9]"),
        (
            lambda: cross_entropy(zeros(2, 10), zeros(2, dtype=int), zeros(3)),
            must + "[2, 10], labels int32 [2], weights float32 [3]",
        ),
        (
            lambda: binary_cross_entropy(zeros(2, 3), zeros(2)),
            "logits and labels must both be [N, C], and weights [N]\n  got: logits float32 [2, 3], labels float32 [2]",
        ),
        (
            lambda: mean_squared_error(zeros(2, 3), zeros(2, 3), zeros(2, 3)),
            "outputs and targets must both be [N, ...], and weights [N]\n"
            "  got: outputs float32 [2, 3], targets float32 [2, 3], weights float32 [2, 3]",
        ),
    ]:
        with pytest.raises(ShapeError) as caught:
            call()
        assert str(caught.value) == message
