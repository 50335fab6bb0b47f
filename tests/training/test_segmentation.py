"""Evaluation of pixels: exact counts over a set against loops, batches, views and ensembles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv as jc
from jaxconv._base.errors import ConfigError
from jaxconv.data import Arrays, Mask
from jaxconv.training.ensemble import member
from jaxconv.training.evaluation import batches, results
from jaxconv.training.metrics import iou, mean_iou
from jaxconv.training.segmentation import PIXELS, make_pixel_eval_step, make_pixel_log_probabilities, pixels
from jaxconv.training.tta import Views

N, H, W, C = 7, 4, 6, 5
NET = jc.Conv(C, 3, padding="same")


@pytest.fixture
def problem(rng):
    """Images whose masks have no class 4, some pixels without a class, and one image of a single class."""
    values = rng.integers(0, C - 1, (N, H, W)).astype(np.uint8)
    values[rng.random((N, H, W)) < 0.1] = 255
    values[3] = 2
    return Arrays(rng.integers(0, 256, (N, H, W, 3)).astype(np.uint8), Mask(values))


@pytest.fixture
def weights(rng):
    key = jax.random.key(int(rng.integers(100)))
    return NET.init(key, (1, H, W, 3))


def scaled(images):
    return images.astype(jnp.float32) / 64


def log_p(params, images):
    logits, _ = NET.apply(params, {}, scaled(images))
    return np.asarray(jax.nn.log_softmax(logits), np.float64)


def counted(answers, labels):
    """A confusion matrix by a loop over pixels, and the IoU of each class."""
    matrix = np.zeros([C, C], np.int64)
    for answer, label in zip(answers.ravel(), labels.ravel(), strict=True):
        if label != 255:
            matrix[label, answer] += 1
    each = []
    for k in range(C):
        union = matrix[k].sum() + matrix[:, k].sum() - matrix[k, k]
        each.append(matrix[k, k] / union if union else np.nan)
    return matrix, np.array(each)


def test_every_pixel_is_counted_once(problem, weights):
    params, state = weights
    step = jax.jit(make_pixel_eval_step(NET, scaled))
    found = pixels(results(step, params, state, batches(problem, 3)))
    labels, p = problem.labels.values, log_p(params, problem.images)
    matrix, each = counted(p.argmax(-1), labels)
    np.testing.assert_array_equal(found.matrix, matrix)
    np.testing.assert_allclose(found.class_iou, each, rtol=1e-6)
    assert found.mean_iou == pytest.approx(np.nanmean(each))
    assert found.accuracy == pytest.approx((p.argmax(-1) == labels)[labels != 255].mean())
    own = np.take_along_axis(p, np.where(labels == 255, 0, labels)[..., None].astype(int), -1)[..., 0]
    assert found.mean_loss == pytest.approx(-own[labels != 255].mean(), rel=1e-5)
    np.testing.assert_array_equal(found.count, (labels != 255).sum((1, 2)))
    images = [np.nanmean(counted(p[k : k + 1].argmax(-1), labels[k : k + 1])[1]) for k in range(N)]
    np.testing.assert_allclose(found.iou, images, rtol=1e-5)
    dice = 2 * each / (1 + each)  # the identity of the two
    np.testing.assert_allclose(found.class_dice, dice, rtol=1e-5)


def test_a_step_measures_the_pixels_that_have_a_class(problem, weights):
    logits = jnp.asarray(log_p(weights[0], problem.images), jnp.float32)
    weight = jnp.array([1.0, 0, 1, 2, 1, 0, 1])
    labels, right = problem.labels.values, np.asarray(logits).argmax(-1) == problem.labels.values
    known = (labels != 255) * np.asarray(weight)[:, None, None]
    for name, expected in [("count", known.sum()), ("correct", (known * right).sum())]:
        assert PIXELS[name](logits, problem.labels, weight) == expected


def test_mirror_images_are_mirrored_back(problem, weights):
    params, state = weights
    p = log_p(params, problem.images)
    mirrored = log_p(params, problem.images[:, :, ::-1])[:, :, ::-1]
    for mean_of, expected in [
        ("probabilities", np.log((np.exp(p) + np.exp(mirrored)) / 2)),
        ("logits", jax.nn.log_softmax(jnp.asarray((p + mirrored) / 2))),
    ]:
        predict = make_pixel_log_probabilities(NET, scaled, Views(flip=True, mean_of=mean_of))
        np.testing.assert_allclose(jax.jit(predict)(params, state, problem.images), expected, atol=1e-5)
    for views, message in [
        (Views(shift=1), "tta: shift must be 0 for predictions of pixels"),
        (Views(five_crop=0.5), "tta: five_crop must be unset for predictions of pixels"),
    ]:
        with pytest.raises(ConfigError) as caught:
            make_pixel_log_probabilities(NET, scaled, views)(params, state, problem.images)
        assert str(caught.value) == message


@pytest.mark.slow
def test_an_ensemble_answers_with_its_mean_probability(problem):
    params, state = jax.vmap(lambda key: NET.init(key, (1, H, W, 3)))(jax.random.split(jax.random.key(0), 2))
    step = jax.jit(make_pixel_eval_step(NET, scaled, members=True))
    found = pixels(results(step, params, state, batches(problem, 4)))
    both = [np.exp(log_p(member(params, k), problem.images)) for k in (0, 1)]
    np.testing.assert_array_equal(found.matrix, counted(sum(both).argmax(-1), problem.labels.values)[0])


def test_a_class_that_does_not_occur_counts_for_nothing():
    matrix = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    np.testing.assert_allclose(iou(matrix), [3 / 4, 4 / 5, np.nan])
    assert mean_iou(matrix) == pytest.approx(0.775)
    assert mean_iou(np.zeros([2, 2], int)) == 0
