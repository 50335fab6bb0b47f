"""Moves by whole pixels against loops and numpy.pad, and how often each is made."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv.augment import expand, flip, shift
from jaxconv.data import Batch

NUMPY_WORD = {"zeros": "constant"}


def moved(images, down, right, padding_mode="zeros"):
    """Images moved by a loop over pixels of their padded selves."""
    border = max(abs(down), abs(right))
    padding = ((0, 0), (border, border), (border, border), (0, 0))
    wide = np.pad(images, padding, NUMPY_WORD.get(padding_mode, padding_mode))
    result = np.zeros_like(images)
    for i, j in np.ndindex(images.shape[1:3]):
        result[:, i, j] = wide[:, i - down + border, j - right + border]
    return result


def moves_made(images, results, moves, padding_mode="zeros"):
    """Which of the moves each image made; exactly one must fit."""
    fits = np.stack([(moved(images, *move, padding_mode) == results).all((1, 2, 3)) for move in moves])
    assert (fits.sum(0) == 1).all()
    return [moves[number] for number in fits.argmax(0)]


def as_likely_as(made, outcomes):
    """All outcomes equally often, by a chi-square test."""
    return scipy.stats.chisquare([made.count(outcome) for outcome in outcomes]).pvalue > 1e-3


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("pixels", "padding_mode", "dtype"),
    [(1, "zeros", np.uint8), (2, "reflect", np.float32), (1, "edge", np.uint8), (2, "wrap", np.uint8)],
)
def test_shift_makes_every_move_equally_often(quick_jit, batch_of, pixels, padding_mode, dtype):
    batch = batch_of((400, 5, 6, 2), dtype)
    result = quick_jit(shift(pixels, padding_mode))(jax.random.key(0), batch)
    assert result.image.dtype == dtype
    moves = list(itertools.product(range(-pixels, pixels + 1), repeat=2))
    assert as_likely_as(moves_made(batch.image, np.asarray(result.image), moves, padding_mode), moves)


@pytest.mark.sampled
@pytest.mark.parametrize("pixels", [1, 2])
def test_expand_makes_five_moves_equally_often(quick_jit, batch_of, pixels):
    batch = batch_of((500, 5, 5, 1))
    result = np.asarray(quick_jit(expand(pixels))(jax.random.key(0), batch).image)
    moves = [(0, 0), (-pixels, 0), (pixels, 0), (0, -pixels), (0, pixels)]
    assert as_likely_as(moves_made(batch.image, result, moves), moves)


@pytest.mark.sampled
@pytest.mark.parametrize("vertical", [False, True])
def test_flip(quick_jit, batch_of, vertical):
    batch = batch_of((400, 3, 4, 2))
    mirrored = np.stack([np.flipud(image) if vertical else np.fliplr(image) for image in batch.image])
    always = quick_jit(flip(1.0, vertical=vertical))
    np.testing.assert_array_equal(always(jax.random.key(0), batch).image, mirrored)
    np.testing.assert_array_equal(always(jax.random.key(1), always(jax.random.key(0), batch)).image, batch.image)
    result = np.asarray(quick_jit(flip(0.3, vertical=vertical))(jax.random.key(0), batch).image)
    chosen = (result == mirrored).all((1, 2, 3))
    assert ((result == batch.image).all((1, 2, 3)) != chosen).all()
    assert scipy.stats.binomtest(int(chosen.sum()), 400, 0.3).pvalue > 1e-3


def test_zero_changes_nothing():
    batch = Batch(jnp.ones([2, 4, 4, 1]), jnp.zeros(2, int), jnp.ones(2))
    assert shift(0)(jax.random.key(0), batch) is batch


def test_messages():
    for call, message in [
        (lambda: shift(-1), "shift: pixels must be a whole number, 0 or more, got -1"),
        (lambda: shift(1.0), "shift: pixels must be a whole number, 0 or more, got 1.0"),
        (
            lambda: shift("2", "refelct"),
            "shift: pixels must be a whole number, 0 or more, got '2'\n"
            "shift: padding_mode must be one of zeros, reflect, edge, wrap; got 'refelct'; did you mean 'reflect'?",
        ),
        (lambda: expand(0), "expand: pixels must be a whole number, 1 or more, got 0"),
        (lambda: flip(1.5), "flip: probability must be a number from 0 to 1, got 1.5"),
        (lambda: flip(True), "flip: probability must be a number from 0 to 1, got True"),
        (lambda: flip(vertical=1), "flip: vertical must be true or false, got 1"),
    ]:
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == message
    with pytest.raises(ShapeError, match="'reflect' can pad spatial axis 0, which has 1 cell, by at most 0"):
        shift(1, "reflect")(jax.random.key(0), Batch(jnp.zeros([1, 1, 1, 1]), jnp.zeros(1, int), jnp.ones(1)))


def test_alternating_flips_show_both_sides_in_two_epochs(quick_jit, batch_of):
    """Half of the images are flipped in the even epochs, the others in the odd ones, whatever the key."""
    batch = batch_of((1000, 2, 3, 1))
    order = np.random.default_rng(0).permutation(5000)[:1000].astype(np.int32)
    run, results = quick_jit(flip(alternate=True)), []
    for epoch in range(4):
        numbered = batch._replace(index=order, epoch=np.full(1000, epoch, np.int32))
        result = np.asarray(run(jax.random.key(epoch), numbered).image)
        results.append((result == batch.image[:, :, ::-1]).all((1, 2, 3)))
    first, second, third, fourth = results
    np.testing.assert_array_equal([first, second], [third, fourth])
    np.testing.assert_array_equal(first, ~second)
    assert 450 < first.sum() < 550
    assert scipy.stats.binomtest(int((first[1:] == first[:-1]).sum()), 999).pvalue > 1e-3


def test_alternating_flips_of_one_image_do_not_depend_on_its_batch(quick_jit, batch_of):
    batch = batch_of((8, 2, 3, 1))._replace(index=np.arange(8, dtype=np.int32), epoch=np.zeros(8, np.int32))
    back = jax.tree.map(lambda values: values[::-1], batch)
    run = quick_jit(flip(alternate=True))
    np.testing.assert_array_equal(run(jax.random.key(0), batch).image[::-1], run(jax.random.key(1), back).image)


def test_alternating_flips_need_index_and_epoch(batch_of):
    with pytest.raises(ShapeError, match=r"flip\(alternate=True\) needs the index and epoch of each image"):
        flip(alternate=True)(jax.random.key(0), batch_of((2, 2, 2, 1)))
    with pytest.raises(ConfigError, match="flip: alternate must be true or false, got 'yes'"):
        flip(alternate="yes")
