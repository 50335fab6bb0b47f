"""Evaluation of several labels of an image, over a whole set, against scikit-learn and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss

import jaxconv as jc
from jaxconv.data import Arrays, Batch
from jaxconv.training.evaluation import batches, results
from jaxconv.training.multilabel import (
    LABELS,
    average_precision,
    labels,
    make_label_eval_step,
    make_label_log_probabilities,
)
from jaxconv.training.tta import Views

N, K = 23, 4
NET = jc.chain(jc.flatten, jc.Dense(K))


@pytest.fixture
def source(rng):
    own = rng.random((N, K)) < 0.4
    own[:, 3] = False  # a label that no image has
    return Arrays(rng.integers(0, 256, (N, 4, 4, 1)).astype(np.uint8), own)


def scaled(images):
    return 4 * (images.astype(jnp.float32) / 255 - 0.5)


@pytest.fixture
def net():
    return NET.init(jax.random.key(3), (1, 4, 4, 1))


def test_every_image_is_counted_once(source, net):
    step = jax.jit(make_label_eval_step(NET, scaled))
    found = labels(results(step, *net, batches(source, 5)))
    z = np.asarray(NET.apply(*net, scaled(source.images))[0], np.float64)
    p, true = 1 / (1 + np.exp(-z)), source.labels
    np.testing.assert_allclose(np.exp(found.log_p), p, rtol=1e-5)
    assert found.mean_loss == pytest.approx(log_loss(true.ravel(), p.ravel()), rel=1e-5)
    expected = [average_precision_score(true[:, k], p[:, k]) for k in range(3)]
    np.testing.assert_allclose(found.average_precision[:3], expected, rtol=1e-12)
    assert np.isnan(found.average_precision[3])
    predicted = p > 0.5
    np.testing.assert_array_equal(found.predicted, predicted)
    each = f1_score(true, predicted, average=None, zero_division=np.nan)
    np.testing.assert_allclose(found.f1, each, rtol=1e-12)
    assert found.micro_f1 == pytest.approx(f1_score(true, predicted, average="micro"))
    assert found.exact == pytest.approx(accuracy_score(true, predicted))


@pytest.mark.parametrize("steps", [2, 5, 1000])
def test_average_precision_with_equal_scores(rng, steps):
    for _ in range(50):
        n = int(rng.integers(1, 40))
        scores = rng.integers(0, steps, n) / steps
        present = rng.random(n) < rng.choice([0.1, 0.5, 1.0])
        if present.any():
            assert average_precision(present, scores) == pytest.approx(average_precision_score(present, scores))
        else:
            assert np.isnan(average_precision(present, scores))


def test_ensembles_views_and_temperature(source, net):
    """The mean probability of members and of mirror images, and the sigmoid of a divided logit."""
    images = source.images

    def p(net, images, temperature=1.0):
        return 1 / (1 + np.exp(-np.asarray(NET.apply(*net, scaled(images))[0], np.float64) / temperature))

    other = NET.init(jax.random.key(4), (1, 4, 4, 1))
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), net, other)
    found = jnp.exp(make_label_log_probabilities(NET, scaled, members=True)(*both, images))
    np.testing.assert_allclose(found, (p(net, images) + p(other, images)) / 2, rtol=1e-4)
    found = jnp.exp(make_label_log_probabilities(NET, scaled, Views(flip=True, mean_of="probabilities"))(*net, images))
    np.testing.assert_allclose(found, (p(net, images) + p(net, images[:, :, ::-1])) / 2, rtol=1e-4)
    found = jnp.exp(make_label_log_probabilities(NET, scaled, temperature=2.5)(*net, images))
    np.testing.assert_allclose(found, p(net, images, 2.5), rtol=1e-4)


def test_a_step_counts_labels_and_mixed_labels_train(source, net):
    logits, weights = jnp.array([[1.0, -1, 2, -3], [1, 1, 1, 1]]), jnp.array([1.0, 2.0])
    own = jnp.array([[1, 0, 0, 0], [1, 1, 0, 0]])
    assert LABELS["correct"](logits, own, weights) == 0.75 + 2 * 0.5
    assert LABELS["count"](logits, own, weights) == 3
    tx = optax.adam(0.1)
    state = jc.training.init_state(NET, tx, jax.random.key(0), (1, 4, 4, 1))
    mix = jc.augment.mixup(1.0, num_classes=K)
    mixed = mix(jax.random.key(0), Batch(source.images[:8], source.labels[:8], np.ones(8, np.float32)))
    assert mixed.label.dtype == jnp.float32
    assert ((mixed.label >= 0) & (mixed.label <= 1)).all()
    words = {"loss": jc.losses.binary_cross_entropy, "sums": LABELS, "augment": mix, "prepare": scaled}
    step, found = jax.jit(jc.training.make_step(NET, tx, **words)), []
    for batch in jc.training.shuffled_batches(source, 8, seed=0, steps=range(60)):
        state, metrics = step(state, batch)
        found.append(float(metrics["loss"]))
    assert np.mean(found[-10:]) < 0.8 * np.mean(found[:10])


def test_a_label_that_is_neither_makes_the_loss_nan(source, net):
    step = make_label_eval_step(NET, scaled)
    wrong = Batch(source.images[:2], np.array([[0, 1, 0, 0], [0, 2, 0, 1]]), np.ones(2, np.float32))
    assert np.isnan(step(*net, wrong)["loss"]).tolist() == [False, True]
