"""Evaluation of numbers: exact sums over a set against NumPy and scikit-learn, and steps whose targets are images."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

import jaxconv as jc
from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data import Arrays, Dataset
from jaxconv.training.evaluation import batches, results
from jaxconv.training.regression import NUMBERS, make_number_eval_step, make_numbers, residuals
from jaxconv.training.tta import Views

N, T = 11, 3
NET = jc.chain(jc.flatten, jc.Dense(T))


@pytest.fixture
def source(rng):
    labels = rng.normal(2, 3, (N, T))
    labels[:, 2] = 5.0  # a target of one value has no coefficient of determination
    return Arrays(rng.integers(0, 256, (N, 4, 4, 1)).astype(np.uint8), labels)


def scaled(images):
    return images.astype(jnp.float32) / 255


def test_every_image_is_counted_once(source):
    params, state = NET.init(jax.random.key(0), (1, 4, 4, 1))
    step = jax.jit(make_number_eval_step(NET, scaled))
    found = residuals(results(step, params, state, batches(source, 4)))
    output, true = np.asarray(NET.apply(params, state, scaled(source.images))[0]), source.labels
    assert found.count.tolist() == [N] * T
    assert found.mean_squared == pytest.approx(mean_squared_error(true, output), rel=1e-5)
    np.testing.assert_allclose(
        found.absolute / N, mean_absolute_error(true, output, multioutput="raw_values"), rtol=1e-5
    )
    np.testing.assert_allclose(found.r2[:2], r2_score(true[:, :2], output[:, :2], multioutput="raw_values"), rtol=1e-4)
    assert np.isnan(found.r2[2])
    np.testing.assert_allclose(found.error, ((output - true) ** 2).mean(1), rtol=1e-5)


def test_an_autoencoder_learns_its_input(source):
    """A step whose targets are the prepared images, and its evaluation by the same targets."""
    net = jc.Conv(1, 1)
    tx = optax.adam(0.1)
    state = jc.training.init_state(net, tx, jax.random.key(0), (1, 4, 4, 1))
    words = {"loss": jc.losses.mean_squared_error, "sums": NUMBERS, "targets": lambda batch: batch.image}
    step = jax.jit(jc.training.make_step(net, tx, prepare=scaled, **words))
    for batch in jc.training.shuffled_batches(source, 4, seed=0, steps=range(150)):
        state, metrics = step(state, batch)
    assert set(metrics) == {"loss", "count"}
    evaluate = jax.jit(make_number_eval_step(net, scaled, targets=words["targets"]))
    found = residuals(results(evaluate, state.params, state.state, batches(source, 4)))
    assert found.count.tolist() == [N * 16]
    assert found.r2[0] > 0.99
    assert float(state.params["kernel"].ravel()[0]) == pytest.approx(1, abs=0.05)


def test_labels_and_views_that_do_not_fit(source):
    with pytest.raises(ConfigError, match="predictions of numbers have neither test-time augmentation nor a"):
        make_numbers(NET, scaled, Views(flip=True))
    with pytest.raises(DataError) as caught:
        Dataset("x", source, source, ("a", "b"), (0.0,), (1.0,), task="regression")
    assert str(caught.value) == "x train labels must be 2 numbers, but are 3"
    with pytest.raises(DataError, match=r"labels must be finite, those of image 1 are \[0\.0, nan\]"):
        Arrays(source.images[:2], np.array([[0.0, 1.0], [0.0, np.nan]]))
