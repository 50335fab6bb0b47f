"""The order of the images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxconv.data.order import batch_epochs, batch_indices, masked_batches
from jaxconv.data.split import stratified


@pytest.mark.parametrize(("size", "batch_size"), [(10, 3), (10, 10), (7, 20), (64, 16), (5, 1)])
def test_every_image_once_an_epoch_and_no_partial_batch(size, batch_size):
    batches = [batch_indices(3, step, batch_size, size) for step in range(4 * size)]
    assert {batch.shape for batch in batches} == {(batch_size,)}
    epochs = np.concatenate(batches)[: 4 * size].reshape(4, size)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(size), (4, 1)))
    assert size < 6 or len({tuple(epoch) for epoch in epochs}) == 4


def test_seeds_and_epochs_do_not_overlap():
    def epoch(seed, number):
        return tuple(batch_indices(seed, number, 50, 50))

    assert len({epoch(seed, number) for seed in range(5) for number in range(5)}) == 25


@pytest.mark.parametrize(("size", "batch_size"), [(10, 3), (10, 10), (3, 8), (1, 1)])
def test_masked_batches_weigh_every_image_once(size, batch_size):
    weight = np.zeros(size)
    for indices, weights in masked_batches(size, batch_size):
        assert indices.shape == weights.shape == (batch_size,)
        np.add.at(weight, indices, weights)
    np.testing.assert_array_equal(weight, np.ones(size))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=200), st.floats(0.01, 0.99), st.integers(0, 2**32))
def test_a_stratified_split(labels, share, seed):
    labels = np.array(labels)
    first, second = stratified(labels, share, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([first, second])), np.arange(len(labels)))
    np.testing.assert_array_equal(first, np.sort(first))
    again = stratified(labels, share, seed)
    np.testing.assert_array_equal(second, again[1])
    for label in np.unique(labels):
        total, taken = (labels == label).sum(), (labels[second] == label).sum()
        assert total - taken >= 1
        if total > 1:
            assert taken >= 1
            assert taken in (1, total - 1) or abs(taken - share * total) <= 0.5


def test_the_seed_of_a_split_matters():
    labels = np.repeat(np.arange(3), 30)
    assert len({stratified(labels, 0.2, seed)[1].tobytes() for seed in range(20)}) == 20


@pytest.mark.parametrize(("size", "batch"), [(6, 4), (5, 5), (3, 7), (1, 1)])
def test_epochs_count_how_often_an_image_was_seen_before(size, batch):
    seen = np.zeros(size, int)
    for step in range(6):
        indices, epochs = batch_indices(3, step, batch, size), batch_epochs(step, batch, size)
        assert epochs.dtype == np.int32
        for index, epoch in zip(indices, epochs, strict=True):
            assert epoch == seen[index]
            seen[index] += 1
