"""Repeated augmentation."""

import jax
import numpy as np
import pytest

from jaxconv._base.errors import ConfigError
from jaxconv.augment import compose, repeat, shift


@pytest.mark.parametrize(("n", "times"), [(6, 3), (7, 3), (5, 1), (2, 5), (0, 2)])
def test_the_first_images_fill_the_batch(batch_of, n, times):
    batch = batch_of((n, 3, 4, 1))._replace(index=np.arange(n) + 5, epoch=np.arange(n) % 3)
    result = repeat(times)(jax.random.key(0), batch)
    index = np.arange(n) % max(-(-n // times), 1)
    for got, given in zip(result, batch, strict=True):
        np.testing.assert_array_equal(got, given[index])


@pytest.mark.slow
def test_each_copy_has_its_own_draw(batch_of, quick_jit):
    batch = batch_of((40, 9, 9, 1))
    image = np.asarray(quick_jit(compose(repeat(20), shift(4)))(jax.random.key(0), batch).image)
    assert len(np.unique(image, axis=0)) > 30


def test_messages():
    with pytest.raises(ConfigError) as caught:
        repeat(0)
    assert str(caught.value) == "repeat: times must be a whole number, 1 or more, got 0"
