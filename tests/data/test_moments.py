"""Moments against NumPy in floats of 64 bits."""

import numpy as np
import pytest

from jaxconv.data import moments as module


@pytest.mark.parametrize("shape", [(5, 4, 3, 1), (7, 9, 8, 3), (1, 1, 1, 2)])
@pytest.mark.parametrize("chunk", [10, 1 << 22])
def test_mean_and_deviation(rng, monkeypatch, shape, chunk):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    images = rng.integers(0, 256, shape).astype(np.uint8)
    mean, std = module.moments(images)
    pixels = images.reshape(-1, shape[-1]).astype(np.float64)
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, np.where(pixels.std(0) == 0, 1, pixels.std(0)), rtol=1e-12)
