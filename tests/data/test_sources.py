"""The data sets themselves."""

import os

import numpy as np
import pytest

from jaxconv import data
from jaxconv.data import Arrays, Dataset
from jaxconv.errors import ConfigError, DataError

REAL = pytest.mark.skipif(not os.environ.get("JAXCONV_DATA"), reason="needs JAXCONV_DATA")


def test_digits_is_split_by_class_and_loses_nothing():
    from sklearn.datasets import load_digits

    digits, source = data.load("digits"), load_digits()
    assert digits.train.images.shape == (1438, 8, 8, 1)
    assert digits.test.images.shape == (359, 8, 8, 1)
    assert digits.peak == source.images.max() == 16
    shares = np.bincount(digits.test.labels) / np.bincount(source.target)
    assert np.abs(shares - 0.2).max() < 0.01
    every = np.concatenate([digits.train.images, digits.test.images]).reshape(-1, 64)
    expected = source.images.astype(np.uint8).reshape(-1, 64)
    assert sorted(map(bytes, every)) == sorted(map(bytes, expected))
    np.testing.assert_array_equal(data.load("digits").test.images, digits.test.images)
    assert digits.mean == pytest.approx((digits.train.images.mean(),))
    assert digits.std == pytest.approx((digits.train.images.std(),))


def test_an_unknown_name():
    with pytest.raises(ConfigError) as caught:
        data.load("mnits")
    assert str(caught.value) == (
        "data.name must be one of digits, mnist, fashion_mnist; got 'mnits'; did you mean 'mnist'?"
    )


@REAL
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_sets(name):
    loaded = data.load(name)
    assert loaded.train.images.shape == (60000, 28, 28, 1)
    assert loaded.test.images.shape == (10000, 28, 28, 1)
    assert set(np.unique(loaded.test.labels)) == set(range(10))
    # Moments from the histogram: the mean of 47 million pixels in floats would be off, and slow.
    parts = np.array_split(loaded.train.images, 20)
    counts = np.sum([np.bincount(part.ravel(), minlength=256) for part in parts], axis=0)
    mean = (counts * np.arange(256)).sum() / counts.sum()
    std = np.sqrt((counts * (np.arange(256) - mean) ** 2).sum() / counts.sum())
    assert loaded.mean == pytest.approx((mean,), abs=1e-5)
    assert loaded.std == pytest.approx((std,), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.arange(3, dtype=np.int32)}, "4 images but 3 labels"),
        ({"labels": np.arange(4)}, "labels must be int32 [N], not int64 [4]"),
        ({"images": np.zeros([4, 8, 8], np.uint8)}, "images must be uint8 [N, H, W, C], not uint8 [4, 8, 8]"),
        ({"labels": np.arange(1, 5, dtype=np.int32)}, "x train labels must lie in 0..3, but go from 1 to 4"),
        (
            {"images": np.zeros([4, 9, 8, 1], np.uint8)},
            "x: training images are [9, 8, 1] but test images are [8, 8, 1]",
        ),
        (
            {"images": np.zeros([0, 8, 8, 1], np.uint8), "labels": np.zeros(0, np.int32)},
            "x train holds no images",
        ),
    ],
)
def test_parts_must_agree(change, message):
    fields = {"images": np.zeros([4, 8, 8, 1], np.uint8), "labels": np.arange(4, dtype=np.int32)}
    with pytest.raises(DataError) as caught:
        Dataset("x", Arrays(**(fields | change)), Arrays(**fields), tuple("abcd"), mean=(0.0,), std=(1.0,))
    assert str(caught.value) == message
