"""A custom training loop from the public functions: batches, steps, checkpoints, evaluation."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxconv as jc
from jaxconv._base.errors import ConfigError
from jaxconv.data import Arrays


@pytest.fixture
def source(rng):
    """Images whose label is the brightest of two halves."""
    labels = rng.integers(0, 2, 50).astype(np.int32)
    images = rng.integers(0, 60, (50, 4, 4, 1)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 90
    return Arrays(images, labels)


def scaled(images):
    return images.astype(jnp.float32) / 255


NET = jc.chain(jc.flatten, jc.Dropout(0.2), jc.Dense(2))
TX = optax.adam(0.05)


def initial():
    return jc.training.init_state(NET, TX, jax.random.key(0), (1, 4, 4, 1), average=True)


STEP = jc.training.make_step(NET, TX, prepare=scaled, average=0.9)


def loop(train, source, last):
    step = jax.jit(STEP)
    for batch in jc.training.shuffled_batches(source, 8, seed=3, steps=range(int(train.step), last)):
        train, _ = step(train, batch)
    return train


def test_a_loop_learns_and_evaluates(source):
    train = loop(initial(), source, 60)
    found = jc.training.evaluate(NET, *train.tested, source.images, source.labels, prepare=scaled)
    assert found.accuracy == 1.0
    before = jc.training.evaluate(NET, *initial().tested, source.images, source.labels, prepare=scaled)
    assert found.mean_loss < 0.5 * before.mean_loss


def test_a_resumed_loop_takes_the_steps_of_an_uninterrupted_one(source, tmp_path):
    path = tmp_path / "train.safetensors"
    jc.training.save_checkpoint(path, loop(initial(), source, 9))
    restored = jc.training.load_checkpoint(path, jax.eval_shape(initial))
    assert int(restored.step) == 9
    chex.assert_trees_all_equal(loop(restored, source, 20), loop(initial(), source, 20))


@pytest.mark.slow
def test_the_loop_takes_the_steps_of_fit(source):
    feed = jc.training.Resident(source, 8, seeds=3)
    expected = jc.training.fit(STEP, initial(), feed, steps=20).final
    found = loop(initial(), source, 20)
    chex.assert_trees_all_close(found.tested, expected.tested, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_without_jit_the_loop_takes_the_same_steps(source):
    expected = jc.training.fit(STEP, initial(), jc.training.Resident(source, 8, seeds=3), steps=2).final
    with jax.disable_jit():
        found = jc.training.fit(STEP, initial(), jc.training.Resident(source, 8, seeds=3), steps=2).final
    assert int(found.step) == 2
    chex.assert_trees_all_close(found.tested, expected.tested, rtol=1e-5, atol=1e-6)


def test_batches_hold_every_image_once_per_epoch_with_its_label(rng):
    images = rng.integers(0, 256, (10, 3, 3, 1)).astype(np.uint8)
    source = Arrays(images, np.arange(10, dtype=np.int32))
    batches = list(jc.training.shuffled_batches(source, 4, seed=1, steps=range(5)))  # two epochs; one batch is of both
    labels = np.concatenate([batch.label for batch in batches])
    assert sorted(labels[:10]) == sorted(labels[10:]) == list(range(10))
    assert list(labels[:10]) != list(labels[10:])
    for batch in batches:
        np.testing.assert_array_equal(batch.image, images[batch.label])
        np.testing.assert_array_equal(batch.weight, np.ones(4, np.float32))
        np.testing.assert_array_equal(batch.index, batch.label)  # here the labels are the numbers of the images
    assert np.concatenate([batch.epoch for batch in batches]).tolist() == [0] * 10 + [1] * 10


@pytest.mark.parametrize("seeds", [3, (3, 5)])
def test_feeds_number_images_and_epochs_alike(rng, seeds):
    """From device memory and streamed, for one net and for an ensemble, from any step on."""
    images = rng.integers(0, 256, (10, 3, 3, 1)).astype(np.uint8)
    source = Arrays(images, np.arange(10, dtype=np.int32))
    resident = jc.training.Resident(source, 4, seeds, max_steps=2)
    streamed = jc.training.Streamed(source, 4, seeds, 2, 5)
    for step in range(2, 5):
        items = jax.tree.map(lambda v: v[0], resident.items(step, 1))
        take = resident.take if isinstance(seeds, int) else jax.vmap(resident.take, (None, 0))
        found = take(resident.data, items)
        chex.assert_trees_all_equal(found, jax.tree.map(lambda v: v[0], streamed.items(step, 1)))
        for number, seed in enumerate([seeds] if isinstance(seeds, int) else seeds):
            own = found if isinstance(seeds, int) else jax.tree.map(lambda v, n=number: v[n], found)
            (expected,) = jc.training.shuffled_batches(source, 4, seed=seed, steps=[step])
            chex.assert_trees_all_equal(jax.tree.map(np.asarray, own), expected)
    streamed.close()


def test_a_batch_depends_on_seed_and_step_alone(source):
    def batch(seed, step):
        return next(jc.training.shuffled_batches(source, 8, seed=seed, steps=[step]))

    *_, fifth = jc.training.shuffled_batches(source, 8, seed=0, steps=range(6))
    chex.assert_trees_all_equal(batch(0, 5), fifth)
    assert (batch(1, 5).label != fifth.label).any()


def test_a_batch_size_of_zero_is_refused_at_the_call(source):
    with pytest.raises(ConfigError, match=r"^batch_size must be at least 1, got 0$"):
        jc.training.shuffled_batches(source, 0, seed=0, steps=range(1))
