"""Resizing against Pillow, and the boxes that are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from PIL import Image

from jaxconv._base.errors import ConfigError
from jaxconv.augment import random_resized_crop
from jaxconv.augment.box import Box, random_box
from jaxconv.augment.crop import crop_and_resize
from jaxconv.data import Batch

BOXES = [(0, 0, 9, 7), (2, 1, 3, 5), (8, 6, 1, 1), (0, 3, 9, 2), (5, 0, 4, 7), (1, 1, 7, 3)]


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
    ]:
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == message
