"""Batches of random images."""

import numpy as np
import pytest

from jaxconv.data import Batch


@pytest.fixture
def batch_of(rng):
    """`batch_of(shape, dtype)`: random images from 1 to 255, labels 0 to 3, weights."""

    def make(shape, dtype=np.uint8):
        n = shape[0]
        images = rng.integers(1, 256, shape).astype(dtype)
        return Batch(images, rng.integers(0, 4, n).astype(np.int32), rng.uniform(0.5, 2, n).astype(np.float32))

    return make
