"""Filters against torchvision, SciPy and NumPy."""

import jax
import numpy as np
import pytest
import scipy
from augment.torchvision_reference import functional

from jaxconv._base.errors import ConfigError
from jaxconv.augment import gaussian_blur, gaussian_noise, sharpness
from jaxconv.augment.filter import blurred, sharpened
from jaxconv.data import Batch

SHAPES = [(17, 23), (3, 3), (2, 9), (1, 1)]


def per_image(values):
    return np.float32(values).reshape(-1, 1, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.9, 4.0])
def test_sharpness_is_torchvisions(quick_jit, rng, factor, shape, channels):
    whole = rng.integers(0, 256, (3, *shape, channels)).astype(np.uint8)
    real = (whole / 255).astype(np.float32)
    sharpen = quick_jit(sharpened, static_argnums=2)
    got = sharpen(real, per_image([factor] * 3), 1)
    np.testing.assert_allclose(got, functional("adjust_sharpness", real, factor), atol=1e-6)
    got = np.asarray(sharpen(whole, per_image([factor] * 3), 255), int)
    assert np.abs(got - functional("adjust_sharpness", whole, factor)).max() <= 1  # it truncates


@pytest.mark.slow
def test_smoothing_counts_the_center_five_times(quick_jit, rng):
    given = rng.uniform(0, 255, (2, 6, 5, 2)).astype(np.float32)
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    smooth = scipy.ndimage.correlate(given.astype(float), kernel[None, :, :, None])[:, 1:-1, 1:-1]
    got = np.asarray(quick_jit(sharpened, static_argnums=2)(given, per_image([0, 1.7]), 255))
    np.testing.assert_allclose(got[0, 1:-1, 1:-1], smooth[0], rtol=1e-5)
    expected = np.clip(smooth[1] + 1.7 * (given[1, 1:-1, 1:-1] - smooth[1]), 0, 255)
    np.testing.assert_allclose(got[1, 1:-1, 1:-1], expected, rtol=1e-4, atol=1e-3)
    edge = np.ones([6, 5], bool)
    edge[1:-1, 1:-1] = False
    np.testing.assert_array_equal(got[:, edge], given[:, edge])


@pytest.mark.slow
def test_the_factor_of_sharpness_is_uniform(quick_jit):
    spot = np.zeros([600, 3, 3, 1], np.float32)
    spot[:, 1, 1] = 100
    batch = Batch(spot, np.zeros(600, np.int32), np.ones(600, np.float32))
    got = np.asarray(quick_jit(sharpness(0.6))(jax.random.key(0), batch).image)[:, 1, 1, 0]
    factor = (got - 500 / 13) / (800 / 13)
    assert scipy.stats.kstest((factor - 0.4) / 1.2, "uniform").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(("shape", "size"), [((17, 23), 3), ((17, 23), 9), ((5, 6), 9), ((9, 40), 17)])
@pytest.mark.parametrize("sigma", [0.1, 0.9, 2.0, 30.0])
def test_blur_is_torchvisions(quick_jit, rng, sigma, shape, size, channels):
    whole = rng.integers(0, 256, (2, *shape, channels)).astype(np.uint8)
    real = (whole / 255).astype(np.float32)
    blur = quick_jit(blurred, static_argnums=2)
    widths = np.full(2, sigma, np.float32)
    np.testing.assert_allclose(
        blur(real, widths, size), functional("gaussian_blur", real, [size, size], [sigma]), atol=1e-6
    )
    exact = functional("gaussian_blur", whole.astype(np.float32), [size, size], [sigma])
    assert np.abs(blur(whole, widths, size) - exact).max() <= 0.5 + 1e-3


def test_blur_is_scipys_with_a_width_for_each_image(quick_jit, rng, assert_close):
    given = rng.uniform(0, 255, (3, 8, 5, 2)).astype(np.float32)
    sigma = np.float32([0.4, 1.0, 2.0])
    got = quick_jit(blurred, static_argnums=2)(given, sigma, 13)
    for number, width in enumerate(sigma):
        expected = scipy.ndimage.gaussian_filter(
            given[number].astype(float), (width, width, 0), mode="mirror", radius=(6, 6, 0)
        )
        assert_close(got[number], expected)


@pytest.mark.slow
def test_the_width_of_a_blur_is_uniform(quick_jit):
    spot = np.zeros([600, 21, 21, 1], np.float32)
    spot[:, 10, 10] = 1
    batch = Batch(spot, np.zeros(600, np.int32), np.ones(600, np.float32))
    got = np.asarray(quick_jit(gaussian_blur((0.5, 1.5), 21))(jax.random.key(0), batch).image)[..., 0].astype(float)
    sigma = 1 / np.sqrt(2 * np.log(got[:, 10, 10] / got[:, 10, 11]))
    assert scipy.stats.kstest(sigma - 0.5, "uniform").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_noise_is_gaussian_and_independent(quick_jit, dtype):
    batch = Batch(np.full([40, 12, 11, 3], 100, dtype), np.zeros(40, np.int32), np.ones(40, np.float32))
    got = np.asarray(quick_jit(gaussian_noise(0.05, peak=200))(jax.random.key(0), batch).image, np.float64) - 100
    spread = got.std()
    assert spread == pytest.approx(np.sqrt(100 + (1 / 12 if dtype == np.uint8 else 0)), rel=0.03)
    if dtype == np.float32:
        assert scipy.stats.kstest(got.ravel() / 10, "norm").pvalue > 1e-3
    for beside in (got[1:] * got[:-1], got[:, 1:] * got[:, :-1], got[..., 1:] * got[..., :-1]):
        assert abs(beside.mean()) < 4 * spread**2 / np.sqrt(beside.size)


@pytest.mark.slow
def test_no_strength_changes_nothing(quick_jit, batch_of):
    batch = batch_of((3, 8, 5, 3))
    for augment in (sharpness(0), gaussian_noise(0), gaussian_blur(1.0, kernel_size=1), gaussian_blur(1e-3)):
        np.testing.assert_array_equal(quick_jit(augment)(jax.random.key(0), batch).image, batch.image)


def test_messages():
    for call, message in [
        (lambda: sharpness(-1), "sharpness: strength must be a number, 0 or more, got -1"),
        (
            lambda: gaussian_blur((2, 1), 4),
            "gaussian_blur: sigma must be a number of pixels above 0, up to 21, or two of them, the smaller first, "
            "got (2, 1)\n"
            "gaussian_blur: kernel_size must be an odd number of pixels up to 127, got 4",
        ),
        (
            lambda: gaussian_blur("wide"),
            "gaussian_blur: sigma must be a number of pixels above 0, up to 21, or two of them, the smaller first, "
            "got 'wide'",
        ),
        (
            lambda: gaussian_noise(-0.1, peak=0),
            "gaussian_noise: sigma must be a number, 0 or more, got -0.1\n"
            "gaussian_noise: peak must be a number above 0, got 0",
        ),
    ]:
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == message
