"""Tones against Pillow and torchvision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from augment.torchvision_reference import functional
from PIL import Image, ImageOps

from jaxconv._base.errors import ConfigError
from jaxconv.augment import autocontrast, equalize, invert, posterize, solarize
from jaxconv.augment.tone import equalized, inverted, posterized, solarized, stretched

PILLOW = {
    "invert": (lambda images: inverted(images, 255), ImageOps.invert),
    "posterize": (lambda images: posterized(images, 3, 255), lambda image: ImageOps.posterize(image, 3)),
    "solarize": (lambda images: solarized(images, 0.3, 255), lambda image: ImageOps.solarize(image, 77)),
    "equalize": (lambda images: equalized(images, 255), ImageOps.equalize),
}
SHAPES = [(17, 23), (1, 1), (16, 16), (64, 33)]
FILLS = ["random", "dark", "constant", "two", "extremes"]


def images(rng, shape, fill="random", channels=3):
    """uint8 [3, *shape, channels]."""
    size = (3, *shape, channels)
    return {
        "random": rng.integers(0, 256, size),
        "dark": rng.integers(0, 60, size) // 7,
        "constant": np.broadcast_to(rng.integers(0, 256, (3, 1, 1, channels)), size),
        "two": rng.integers(0, 2, size) * 90 + 50,
        "extremes": rng.integers(0, 2, size) * 255,
    }[fill].astype(np.uint8)


@pytest.mark.sampled
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PILLOW)
def test_bytes_are_pillows(quick_jit, rng, name, shape, fill):
    ours, theirs = PILLOW[name]
    given = images(rng, shape, fill)
    expected = np.stack([np.asarray(theirs(Image.fromarray(image))) for image in given])
    np.testing.assert_array_equal(quick_jit(ours)(given), expected)


# Each with its arguments. Of `autocontrast` on integers torchvision truncates what is rounded here.
TORCHVISION = {
    "invert": (lambda images, peak: inverted(images, peak), [()]),
    "posterize": (posterized, [(bits,) for bits in (1, 2, 3, 5, 8)]),
    "solarize": (solarized, [(share,) for share in (0.0, 0.3, 0.5, 1.0)]),
    "autocontrast": (lambda images, peak: stretched(images, peak), [()]),
    "equalize": (lambda images, peak: equalized(images, peak), [()]),
}


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", TORCHVISION)
def test_values_are_torchvisions(quick_jit, rng, name, shape, fill, channels):
    function, cases = TORCHVISION[name]
    whole = images(rng, shape, fill, channels)
    real = (whole / 255).astype(np.float32)
    for case in cases:
        got = np.asarray(quick_jit(lambda x, case=case: function(x, *case, 255))(whole), int)
        scaled = [255 * share for share in case] if name == "solarize" else case
        error = np.abs(got - functional(name, whole, *scaled).astype(int)).max()
        assert error <= (1 if name == "autocontrast" else 0), (case, error)
        got = quick_jit(lambda x, case=case: function(x, *case, 1))(real)
        np.testing.assert_allclose(got, functional(name, real, *case), atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("peak", [1, 16, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_any_range(quick_jit, rng, peak, dtype):
    """Scaled images give scaled results, and nothing leaves 0..peak."""
    whole = rng.integers(0, 17, (2, 40, 30, 2))
    given = (whole // 16 * peak if dtype == np.uint8 else whole / 16 * peak).astype(dtype)
    for function in (inverted, stretched, equalized):
        got = np.asarray(quick_jit(lambda x, f=function: f(x, peak))(given), np.float64)
        assert got.min() == 0
        assert got.max() == pytest.approx(peak, rel=1e-2)
        if dtype == np.float32:
            unit = np.asarray(quick_jit(lambda x, f=function: f(x, 1))(given / np.float32(peak)), np.float64)
            np.testing.assert_allclose(got / peak, unit, atol=1e-5)


def test_stretching_is_linear_to_the_ends(quick_jit, rng):
    given = images(rng, (9, 7), "dark")
    low, high = given.min((1, 2), keepdims=True).astype(float), given.max((1, 2), keepdims=True).astype(float)
    exact = (given - low) / (high - low) * 255
    got = np.asarray(quick_jit(lambda x: stretched(x, 255))(given), np.float64)
    assert np.abs(got - exact).max() <= 0.5 + 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("make", [invert, posterize, solarize, autocontrast, equalize])
def test_each_image_changes_with_its_probability(quick_jit, batch_of, make):
    batch = batch_of((300, 20, 20, 1))
    batch = batch._replace(image=batch.image // 2 + 70)
    got = np.asarray(quick_jit(make(probability=0.3))(jax.random.key(0), batch).image)
    always = np.asarray(quick_jit(make(probability=1.0))(jax.random.key(1), batch).image)
    chosen = (got == always).all((1, 2, 3))
    np.testing.assert_array_equal(got[~chosen], batch.image[~chosen])
    assert scipy.stats.binomtest(int(chosen.sum()), 300, 0.3).pvalue > 1e-3


@pytest.mark.slow
def test_parameters_may_differ_between_images(quick_jit, rng):
    given = images(rng, (4, 5))
    bits, threshold = np.array([1, 4, 8]), np.array([0.2, 0.5, 0.9], np.float32)
    together = quick_jit(lambda b, t: (posterized(given, b, 255), solarized(given, t, 255)))(
        *(values.reshape(-1, 1, 1, 1) for values in (bits, threshold))
    )
    for number in range(3):
        one = given[number : number + 1]
        np.testing.assert_array_equal(together[0][number], posterized(one, int(bits[number]), 255)[0])
        np.testing.assert_array_equal(together[1][number], solarized(one, float(threshold[number]), 255)[0])


def test_messages():
    for call, message in [
        (lambda: invert(2), "invert: probability must be a number from 0 to 1, got 2"),
        (
            lambda: posterize(0, peak=0),
            "posterize: bits must be a whole number from 1 to 8, got 0\n"
            "posterize: peak must be a number above 0, got 0",
        ),
        (lambda: posterize(2.5), "posterize: bits must be a whole number from 1 to 8, got 2.5"),
        (lambda: solarize(128), "solarize: threshold must be a number from 0 to 1, got 128"),
        (lambda: autocontrast("x"), "autocontrast: probability must be a number from 0 to 1, got 'x'"),
        (lambda: equalize(peak=-1), "equalize: peak must be a number above 0, got -1"),
    ]:
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == message


def test_no_images_and_no_pixels():
    for shape in [(0, 3, 3, 1), (2, 0, 3, 1)]:
        for function in (inverted, stretched, equalized):
            assert function(jnp.zeros(shape, jnp.uint8), 255).shape == shape
