"""The data sets themselves."""

import os

import numpy as np
import pytest

from jaxconv import data
from jaxconv.data import Dataset
from jaxconv.errors import ConfigError, DataError

REAL = pytest.mark.skipif(not os.environ.get("JAXCONV_DATA"), reason="needs JAXCONV_DATA")


def test_digits_is_split_by_class_and_loses_nothing():
    from sklearn.datasets import load_digits

    digits, source = data.load("digits"), load_digits()
    assert digits.train_images.shape == (1438, 8, 8, 1)
    assert digits.test_images.shape == (359, 8, 8, 1)
    assert digits.peak == source.images.max() == 16
    shares = np.bincount(digits.test_labels) / np.bincount(source.target)
    assert np.abs(shares - 0.2).max() < 0.01
    every = np.concatenate([digits.train_images, digits.test_images]).reshape(-1, 64)
    expected = source.images.astype(np.uint8).reshape(-1, 64)
    assert sorted(map(bytes, every)) == sorted(map(bytes, expected))
    np.testing.assert_array_equal(data.load("digits").test_images, digits.test_images)
    assert digits.mean == pytest.approx((digits.train_images.mean(),))
    assert digits.std == pytest.approx((digits.train_images.std(),))


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
    assert loaded.train_images.shape == (60000, 28, 28, 1)
    assert loaded.test_images.shape == (10000, 28, 28, 1)
    assert set(np.unique(loaded.test_labels)) == set(range(10))
    # Moments from the histogram: the mean of 47 million pixels in floats would be off, and slow.
    parts = np.array_split(loaded.train_images, 20)
    counts = np.sum([np.bincount(part.ravel(), minlength=256) for part in parts], axis=0)
    mean = (counts * np.arange(256)).sum() / counts.sum()
    std = np.sqrt((counts * (np.arange(256) - mean) ** 2).sum() / counts.sum())
    assert loaded.mean == pytest.approx((mean,), abs=1e-5)
    assert loaded.std == pytest.approx((std,), abs=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": np.arange(3, dtype=np.int32)}, "x: 4 images but 3 labels"),
        ({"train_labels": np.arange(4)}, "labels must be int32 [N], not int64 [4]"),
        ({"train_labels": np.arange(1, 5, dtype=np.int32)}, "labels must lie in 0..3, but go from 1 to 4"),
        ({"train_images": np.zeros([4, 8, 8], np.uint8)}, "images must be uint8 [N, H, W, C], not uint8 [4, 8, 8]"),
        ({"test_images": np.zeros([4, 9, 8, 1], np.uint8)}, "are [8, 8, 1] but test images are [9, 8, 1]"),
    ],
)
def test_parts_must_agree(change, message):
    images, labels = np.zeros([4, 8, 8, 1], np.uint8), np.arange(4, dtype=np.int32)
    fields = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    with pytest.raises(DataError) as caught:
        Dataset("x", **(fields | change), classes=tuple("abcd"), mean=(0.0,), std=(1.0,))
    assert message.removeprefix("x: ") in str(caught.value)
