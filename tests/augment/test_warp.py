"""Affine maps against SciPy, and the angles, scales and corners that are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

from jaxconv._base.errors import ConfigError
from jaxconv.augment import affine, perspective, rotate
from jaxconv.augment.warp import affine_matrix, projected
from jaxconv.data import Batch, Boxes

GRID_WORD = {"zeros": "grid-constant", "reflect": "mirror", "edge": "nearest", "wrap": "grid-wrap"}


def warped(images, angle, scale, shear, padding_mode="zeros"):
    """Images rotated, scaled and sheared horizontally."""
    rows, columns = images.shape[1:3]
    still = jnp.zeros(len(images))
    matrix = affine_matrix(angle, scale, (shear, still), (still, still), (columns / 2, rows / 2))
    return projected(matrix, rows, columns, padding_mode, 0.0).image(images)


@pytest.mark.sampled
@pytest.mark.parametrize("padding_mode", GRID_WORD)
def test_transform_is_scipys(quick_jit, batch_of, assert_close, padding_mode):
    images = batch_of((4, 7, 9, 2), np.float32).image
    angle, scale, shear = np.array([0.3, -2.0, 0, 0.1]), np.array([1, 0.8, 1.3, 0.9]), np.array([0, 0.2, -0.4, 0.1])
    parameters = (v.astype(np.float32) for v in (angle, scale, shear))
    got = quick_jit(warped, static_argnums=4)(images, *parameters, padding_mode)
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
    got = quick_jit(warped)(image, jnp.array([np.pi / 2]), jnp.ones(1), jnp.zeros(1))
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


@pytest.mark.slow
def test_translations_and_both_shears_spread_evenly(quick_jit):
    n = 600
    augment = affine(0, shear=[0, 15], translate=[0.2, 0.1])
    corner = np.float32([[50, 0, 50, 0.001], [0, 25, 0.001, 25]])  # points on the axes through the corner
    label = Boxes(np.broadcast_to(corner + np.float32([0, 0, 0.001, 0.001]), (n, 2, 4)))
    batch = Batch(np.zeros([n, 50, 100, 1], np.float32), label, np.ones(n, np.float32))
    boxes = np.asarray(quick_jit(augment)(jax.random.key(0), batch).label.values, np.float64)
    right = boxes[:, 1, 0] / 20  # clipped at the left border
    assert scipy.stats.kstest(right[right > 0], "uniform").pvalue > 1e-3
    assert scipy.stats.binomtest(int((right > 0).sum()), n, 0.5).pvalue > 1e-3
    down = boxes[:, 0, 1] / 5
    assert scipy.stats.kstest(down[down > 0], "uniform").pvalue > 1e-3


@pytest.mark.slow
def test_corners_of_a_perspective_move_evenly(quick_jit):
    """The left end of the image's own box is the lesser of two uniform numbers."""
    label = Boxes(np.broadcast_to(np.float32([0, 0, 30, 20]), (600, 1, 4)))
    batch = Batch(np.zeros([600, 20, 30, 1], np.float32), label, np.ones(600, np.float32))
    left, top, right, bottom = np.asarray(quick_jit(perspective(0.6))(jax.random.key(0), batch).label.values)[:, 0].T
    for move in (left / 9, top / 6, (30 - right) / 9, (20 - bottom) / 6):
        assert scipy.stats.kstest(move, lambda x: 1 - (1 - np.clip(x, 0, 1)) ** 2).pvalue > 1e-3
    assert abs(scipy.stats.pearsonr(left, right).statistic) < 0.2


@pytest.mark.slow
def test_no_strength_is_the_identity(quick_jit, batch_of):
    batch = batch_of((3, 8, 5, 3))
    for augment in (rotate(0), affine(0, (1, 1), [0, 0], translate=[0, 0]), perspective(0)):
        np.testing.assert_array_equal(quick_jit(augment)(jax.random.key(0), batch).image, batch.image)


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
        (lambda: rotate(-5), "rotate: degrees must be a number from 0 to 180, got -5"),
        (
            lambda: affine(5, scale=("a", 1)),
            "affine: scale must be two numbers above 0, the smaller first, got ('a', 1)",
        ),
        (
            lambda: affine(5, shear=90, padding_mode="constant"),
            "affine: shear must be a number of degrees from 0, below 90, or two of them, got 90\n"
            "affine: padding_mode must be one of zeros, reflect, edge, wrap; got 'constant'",
        ),
        (
            lambda: affine(5, shear=[1, 2, 3], translate=2, fill=-1),
            "affine: shear must be a number of degrees from 0, below 90, or two of them, got [1, 2, 3]\n"
            "affine: translate must be a number from 0 to 1, or two of them, got 2\n"
            "affine: fill must be a number, 0 or more, got -1",
        ),
        (lambda: perspective(0.7), "perspective: distortion must be a number from 0 to 2/3, got 0.7"),
    ]:
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == message
