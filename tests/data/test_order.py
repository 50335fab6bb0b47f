"""The order of the images."""

import numpy as np
import pytest

from jaxconv.data.order import batch_indices, masked_batches


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
