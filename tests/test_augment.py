"""Augmentations against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.augment import normalise, shift
from jaxconv.errors import ConfigError, ShapeError


def moved(image, down, right):
    """An image moved with zeros coming in, by a loop over pixels."""
    result = np.zeros_like(image)
    for i, j in np.ndindex(image.shape[:2]):
        if 0 <= i - down < image.shape[0] and 0 <= j - right < image.shape[1]:
            result[i, j] = image[i - down, j - right]
    return result


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("pixels", [1, 3])
def test_each_image_makes_one_of_all_moves(rng, dtype, pixels):
    batch = rng.integers(1, 256, (200, 5, 6, 2)).astype(dtype)
    result = np.asarray(jax.jit(shift(pixels))(jax.random.key(0), batch))
    assert result.dtype == dtype
    moves = [(i, j) for i in range(-pixels, pixels + 1) for j in range(-pixels, pixels + 1)]
    seen = []
    for image, got in zip(batch, result, strict=True):
        fits = [move for move in moves if np.array_equal(moved(image, *move), got)]
        assert len(fits) == 1
        seen += fits
    assert len(set(seen)) > 0.8 * len(moves)


def test_zero_changes_nothing_and_the_key_decides():
    batch = jnp.arange(2 * 16.0).reshape(2, 4, 4, 1)
    assert shift(0)(jax.random.key(0), batch) is batch
    first, again, other = (shift(2)(jax.random.key(k), jnp.tile(batch, (8, 1, 1, 1))) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_normalise(rng, assert_close):
    images = rng.integers(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    mean, std = (1.0, 20.0, 100.0), (2.0, 30.0, 0.0)
    expected = (images.astype(np.float64) - mean) / [2.0, 30.0, 1.0]
    assert_close(normalise(images, mean, std), expected)


def test_messages():
    with pytest.raises(ConfigError) as caught:
        shift(-1)
    assert str(caught.value) == "shift must be 0 or more pixels, got -1"
    with pytest.raises(ShapeError) as refused:
        shift(1)(jax.random.key(0), jnp.zeros([28, 28, 1]))
    assert str(refused.value) == "shift takes images [N, H, W, C]\n  got: [28, 28, 1]"
    with pytest.raises(ShapeError) as refused:
        normalise(jnp.zeros([2, 3]), (0.0,), (1.0,))
    assert str(refused.value) == "3 channels need as many means and deviations\n  got: 1 and 1"
