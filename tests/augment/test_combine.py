"""Combinations of augmentations whose effect is known."""

import jax
import numpy as np
import pytest
import scipy

from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv.augment import compose, cutmix, flip, mixup, random_choice, shift, sometimes


def add(amount):
    return lambda key, batch: batch._replace(image=batch.image + amount)


def noise(key, batch):
    return batch._replace(image=jax.random.uniform(key, batch.image.shape))


def test_compose_runs_in_order_and_folds_the_key_by_position(batch_of):
    batch = batch_of((2, 3, 3, 1), np.float32)
    doubled = compose(add(1), lambda key, given: given._replace(image=2 * given.image), add(3))
    np.testing.assert_array_equal(doubled(jax.random.key(0), batch).image, 2 * (batch.image + 1) + 3)
    assert compose()(jax.random.key(0), batch) is batch
    drawn = [compose(*[add(0)] * before, noise)(jax.random.key(0), batch).image for before in range(3)]
    assert not any(np.array_equal(drawn[a], drawn[b]) for a, b in [(0, 1), (0, 2), (1, 2)])


@pytest.mark.slow
def test_sometimes_and_random_choice_choose_for_each_image(batch_of, quick_jit):
    batch = batch_of((600, 2, 2, 1), np.float32)
    changed = np.asarray(quick_jit(sometimes(add(1), 0.3))(jax.random.key(0), batch).image) - batch.image
    assert set(np.unique(changed)) == {0, 1}
    assert (changed == changed[:, :1, :1]).all()
    assert scipy.stats.binomtest(int(changed[:, 0, 0, 0].sum()), 600, 0.3).pvalue > 1e-3
    chosen = np.asarray(quick_jit(random_choice(add(0), add(1), add(2)))(jax.random.key(0), batch).image) - batch.image
    counts = [int((np.round(chosen[:, 0, 0, 0]) == amount).sum()) for amount in range(3)]
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.slow
def test_choices_of_different_types_meet(batch_of, quick_jit):
    batch = batch_of((40, 4, 4, 1))
    either = quick_jit(random_choice(mixup(1.0, num_classes=4), cutmix(num_classes=4), flip(1.0)))
    result = jax.tree.map(np.asarray, either(jax.random.key(0), batch))
    assert (result.image.dtype, result.label.dtype, result.label.shape) == (np.float32, np.float32, (40, 4))
    hard = np.eye(4, dtype=np.float32)[batch.label]
    mirrored = (result.image == batch.image[:, :, ::-1]).all((1, 2, 3))
    assert 3 <= mirrored.sum() <= 30
    np.testing.assert_array_equal(result.label[mirrored], hard[mirrored])
    assert jax.eval_shape(sometimes(shift(1), 0.5), jax.random.key(0), batch).image.dtype == np.uint8


def test_messages(batch_of):
    for call, message in [
        (lambda: sometimes(flip(), 2), "sometimes: probability must be a number from 0 to 1, got 2"),
        (random_choice, "random_choice: expected at least one augmentation"),
    ]:
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == message
    smaller = sometimes(lambda key, batch: batch._replace(image=batch.image[:, 1:]), 0.5)
    with pytest.raises(ShapeError) as refused:
        smaller(jax.random.key(0), batch_of((2, 3, 3, 1)))
    assert str(refused.value) == (
        "augmentations to choose from must return images of one shape\n  got: [2, 3, 3, 1] and [2, 2, 3, 1]"
    )
