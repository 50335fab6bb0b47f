"""Boxes painted over, recovered from the pixels that changed."""

import jax
import numpy as np
import pytest
import scipy

from jaxconv._base.errors import ConfigError
from jaxconv.augment import cutout, random_erasing


def rectangle(changed):
    """(top, left, height, width) of the pixels that changed [H, W]; they must be a rectangle."""
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    if not len(rows):
        return None
    box = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert box.all()
    return rows[0], columns[0], *box.shape


@pytest.mark.sampled
@pytest.mark.parametrize("size", [1, 4, 5])
def test_cutout_is_a_square_around_any_pixel(quick_jit, batch_of, size):
    batch = batch_of((900, 5, 6, 2))
    result = np.asarray(quick_jit(cutout(size, fill=0))(jax.random.key(0), batch).image)
    changed = (result != batch.image).all(-1)
    np.testing.assert_array_equal(result[~changed], batch.image[~changed])
    squares = {}
    for row, column in np.ndindex(5, 6):
        square = np.zeros([5, 6], bool)
        low = row - size // 2, column - size // 2
        square[max(low[0], 0) : low[0] + size, max(low[1], 0) : low[1] + size] = True
        squares.setdefault(square.tobytes(), []).append((row, column))
    seen = [mask.tobytes() for mask in changed]
    assert set(seen) == set(squares)
    expected = [900 * len(middles) / 30 for middles in squares.values()]
    assert scipy.stats.chisquare([seen.count(square) for square in squares], expected).pvalue > 1e-3


@pytest.mark.slow
def test_fills(quick_jit, batch_of):
    batch = batch_of((50, 6, 6, 3))
    changes = {}
    for fill in ("mean", "noise", 7):
        result = np.asarray(quick_jit(cutout(3, fill))(jax.random.key(0), batch).image)
        changes[fill] = result
    hole = (changes[7] == 7).all(-1)
    assert 4 * 50 <= hole.sum() <= 9 * 50
    means = np.broadcast_to(batch.image.mean((1, 2), keepdims=True), batch.image.shape)[hole]
    assert np.abs(changes["mean"][hole] - means).max() <= 0.5 + 1e-4
    noise = changes["noise"][hole]
    assert (noise.min() < 8) & (noise.max() > 247)
    assert (
        scipy.stats.kstest((noise.ravel() + np.random.default_rng(0).uniform(size=noise.size)) / 256, "uniform").pvalue
        > 1e-3
    )
    for result in changes.values():
        np.testing.assert_array_equal(result[~hole], batch.image[~hole])


@pytest.mark.slow
def test_erased_boxes_lie_inside_with_their_area_and_shape(quick_jit, batch_of):
    batch = batch_of((600, 20, 16, 1))
    augment = quick_jit(random_erasing(0.6, area=(0.1, 0.4), ratio=(0.5, 2.0), fill=0))
    result = np.asarray(augment(jax.random.key(0), batch).image)
    boxes = [rectangle(changed) for changed in (result != batch.image)[..., 0]]
    erased = [box for box in boxes if box]
    assert scipy.stats.binomtest(len(erased), 600, 0.6).pvalue > 1e-3
    share = np.array([height * width / 320 for _, _, height, width in erased])
    assert (share.min() > 0.08) & (share.max() < 0.43)
    assert abs(share.mean() - 0.25) < 0.02
    shape = np.array([width / height for _, _, height, width in erased])
    assert (shape.min() > 0.4) & (shape.max() < 2.5)


@pytest.mark.slow
def test_cutout_with_a_probability(quick_jit, batch_of):
    batch = batch_of((600, 4, 4, 1))
    result = quick_jit(cutout(2, 0, probability=0.2))(jax.random.key(0), batch).image
    assert scipy.stats.binomtest(int((result != batch.image).any((1, 2, 3)).sum()), 600, 0.2).pvalue > 1e-3


def test_messages():
    for call, message in [
        (lambda: cutout(0), "cutout: size must be a whole number, 1 or more, got 0"),
        (
            lambda: cutout(2, "zeros", 2),
            "cutout: fill must be mean, noise or a number from 0 to 255, got 'zeros'\n"
            "cutout: probability must be a number from 0 to 1, got 2",
        ),
        (lambda: cutout(2, 17, peak=16), "cutout: fill must be mean, noise or a number from 0 to 16, got 17"),
        (lambda: cutout(2, peak=0), "cutout: peak must be a number above 0, got 0"),
        (
            lambda: random_erasing(area=(0.5, 1.1)),
            "random_erasing: area must be two shares from 0 to 1, the smaller first, got (0.5, 1.1)",
        ),
        (
            lambda: random_erasing(ratio=(0, 1)),
            "random_erasing: ratio must be two numbers above 0, the smaller first, got (0, 1)",
        ),
    ]:
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == message
