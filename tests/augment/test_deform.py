"""Smooth noise against SciPy, and displacements against what follows from the Gaussian."""

import jax
import numpy as np
import pytest
import scipy

from jaxconv._base.errors import ConfigError
from jaxconv.augment import elastic
from jaxconv.augment.deform import smoothed
from jaxconv.data import Batch


@pytest.mark.sampled
@pytest.mark.parametrize("sigma", [0.3, 1.5, 6.0])
def test_smoothing_is_scipys(quick_jit, rng, assert_close, sigma):
    noise = rng.uniform(-1, 1, (2, 3, 9, 14)).astype(np.float32)
    got = quick_jit(smoothed, static_argnums=1)(noise, sigma)
    wide = noise.astype(np.float64)
    assert_close(got, scipy.ndimage.gaussian_filter(wide, (0, 0, sigma, sigma), mode="constant", truncate=8))


@pytest.mark.slow
def test_pixels_come_from_places_that_smooth_noise_says(quick_jit):
    """Recovered from ramps, which tell where a pixel came from; what is expected follows from the Gaussian alone."""
    n, size, alpha, sigma = 200, 48, 20.0, 3.0
    ramp = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), -1).astype(np.float32)
    batch = Batch(ramp[None].repeat(n, 0), np.zeros(n, np.int32), np.ones(n, np.float32))
    moves = np.asarray(quick_jit(elastic(alpha, sigma))(jax.random.key(0), batch).image - ramp)[:, 12:-12, 12:-12]
    deviation = alpha / np.sqrt(3) / (2 * np.sqrt(np.pi) * sigma)
    assert moves.std() == pytest.approx(deviation, rel=0.05)
    assert abs(moves.mean()) < 0.1 * deviation
    for apart in (1, 3, 6):  # the Gaussian folded with itself
        beside = (moves[:, apart:] * moves[:, :-apart]).mean() / moves.var()
        assert beside == pytest.approx(np.exp(-((apart / (2 * sigma)) ** 2)), abs=0.05)
    down, right = moves[..., 0].ravel(), moves[..., 1].ravel()
    assert abs(np.corrcoef(down, right)[0, 1]) < 0.05
    assert abs(np.corrcoef(moves[:-1].ravel(), moves[1:].ravel())[0, 1]) < 0.05


def test_no_strength_moves_nothing(quick_jit, batch_of):
    batch = batch_of((3, 8, 5, 3))
    np.testing.assert_array_equal(quick_jit(elastic(0))(jax.random.key(0), batch).image, batch.image)


def test_messages():
    for call, message in [
        (
            lambda: elastic(-1, True, "mirror"),
            "elastic: alpha must be a number of pixels from 0, got -1\n"
            "elastic: sigma must be a number of pixels above 0, up to 10,000, got True\n"
            "elastic: padding_mode must be one of zeros, reflect, edge, wrap; got 'mirror'",
        ),
    ]:
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == message
