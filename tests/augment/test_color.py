"""Colors against colorsys and NumPy."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from augment.torchvision_reference import functional

from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv.augment import color_jitter, grayscale, normalize
from jaxconv.augment.color import blend, luminance, mean_luminance, rotate_hue
from jaxconv.data import Batch

LUMA = np.array([0.299, 0.587, 0.114])


def jittered(quick_jit, batch, **amounts):
    amounts = dict.fromkeys(["brightness", "contrast", "saturation", "hue"], 0) | amounts
    return np.asarray(quick_jit(color_jitter(**amounts))(jax.random.key(0), batch).image, np.float64)


def factors(got, image, other, low, high):
    """The factor of each image's blend, from pixels that were not clipped; uniform in its range."""
    free = (got > 0) & (got < 255)
    change = np.where(free, got - other, 0), np.where(free, image - other, 0)
    factor = (change[0] * change[1]).sum((1, 2, 3)) / (change[1] ** 2).sum((1, 2, 3))
    expected = np.clip(other + factor[:, None, None, None] * (image - other), 0, 255)
    np.testing.assert_allclose(got, expected, atol=2e-3)
    assert scipy.stats.kstest((factor - low) / (high - low), "uniform").pvalue > 1e-3
    return factor


@pytest.mark.slow
def test_each_blend_is_by_one_factor_an_image(quick_jit, batch_of):
    batch = batch_of((200, 4, 5, 3))
    image = batch.image.astype(np.float64)
    bright = factors(jittered(quick_jit, batch, brightness=0.4), image, 0 * image, 0.6, 1.4)
    look = (image @ LUMA)[..., None]
    mean = np.broadcast_to(look.mean((1, 2), keepdims=True), image.shape)
    contrast = factors(jittered(quick_jit, batch, contrast=1.5), image, mean, 0, 2.5)
    factors(jittered(quick_jit, batch, saturation=0.3), image, np.broadcast_to(look, image.shape), 0.7, 1.3)
    assert abs(scipy.stats.pearsonr(bright, contrast).statistic) < 0.2


def test_hue_is_colorsys(rng, quick_jit, assert_close):
    colors = rng.uniform(0, 255, (300, 3)).astype(np.float32)
    colors[:6] = [[0, 0, 0], [9, 9, 9], [255, 0, 0], [5, 5, 0], [0, 7, 7], [3, 0, 3]]
    turns = rng.uniform(-0.5, 0.5, (300, 1)).astype(np.float32)
    expected = []
    for color, (turn,) in zip(colors.astype(np.float64), turns, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*color / 255)
        expected.append(255 * np.array(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)))
    assert_close(quick_jit(rotate_hue)(colors, turns), np.stack(expected))


@pytest.mark.slow
def test_hue_turns_each_image_by_its_own_angle(quick_jit):
    image = np.broadcast_to(np.float32([200, 100, 50]), (300, 2, 2, 3))
    batch = Batch(image, np.zeros(300, np.int32), np.ones(300, np.float32))
    got = jittered(quick_jit, batch, hue=0.2)
    np.testing.assert_allclose(got, np.broadcast_to(got[:, :1, :1], got.shape), atol=1e-3)
    start = colorsys.rgb_to_hsv(200 / 255, 100 / 255, 50 / 255)[0]
    hsv = np.array([colorsys.rgb_to_hsv(*pixel / 255) for pixel in got[:, 0, 0]])
    turn = (hsv[:, 0] - start + 0.5) % 1 - 0.5
    assert scipy.stats.kstest((turn + 0.2) / 0.4, "uniform").pvalue > 1e-3


@pytest.mark.slow
def test_grays_have_no_color_to_change(quick_jit, batch_of):
    batch = batch_of((4, 3, 3, 1))
    np.testing.assert_array_equal(jittered(quick_jit, batch, saturation=0.9, hue=0.5), batch.image)
    color = batch._replace(image=np.repeat(batch.image, 3, -1))
    np.testing.assert_allclose(jittered(quick_jit, color, saturation=0.9, hue=0.5), color.image, atol=1e-3)
    four = batch_of((2, 3, 3, 4)).image.astype(np.float32)
    np.testing.assert_allclose(luminance(jnp.asarray(four))[..., 0], four.mean(-1), rtol=1e-6)


def test_values_stay_in_range_and_strength_sets_all(quick_jit, batch_of):
    batch = batch_of((30, 4, 4, 3), np.uint8)
    batch = batch._replace(image=batch.image % 17)
    one = quick_jit(color_jitter(0.8, peak=16))(jax.random.key(3), batch).image
    assert (one.min() >= 0) & (one.max() <= 16)
    same = color_jitter(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, peak=16)
    programs = [str(jax.make_jaxpr(f)(jax.random.key(3), batch)) for f in (color_jitter(0.8, peak=16), same)]
    assert programs[0] == programs[1]


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(17, 23), (1, 1), (2, 7)])
@pytest.mark.parametrize("amount", [0.0, 0.4, 1.0, 1.99])
def test_each_change_is_torchvisions(quick_jit, rng, amount, shape, channels):
    """Its luminance has 0.2989 of red, Pillow's and ours 0.299; and it truncates integers, which are float32 here."""
    whole = rng.integers(0, 256, (3, *shape, channels)).astype(np.uint8)
    real = (whole / 255).astype(np.float32)
    factor = np.full([3, 1, 1, 1], amount, np.float32)
    changes = {
        "adjust_brightness": lambda images, peak: blend(images, 0.0, factor, peak),
        "adjust_contrast": lambda images, peak: blend(images, mean_luminance(images), factor, peak),
        "adjust_saturation": lambda images, peak: blend(images, luminance(images), factor, peak),
        "adjust_hue": lambda images, peak: rotate_hue(images, np.full([3, 1, 1, 1], amount - 0.5, np.float32)),
    }
    if amount > 1:
        del changes["adjust_hue"]
    for name, change in changes.items():
        if channels == 1 and name in ("adjust_saturation", "adjust_hue"):
            continue
        argument = amount - 0.5 if name == "adjust_hue" else amount
        got = quick_jit(change, static_argnums=1)(real, 1)
        np.testing.assert_allclose(got, functional(name, real, argument), atol=2e-4, err_msg=name)
        got = quick_jit(change, static_argnums=1)(whole.astype(np.float32), 255)
        assert np.abs(got - functional(name, whole, argument)).max() <= 1.05 + abs(1 - amount), name


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_grayscale(quick_jit, batch_of, dtype):
    batch = batch_of((300, 4, 3, 3), dtype)
    gray = (batch.image.astype(np.float64) @ LUMA)[..., None]
    always = np.asarray(quick_jit(grayscale(1.0))(jax.random.key(0), batch).image)
    assert always.dtype == dtype
    assert np.abs(always - gray).max() <= (0.5 + 1e-4 if dtype == np.uint8 else 1e-3)
    assert np.abs(always[..., :1] - functional("rgb_to_grayscale", batch.image)).max() <= 1
    one = batch._replace(image=batch.image[..., :1])
    np.testing.assert_array_equal(quick_jit(grayscale(1.0))(jax.random.key(0), one).image, one.image)
    some = np.asarray(quick_jit(grayscale(0.2))(jax.random.key(0), batch).image)
    chosen = (some == always).all((1, 2, 3))
    np.testing.assert_array_equal(some[~chosen], batch.image[~chosen])
    assert scipy.stats.binomtest(int(chosen.sum()), 300, 0.2).pvalue > 1e-3


def test_grayscale_takes_one_or_three_channels(batch_of):
    with pytest.raises(ShapeError) as caught:
        jax.eval_shape(grayscale(), jax.random.key(0), batch_of((2, 3, 4, 4)))
    assert str(caught.value) == (
        "grayscale takes images of 1 or 3 channels\n  got: [2, 3, 4, 4]\n"
        "  fix: images[..., :3], if red, green and blue come first"
    )


def test_normalize(rng, assert_close):
    images = rng.integers(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    mean, std = (1.0, 20.0, 100.0), (2.0, 30.0, 0.0)
    expected = (images.astype(np.float64) - mean) / [2.0, 30.0, 1.0]
    with jax.numpy_rank_promotion("raise"):
        assert_close(normalize(images, mean, std), expected)


def test_messages():
    with pytest.raises(ConfigError) as caught:
        color_jitter(-1, contrast="much", hue=0.7, peak=0)
    assert str(caught.value) == (
        "color_jitter: strength must be a number, 0 or more, got -1\n"
        "color_jitter: contrast must be a number, 0 or more, got 'much'\n"
        "color_jitter: hue must be a number from 0 to 0.5, got 0.7\n"
        "color_jitter: peak must be a number above 0, got 0"
    )
    with pytest.raises(ShapeError) as refused:
        normalize(jnp.zeros([2, 3]), (0.0,), (1.0,))
    assert str(refused.value) == "3 channels need as many means and deviations\n  got: 1 and 1"
