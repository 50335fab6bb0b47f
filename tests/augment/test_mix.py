"""Mixtures recovered from their labels, which must agree with their pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv.augment import cutmix, mixup
from jaxconv.data import Batch

pytestmark = pytest.mark.sampled

N = 300


@pytest.fixture
def own_class(rng):
    """Every image is a class of its own, so that its label says what it was mixed of."""
    return Batch(rng.uniform(0, 255, (N, 3, 4, 2)).astype(np.float32), np.arange(N, dtype=np.int32), np.ones(N, "f4"))


def shares(label):
    """[N] share of its own image, and [N] its partner."""
    own = np.diag(label).copy()
    rest = label - np.diag(own)
    assert ((rest > 0).sum(1) <= 1).all()
    return own, rest.argmax(1)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1.0, 0.3])
def test_mixup_is_linear_in_image_and_label(own_class, quick_jit, alpha):
    result = quick_jit(mixup(alpha, num_classes=N))(jax.random.key(0), own_class)
    own, partner = shares(np.asarray(result.label))
    expected = np.einsum("nm,mhwc->nhwc", np.asarray(result.label, np.float64), own_class.image)
    np.testing.assert_allclose(result.image, expected, rtol=1e-4)
    mixed = own < 1
    assert len(set(partner[mixed])) > 0.98 * mixed.sum(), "partners are a permutation"
    assert scipy.stats.kstest(own[mixed], scipy.stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.slow
def test_cutmix_labels_are_the_shares_of_pixels(quick_jit):
    image = np.broadcast_to(np.arange(N, dtype=np.float32)[:, None, None, None], (N, 7, 5, 1))
    batch = Batch(image, np.arange(N, dtype=np.int32), np.ones(N, np.float32))
    result = quick_jit(cutmix(num_classes=N))(jax.random.key(0), batch)
    pixels = np.asarray(result.image)[..., 0].astype(int)
    counted = np.stack([np.bincount(image.ravel(), minlength=N) for image in pixels]) / 35
    np.testing.assert_allclose(result.label, counted, atol=1e-6)
    for number, image in enumerate(pixels):
        pasted = image != number
        rows, columns = pasted.any(1), pasted.any(0)
        np.testing.assert_array_equal(pasted, rows[:, None] & columns)
        assert not (np.diff(rows.astype(int)) == 1).sum() > 1
    heights = (pixels != np.arange(N)[:, None, None]).any(2).sum(1)
    assert set(heights) == set(range(7)), "a box is smaller than the image, which keeps a share above 0"


@pytest.mark.slow
@pytest.mark.parametrize("make", [mixup, cutmix])
def test_probability_weights_and_labels_that_are_mixed_already(make, own_class, quick_jit):
    weight = (np.arange(N) % 3 > 0).astype(np.float32)
    soft = np.eye(N, dtype=np.float32)
    once = quick_jit(make(1.0, num_classes=N, probability=0.5))
    result = once(jax.random.key(0), own_class._replace(weight=weight))
    np.testing.assert_array_equal(result.weight, weight)
    own, partner = shares(np.asarray(result.label))
    assert (weight[partner[own < 1]] == 1).all(), "what weighs nothing is mixed into no other"
    untouched = own == 1
    np.testing.assert_allclose(np.asarray(result.image)[untouched], own_class.image[untouched], rtol=1e-6)
    likely = 0.5 * 2 / 3  # chosen, and with a partner that counts
    tolerance = 0.15 if make is cutmix else 0.1  # a box can be empty
    assert abs((~untouched).mean() - likely) < tolerance
    again = once(jax.random.key(0), own_class._replace(weight=weight, label=soft))
    np.testing.assert_array_equal(again.label, result.label)


@pytest.mark.parametrize("make", [mixup, cutmix])
def test_labels_outside_the_classes_show(make, quick_jit):
    batch = Batch(np.zeros([4, 2, 2, 1], "f4"), np.array([0, 1, 2, -1], "i4"), np.ones(4, "f4"))
    label = quick_jit(make(1.0, num_classes=2, probability=0.0))(jax.random.key(0), batch).label
    np.testing.assert_array_equal(label[:2], np.eye(2))
    assert np.isnan(label[2:]).all()


def test_messages():
    for make in (mixup, cutmix):
        with pytest.raises(ConfigError) as caught:
            make(0, num_classes=0, probability=-1)
        assert str(caught.value) == (
            f"{make.__name__}: alpha must be a number above 0, got 0\n"
            f"{make.__name__}: num_classes must be a whole number, 1 or more, got 0\n"
            f"{make.__name__}: probability must be a number from 0 to 1, got -1"
        )
    for label, got in [(jnp.zeros([2, 4]), "float32 [2, 4]"), (jnp.zeros(2), "float32 [2]")]:
        with pytest.raises(ShapeError) as refused:
            mixup(1.0, num_classes=3)(jax.random.key(0), Batch(jnp.zeros([2, 2, 2, 1]), label, jnp.ones(2)))
        assert str(refused.value) == (f"labels must be integers [2], or several or soft labels [2, 3]\n  got: {got}")
