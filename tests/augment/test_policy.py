"""Policies against torchvision's, and what they draw."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from port.originals import original

from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv.augment import augmix, rand_augment, trivial_augment
from jaxconv.augment.operations import OPERATIONS, applied, drawn, magnitudes
from jaxconv.augment.policy import AUGMIX, RAND, TRIVIAL, _dirichlet
from jaxconv.data import Batch, Mask

THEIRS = {
    name: {"autocontrast": "AutoContrast"}.get(name, name.title().replace("_", "")) for name in OPERATIONS
}  # "ShearX" for "shear_x"
POLICIES = [(TRIVIAL, "TrivialAugmentWide", 31), (RAND, "RandAugment", 31), (AUGMIX, "AugMix", 10)]


def reference(name):
    """A policy of torchvision with bilinear interpolation."""
    original("torchvision")
    from torchvision.transforms import InterpolationMode, v2

    return getattr(v2, name)(interpolation=InterpolationMode.BILINEAR)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(32, 32), (17, 23), (224, 224)])
@pytest.mark.parametrize(("limits", "name", "bins"), POLICIES)
def test_magnitudes_are_torchvisions(limits, name, bins, size):
    table, space = magnitudes(limits, bins, *size), reference(name)._AUGMENTATION_SPACE
    assert set(space) | {"Identity"} == set(THEIRS.values())
    for own, row in zip(OPERATIONS, table, strict=True):
        make, signed = space.get(THEIRS[own], (lambda *_: None, False))
        theirs = make(bins, *size)
        theirs = np.zeros(bins) if theirs is None else theirs.numpy()
        if "translate" in own:
            theirs = np.trunc(theirs + 1e-4)  # truncated when it is applied; one in float32 is just below 16
        np.testing.assert_allclose(row, theirs, atol=1e-6, err_msg=own)
        assert signed == (own in OPERATIONS[1:10])


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(17, 23), (32, 32), (1, 1)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_torchvisions(quick_jit, rng, name, size, channels):
    """Integers are rounded where it truncates, which it does with the luminance, too."""
    import torch

    theirs = reference("TrivialAugmentWide")
    row = magnitudes(TRIVIAL, 31, *size)[OPERATIONS.index(name)][[0, 7, 18, 30]]
    numbers = np.concatenate([row, -row]) if name in OPERATIONS[1:10] else row
    n = len(numbers)
    whole = rng.integers(0, 256, (n, *size, channels)).astype(np.uint8)
    number = np.full(n, OPERATIONS.index(name))
    for images, peak in [(whole, 255), ((whole / 255).astype(np.float32), 1)]:
        run = quick_jit(lambda x, m, peak=peak: applied(Batch(x, None, None), number, m, "zeros", 0.0, peak).image)
        got = np.asarray(run(images, numbers))
        for index, magnitude in enumerate(numbers):
            image = torch.from_numpy(np.moveaxis(images[index], -1, 0).copy())
            expected = theirs._apply_image_or_video_transform(
                image, THEIRS[name], float(magnitude), interpolation=theirs.interpolation, fill=theirs._fill
            )
            error = np.abs(got[index].astype(float) - np.moveaxis(expected.numpy(), 0, -1))
            exact = name in ("identity", "translate_x", "translate_y", "posterize", "solarize", "equalize")
            allowed = 1 + (name in ("color", "contrast")) if peak == 255 else 5e-4
            assert error.max() <= (1e-5 if exact else allowed), (magnitude, error.max())


@pytest.mark.slow
def test_operations_and_magnitudes_are_equally_likely():
    names = OPERATIONS[3:12]
    table = np.arange(len(OPERATIONS) * 5, dtype=np.float32).reshape(-1, 5) + 1
    operation, magnitude = (np.asarray(v) for v in drawn(jax.random.key(0), 4000, table, names))
    place = np.abs(magnitude).astype(int) - 1
    np.testing.assert_array_equal(place // 5, operation)
    assert set(operation) == {OPERATIONS.index(name) for name in names}
    counts = np.bincount(place, minlength=table.size).reshape(-1, 5)[3:12].ravel()
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    signed = np.isin(operation, range(1, 10))
    assert (magnitude[~signed] > 0).all()
    assert scipy.stats.binomtest(int((magnitude[signed] < 0).sum()), int(signed.sum()), 0.5).pvalue > 1e-3


@pytest.mark.slow
def test_rand_augment_applies_operations_in_turn(quick_jit, batch_of):
    batch = batch_of((30, 9, 7, 3))
    got = quick_jit(rand_augment(20, num_ops=3))(jax.random.key(1), batch).image
    table = magnitudes(RAND, 31, 9, 7)[:, 20:21]
    step = quick_jit(lambda key, batch: applied(batch, *drawn(key, 30, table, OPERATIONS), "zeros", 0.0, 255))
    for key in jax.random.split(jax.random.key(1), 3):
        batch = step(key, batch)
    np.testing.assert_array_equal(got, batch.image)


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "all_ops"), [(None, False), (2, True)])
def test_augmix_is_a_mixture_of_chains(quick_jit, batch_of, depth, all_ops):
    n, batch = 20, batch_of((20, 9, 7, 3), np.float32)
    got = quick_jit(augmix(4, 2, depth, 0.7, "edge", all_ops=all_ops))(jax.random.key(1), batch).image
    table = magnitudes(AUGMIX, 10, 9, 7)[:, :4]
    as_imagenet_c = {"brightness", "color", "contrast", "sharpness"}
    names = [name for name in OPERATIONS[1:] if all_ops or name not in as_imagenet_c]
    mix_key, share_key, depth_key, chain_key = jax.random.split(jax.random.key(1), 4)
    own, other = _dirichlet(mix_key, 0.7, 2, n)
    shares = other * _dirichlet(share_key, 0.7, 2, n)
    lengths = np.full([2, n], 2) if depth else np.asarray(jax.random.randint(depth_key, (2, n), 1, 4))
    expected = own[:, None, None, None] * batch.image
    step = quick_jit(lambda key, x: applied(Batch(x, None, None), *drawn(key, n, table, names), "edge", 0.0, 255).image)
    for share, length, key in zip(shares, lengths, jax.random.split(chain_key, 2), strict=True):
        image = batch.image
        for number, inner in enumerate(jax.random.split(key, depth or 3)):
            image = np.where((number < length)[:, None, None, None], step(inner, image), image)
        expected += share[:, None, None, None] * image
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-2)


@pytest.mark.slow
def test_augmix_draws_its_share_and_one_of_nine_operations(quick_jit):
    """A white pixel at severity 1: solarize makes it black, so that the mixture is the share; others keep 15/16."""
    n = 6000
    batch = Batch(np.ones([n, 1, 1, 1], np.float32), None, None)
    got = np.asarray(quick_jit(augmix(1, width=1, depth=1, peak=1))(jax.random.key(0), batch).image).ravel()
    low = got[got < 15 / 16]
    assert scipy.stats.kstest(low * 16 / 15, "uniform").pvalue > 1e-3
    assert scipy.stats.binomtest(len(low), n, 15 / 16 / 9).pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1.0, 0.3, 4.0])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_shares_are_dirichlets(alpha, count):
    shares = np.asarray(_dirichlet(jax.random.key(0), alpha, count, 2000))
    np.testing.assert_allclose(shares.sum(0), 1, rtol=1e-5)
    if count > 1:
        for share in shares:
            assert scipy.stats.kstest(share, scipy.stats.beta(alpha, (count - 1) * alpha).cdf).pvalue > 1e-3
    assert np.isfinite(_dirichlet(jax.random.key(0), 1e-4, count, 2000)).all()


@pytest.mark.slow
@pytest.mark.parametrize("make", [trivial_augment, rand_augment, augmix])
def test_an_image_is_augmented_alike_wherever_its_draw_is(quick_jit, batch_of, make):
    """Other images in the batch change nothing: no statistic is shared."""
    batch, other = batch_of((8, 9, 7, 3)), batch_of((8, 9, 7, 3))
    mixed = batch._replace(image=np.where((np.arange(8) % 2 == 0)[:, None, None, None], batch.image, other.image))
    augment = quick_jit(make())
    first, second = (np.asarray(augment(jax.random.key(2), given).image) for given in (batch, mixed))
    np.testing.assert_array_equal(first[::2], second[::2])


def test_messages():
    for call, message in [
        (
            lambda: trivial_augment(1, "none", fill=-1, peak=0),
            "trivial_augment: bins must be a whole number, 2 or more, got 1\n"
            "trivial_augment: padding_mode must be one of zeros, reflect, edge, wrap; got 'none'\n"
            "trivial_augment: fill must be a number, 0 or more, got -1\n"
            "trivial_augment: peak must be a number above 0, got 0",
        ),
        (
            lambda: rand_augment(31, num_ops=0),
            "rand_augment: magnitude must be a whole number from 0 to 30, got 31\n"
            "rand_augment: num_ops must be a whole number, 1 or more, got 0",
        ),
        (lambda: rand_augment(10, bins=10), "rand_augment: magnitude must be a whole number from 0 to 9, got 10"),
        (
            lambda: augmix(11, 0, 0, 0, all_ops=1),
            "augmix: severity must be a whole number from 1 to 10, got 11\n"
            "augmix: width must be a whole number, 1 or more, got 0\n"
            "augmix: depth must be a whole number, 1 or more, got 0\n"
            "augmix: alpha must be a number above 0, got 0\n"
            "augmix: all_ops must be true or false, got 1",
        ),
    ]:
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == message
    scene = Batch(jnp.zeros([2, 4, 6, 3]), {"mask": Mask(jnp.zeros([2, 4, 6], jnp.uint8))}, jnp.ones(2))
    with pytest.raises(ShapeError) as refused:
        augmix()(jax.random.key(0), scene)
    assert str(refused.value) == (
        "augmix takes labels of classes: no mask and no box can follow several copies of an image\n"
        "  got: a label with masks or boxes\n  fix: rand_augment, whose masks and boxes follow"
    )
