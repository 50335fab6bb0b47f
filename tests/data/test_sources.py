"""The data sets themselves."""

import os
import pickle

import numpy as np
import pytest

from jaxconv import data
from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data import Arrays, Dataset

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
        "data.name: must be one of digits, shapes, mnist, fashion_mnist, cifar10, cifar100, images, folder, masks, "
        "coco, npz, or \"module:function\"; got 'mnits'; did you mean 'mnist'?"
    )


@pytest.mark.sampled
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
        ({"labels": np.arange(4.0)}, "labels must be integers [N], not float64 [4]"),
        ({"labels": np.arange(4)[:, None]}, "labels must be integers [N], not int64 [4, 1]"),
        ({"labels": np.array([[0, 1], [1, 2]] * 2)}, "several labels of an image must be 0 or 1, image 1 has 2"),
        ({"labels": np.eye(4, 3, dtype=bool)}, "x train labels must be 4 of 0 or 1, but are 3"),
        ({"labels": np.array([0, 1, 2, 1 << 31])}, "labels must be int32, found 0 to 2147483648"),
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


class Dicts:
    """A source as Grain's users write them: dicts, and images without channels."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def test_a_source_of_dicts_is_adapted(rng):
    images = rng.integers(0, 256, (4, 6, 5)).astype(np.uint8)
    source = Dicts([{"image": image, "label": np.int64(label)} for label, image in enumerate(images)])
    part = Dataset("x", source, source, tuple("abcd"), (0.0,), (1.0,)).train
    assert len(part) == 4
    image, label = part[2]
    np.testing.assert_array_equal(image, images[2][..., None])
    assert (label, type(label), part.image_shape, part.items) == (2, int, (6, 5, 1), source.items)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(part))[3][0], images[3][..., None])


def test_a_source_of_tuples_is_taken_as_it_is():
    source = Dicts([(np.zeros([6, 5, 3], np.uint8), 1)])
    assert Dataset("x", source, source, tuple("ab"), (0.0,) * 3, (1.0,) * 3).train is source


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"img": 1, "label": 2}, 'the first image: a source must give (image, label) or {"image": …, "label": …}, '
         "it gave a dict of img, label"),
        (3, 'the first image: a source must give (image, label) or {"image": …, "label": …}, it gave a int'),
        ((np.zeros([6, 5], np.float32), 1), "the first image must be uint8 [H, W, C] or [H, W], not float32 [6, 5]"),
        ((np.zeros([6], np.uint8), 1), "the first image must be uint8 [H, W, C] or [H, W], not uint8 [6]"),
    ],
)  # fmt: skip
def test_a_source_that_gives_something_else(item, message):
    with pytest.raises(DataError) as caught:
        Dataset("x", Dicts([item]), Dicts([item]), ("a",), (0.0,), (1.0,))
    assert str(caught.value) == message


OWN = """
import numpy as np
from jaxconv.data import Arrays, Dataset

def shapes(count: int, side: int = 8, root: str = ""):
    part = Arrays(np.zeros([count, side, side, 1], np.uint8), np.zeros(count, np.int32))
    return Dataset("shapes", part, part, ("a",), (0.0,), (1.0,))

def wrong():
    return 3
"""


def test_a_set_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "own_data.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    assert data.load("own_data:shapes", count=3).image_shape == (8, 8, 1)
    assert data.load("own_data:shapes", "somewhere", count=3, side=4).image_shape == (4, 4, 1)
    for name, arguments, message in [
        ("own_data:wrong", {}, "data.name: own_data:wrong must return a jaxconv Dataset, it returned int"),
        ("own_data:shapes", {"side": "8"}, "data.side: must be a whole number, got '8'\n"
         "data.count: must be given; own_data:shapes has no default for it"),
        ("mnist", {"rot": 1}, "data.rot: mnist takes root; did you mean 'root'?"),
        ("images", {"size": 8}, "data.root: must be given; images has no default for it"),
        ("digits", {"size": 8}, "data.size: digits takes properties"),
    ]:  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            data.load(name, **arguments)
        assert str(caught.value) == message


def test_digits_need_no_root():
    assert len(data.load("digits", "/nowhere").test) == 359


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.uint8, np.int8, np.int32])
def test_integer_labels_become_int32(dtype):
    """NumPy's default is int64."""
    given = np.array([2, 0, 1, 2], dtype)
    source = Arrays(np.zeros([4, 8, 8, 1], np.uint8), given)
    assert source.labels.dtype == np.int32
    np.testing.assert_array_equal(source.labels, given)
    assert (source.labels is given) == (dtype is np.int32)
