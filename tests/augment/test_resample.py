"""Resizing against Pillow, affine maps against SciPy, and the boxes and angles that are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from PIL import Image

from jaxconv._base.errors import ConfigError
from jaxconv.augment import affine, elastic, random_resized_crop, rotate
from jaxconv.augment.box import Box, random_box
from jaxconv.augment.resample import crop_and_resize, smoothed, transform
from jaxconv.data import Batch

BOXES = [(0, 0, 9, 7), (2, 1, 3, 5), (8, 6, 1, 1), (0, 3, 9, 2), (5, 0, 4, 7), (1, 1, 7, 3)]
GRID_WORD = {"zeros": "grid-constant", "reflect": "mirror", "edge": "nearest", "wrap": "grid-wrap"}


def test_crop_and_resize_is_pillows(quick_jit, batch_of, assert_close):
    images = batch_of((len(BOXES), 9, 7, 2), np.float32).image
    box = Box(*(jnp.array(side) for side in zip(*BOXES, strict=True)))
    got = quick_jit(crop_and_resize)(images, box)
    for number, (image, (top, left, height, width)) in enumerate(zip(images, BOXES, strict=True)):
        cut = image[top : top + height, left : left + width]
        channels = [Image.fromarray(cut[..., c]).resize((7, 9), Image.Resampling.BILINEAR) for c in range(2)]
        assert_close(got[number], np.stack(channels, -1), f"box {number}")


@pytest.mark.slow
def test_the_whole_image_is_kept_to_the_bit(quick_jit, batch_of):
    batch = batch_of((3, 8, 8, 3))
    result = quick_jit(random_resized_crop(1.0, ratio=(1, 1)))(jax.random.key(0), batch)
    np.testing.assert_array_equal(result.image, batch.image)


@pytest.mark.slow
def test_boxes_lie_inside_and_spread_evenly(quick_jit):
    n, rows, columns, area, ratio = 4000, 24, 20, (0.2, 0.8), (0.5, 2.0)
    box = quick_jit(lambda key: random_box(key, jnp.zeros([n, rows, columns, 1]), area, ratio, (0, 0)))(
        jax.random.key(0)
    )
    top, left, height, width = map(np.asarray, box)
    assert ((top >= 0) & (left >= 0) & (top + height <= rows) & (left + width <= columns)).all()
    assert ((height >= 1) & (width >= 1)).all()
    share = height * width / (rows * columns)
    assert share.min() > area[0] - 0.05
    assert share.max() < area[1] + 0.05
    assert (width / height).min() > ratio[0] * 0.85
    assert (width / height).max() < ratio[1] * 1.15
    small = share < 0.3  # these fit in every shape, so that nothing is selected
    assert abs(np.log(width / height)[small].mean()) < 0.05
    room = rows - height
    assert scipy.stats.kstest((top + np.random.default_rng(0).uniform(size=n)) / (room + 1), "uniform").pvalue > 1e-3


@pytest.mark.slow
def test_where_no_box_fits_it_is_the_largest_in_the_middle(quick_jit):
    image = np.zeros([1, 8, 8, 1], np.float32)
    image[:, 2:6] = 1  # a box 4 high and 8 wide, and nothing else
    batch = Batch(image, np.zeros(1, np.int32), np.ones(1, np.float32))
    result = quick_jit(random_resized_crop(1.0, ratio=(2, 2)))(jax.random.key(0), batch)
    assert (result.image == 1).all()


@pytest.mark.sampled
@pytest.mark.parametrize("padding_mode", GRID_WORD)
def test_transform_is_scipys(quick_jit, batch_of, assert_close, padding_mode):
    images = batch_of((4, 7, 9, 2), np.float32).image
    angle, scale, shear = np.array([0.3, -2.0, 0, 0.1]), np.array([1, 0.8, 1.3, 0.9]), np.array([0, 0.2, -0.4, 0.1])
    parameters = (v.astype(np.float32) for v in (angle, scale, shear))
    got = quick_jit(transform, static_argnums=4)(images, *parameters, padding_mode)
    middle = np.array([3.0, 4.0])
    for number, image in enumerate(images):
        a, t = angle[number], np.tan(shear[number])
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        back = np.linalg.inv(scale[number] * turn @ np.array([[1, 0], [t, 1]]))
        channels = [
            scipy.ndimage.affine_transform(
                image[..., c].astype(np.float64), back, middle - back @ middle, order=1, mode=GRID_WORD[padding_mode]
            )
            for c in range(2)
        ]
        assert_close(got[number], np.stack(channels, -1), f"image {number}", tolerance=1e-4)


def test_a_quarter_turn_is_rot90(quick_jit, batch_of):
    image = batch_of((1, 6, 6, 1), np.float32).image
    got = quick_jit(transform)(image, jnp.array([np.pi / 2]), jnp.ones(1), jnp.zeros(1))
    np.testing.assert_allclose(got[0], np.rot90(image[0]), atol=1e-3)


@pytest.mark.slow
def test_angles_scales_and_slants_spread_evenly_over_their_ranges(quick_jit):
    """Recovered from how three points move: linear ramps stay linear inside the image."""
    n, size, center = 600, 41, 20
    row, column = np.meshgrid(np.arange(size) - center, np.arange(size) - center, indexing="ij")
    ramp = np.stack([row, column], -1).astype(np.float32)[None].repeat(n, 0)
    batch = Batch(ramp, np.zeros(n, np.int32), np.ones(n, np.float32))
    result = quick_jit(affine(20, scale=(0.8, 1.5), shear=10))(jax.random.key(0), batch)
    image = np.asarray(result.image, np.float64)
    back = np.stack([image[:, center + 5, center], image[:, center, center + 5]], -1) / 5  # source = back @ place
    forth = np.linalg.inv(back)  # = scale * turn @ [[1, 0], [tan, 1]]
    scale, angle = np.hypot(forth[:, 0, 1], forth[:, 1, 1]), np.arctan2(-forth[:, 0, 1], forth[:, 1, 1])
    tangent = (forth[:, 0, 0] * forth[:, 0, 1] + forth[:, 1, 0] * forth[:, 1, 1]) / scale**2
    for got, low, high in [(np.degrees(angle), -20, 20), (scale, 0.8, 1.5), (np.degrees(np.arctan(tangent)), -10, 10)]:
        assert scipy.stats.kstest((got - low) / (high - low), "uniform").pvalue > 1e-3
    assert abs(scipy.stats.pearsonr(angle, scale).statistic) < 0.2


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


@pytest.mark.slow
def test_whole_numbers_are_rounded_and_stay_in_range(quick_jit, batch_of):
    batch = batch_of((20, 9, 9, 1))
    both = quick_jit(lambda key, given: rotate(45)(key, given))
    whole = both(jax.random.key(0), batch).image
    exact = both(jax.random.key(0), batch._replace(image=batch.image.astype(np.float32))).image
    assert whole.dtype == np.uint8
    assert np.abs(np.asarray(whole, np.float32) - exact).max() <= 0.5 + 1e-3


def test_messages():
    for call, message in [
        (lambda: random_resized_crop(0), "random_resized_crop: smallest must be a number above 0, at most 1, got 0"),
        (
            lambda: random_resized_crop(0.1, (2, 1)),
            "random_resized_crop: ratio must be two numbers above 0, the smaller first, got (2, 1)",
        ),
        (
            lambda: random_resized_crop(0.1, 1.0),
            "random_resized_crop: ratio must be two numbers above 0, the smaller first, got 1.0",
        ),
        (lambda: rotate(-5), "rotate: degrees must be a number from 0 to 180, got -5"),
        (
            lambda: affine(5, scale=("a", 1)),
            "affine: scale must be two numbers above 0, the smaller first, got ('a', 1)",
        ),
        (
            lambda: affine(5, shear=90, padding_mode="constant"),
            "affine: shear must be a number of degrees from 0, below 90, got 90\n"
            "affine: padding_mode must be one of zeros, reflect, edge, wrap; got 'constant'",
        ),
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
