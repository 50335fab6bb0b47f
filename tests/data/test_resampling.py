"""Resizing as arithmetic on arrays, against Pillow: to the bit, for every filter, up and down, and odd boxes."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxconv._base.errors import ConfigError
from jaxconv.data.decode import INTERPOLATIONS, crop_box, to_square, to_whole, whole_size
from jaxconv.data.resampling import resample_weights, resampled

pytestmark = pytest.mark.sampled

SIZES = [
    (40, 64, 16),
    (64, 37, 16),
    (9, 7, 16),
    (16, 16, 16),
    (16, 90, 16),
    (375, 500, 224),
    (1, 1, 3),
    (300, 224, 224),
]


def check(pixels, size, box, interpolation, want):
    """Equal by `resampled`, in the order that Pillow takes; box and size as Pillow's."""
    left, top, right, bottom = box
    rows = resample_weights(pixels.shape[0], size[1], top, bottom, interpolation)
    columns = resample_weights(pixels.shape[1], size[0], left, right, interpolation)
    x = pixels[None].astype(np.float32)
    assert min((np.asarray(resampled(x, rows, columns, first))[0] != want).sum() for first in (False, True)) == 0


def pictures(rng, height, width):
    """Noise, and black and white alone, which overshoots most."""
    yield rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    yield (255 * rng.integers(0, 2, (height, width, 3))).astype(np.uint8)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_squares_equal_pillows(height, width, size, interpolation, rng):
    for pixels in pictures(rng, height, width):
        for shorter in (None, size + size // 7):
            want = to_square(Image.fromarray(pixels), size, 3, shorter, interpolation)
            check(pixels, (size, size), crop_box((width, height), size, shorter), interpolation, want)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_whole_images_equal_pillows(height, width, size, interpolation, rng):
    for pixels in pictures(rng, height, width):
        want = to_whole(Image.fromarray(pixels), size, 3, interpolation)
        check(pixels, whole_size((width, height), size), (0, 0, width, height), interpolation, want)


def test_products_are_exact_in_bfloat16_too(rng):
    """As on a TPU, and with TF32 on a GPU."""
    pixels = rng.integers(0, 256, (1, 30, 41, 3)).astype(np.float32)
    rows, columns = (resample_weights(n, 16, 0, n, "lanczos") for n in (30, 41))
    low = jnp.asarray(pixels, jnp.bfloat16)
    np.testing.assert_array_equal(low.astype(jnp.float32), pixels)
    for weights in (rows, columns):
        for part in (weights & 255, weights >> 8 & 255, weights >> 16):
            np.testing.assert_array_equal(jnp.asarray(part, jnp.bfloat16).astype(jnp.int32), part)


def test_too_large_for_exact_sums():
    rows, columns = (resample_weights(n, 1, 0, n, "box") for n in (4, 100_000))
    with pytest.raises(ConfigError) as caught:
        resampled(jnp.zeros((1, 4, 100_000, 1)), rows, columns)
    assert str(caught.value) == (
        "images must be resized by a factor that exact arithmetic allows\n"
        "  got: 100000 to 1 pixels\n  fix: smaller images"
    )
