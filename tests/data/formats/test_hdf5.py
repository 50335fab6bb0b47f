"""HDF5 files: pixels and encoded images, labels of all kinds, groups and shards, and files that are wrong."""

import contextlib
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.damage import survives
from support.small_images import error, load

from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data.decode import read_square
from jaxconv.data.fingerprint import fingerprint
from jaxconv.data.formats import hdf5
from jaxconv.data.stream import evaluation_stream

h5py = pytest.importorskip("h5py")
VLEN = h5py.vlen_dtype(np.uint8)


@pytest.fixture
def write(tmp_path):
    """`write(name, **datasets)`: an HDF5 file; names may have groups, as in `train__images`."""

    def made(file, **datasets):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        hdf5._file.cache_clear()  # HDF5 does not overwrite a file that its process has open
        with h5py.File(path, "w") as opened:
            for name, value in datasets.items():
                encoded = isinstance(value, list) and isinstance(value[0], bytes)
                value = [np.frombuffer(each, np.uint8) for each in value] if encoded else value
                opened.create_dataset(name.replace("__", "/"), data=value, dtype=VLEN if encoded else None)
        return path

    return made


def everything(loaded):
    """Images and labels of both parts, by row."""
    parts = loaded.train, loaded.test
    rows = [int(name.rpartition(" ")[2]) for part in parts for name in part.files]
    found = [part[k] for part in parts for k in range(len(part))]
    return {row: found[k] for k, row in enumerate(rows)}


def test_pixels_of_any_shape_are_resized_as_pictures_are(write, rng, tmp_path):
    from PIL import Image

    pixels = rng.integers(0, 256, (6, 20, 33, 3)).astype(np.uint8)
    for array in (pixels, pixels[..., :1], pixels[..., 0], pixels[:, :16, :16]):
        path = write("x.h5", images=array, labels=[0, 1] * 3)
        for row, (image, label) in everything(load(path)).items():
            Image.fromarray(array[row].squeeze()).save(tmp_path / "x.png")
            np.testing.assert_array_equal(image, read_square(tmp_path / "x.png", 16))
            assert label == row % 2


def test_encoded_images(write, files, expected):
    opaque = np.zeros([12], np.dtype(f"V{max(map(len, files))}"))
    for row, content in enumerate(files):
        opaque[row] = np.void(content.ljust(opaque.dtype.itemsize, b"\0"))
    for images in (files, opaque):
        loaded = load(write("x.hdf5", image=images, label=[k % 3 for k in range(12)], classes=["z", "y", "猫"]))
        assert loaded.classes == ("z", "y", "猫")
        for row, (image, label) in everything(loaded).items():
            np.testing.assert_array_equal(image, expected[row])
            assert label == row % 3
    assert loaded.train.files[0].startswith("x.hdf5/image: row ")


def test_groups_and_shards(write, files, expected, tmp_path):
    groups = {"Train__images": files[:9], "Train__labels": ["b", "a", "c"] * 3}
    path = write("one.h5", **groups, val__images=files[9:], val__labels=["a", "b", "c"])
    write("several/train-0.h5", images=files[:5], labels=(["b", "a", "c"] * 2)[:5])
    write("several/train-1.h5", images=files[5:9], labels=["c", "b", "a", "c"])
    write("several/test.h5", images=files[9:], labels=["a", "b", "c"])
    for root in (path, tmp_path / "several"):
        loaded = load(root)
        assert loaded.classes == ("a", "b", "c")
        assert (loaded.train.labels.tolist(), loaded.test.labels.tolist()) == ([1, 0, 2] * 3, [0, 1, 2])
        copy = pickle.loads(pickle.dumps(loaded.train))
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(lambda _, copy=copy: np.stack([copy[k][0] for k in range(9)]), range(8)):
                np.testing.assert_array_equal(found, expected[:9])
        np.testing.assert_array_equal([loaded.test[k][0] for k in range(3)], expected[9:])
    assert loaded.train.files[4:6] == ("train-0.h5/images: row 4", "train-1.h5/images: row 0")
    assert load(path).train.files[0] == "one.h5/Train/images: row 0"


@pytest.mark.slow
def test_workers(write, files):
    source = load(write("x.h5", images=files, labels=[0, 1] * 6)).train
    want = [source[k][0] for k in range(len(source))]
    with evaluation_stream(source, len(source), workers=2) as batches:
        np.testing.assert_array_equal(next(batches).image, want)


@pytest.mark.parametrize("names", [None, ["sea", "sun"]])
def test_several_labels_and_targets(write, files, names):
    labels = np.array([[0, 1], [1, 1], [0, 0], [1, 0]] * 3)
    more = {} if names is None else {"classes": names}
    loaded = load(write("x.h5", images=files, labels=labels, **more))
    assert (loaded.task, loaded.classes) == ("multilabel", tuple(names or ("0", "1")))
    assert all(found.tolist() == labels[row].tolist() for row, (_, found) in everything(loaded).items())
    loaded = load(write("x.h5", images=files, labels=labels / 3, **more))
    assert (loaded.task, loaded.classes) == ("regression", tuple(names or ("0", "1")))
    path = write("x.h5", images=files, a=labels[:, 0].astype(bool), b=labels[:, 1], age=np.arange(12) / 7)
    assert load(path, labels=["b", "a"]).classes == ("b", "a")
    loaded = load(path, targets=["age"])
    assert all(found == np.float32(row / 7) for row, (_, found) in everything(loaded).items())
    path = write("x.h5", images=files, label=["x y", "", "y", "z"] * 3)
    loaded = load(path, label_separator=" ")
    assert (loaded.classes, everything(loaded)[4][1].tolist()) == (("x", "y", "z"), [1, 1, 0])


def test_labels_of_one_column_and_names_of_datasets(write, files):
    path = write("x.h5", photos=files, kind=np.array([[2], [0], [1]] * 4), other=np.zeros([12, 4]))
    loaded = load(path, label_column="kind")
    assert loaded.classes == ("0", "1", "2")
    assert (
        error(path) == f"{path} must have a column 'label', found kind, other, photos; data.label_column names another"
    )
    assert error(path, image_column="photo", label_column="kind") == (
        f"{path} must have a column 'photo', found kind, other, photos; data.image_column = 'photos'?"
    )
    write("x.h5", photos=files, more=files, label=[0] * 12)
    assert error(path) == (
        f"{path} must have one dataset of images, found label (int64 [12]), more (object [12]), photos (object [12]); "
        "data.image_column names it"
    )


def test_the_fingerprint_sees_labels_and_images(write, files):
    prints = []
    for images, last in ((files, 1), (files, 0), ([*files[:-1], files[-1] + b"x"], 1)):
        prints.append(str(fingerprint(load(write("x.h5", images=images, labels=[0, 1] * 5 + [0, last])))))
    assert len({*prints}) == 3


def test_files_that_are_truncated_or_replaced(write, files):
    path = write("x.h5", images=files, labels=[0, 1] * 6)
    content, source = path.read_bytes(), load(path).train
    for length in (len(content) - 1, len(content) // 2, 100, 0):
        path.write_bytes(content[:length])
        assert error(path).startswith(f"cannot read {path}, which is truncated, damaged or of another format: ")
    with pytest.raises(DataError) as caught:
        source[0]
    assert str(caught.value) == f"{path} was changed while it was read; begin again"
    write("x.h5", images=[b"no image", *files[1:]], labels=[0, 1] * 6)
    assert error(path, in_memory=True) == f"{path}/images: row 0 is not a readable picture"
    assert load(path, in_memory=True, corrupt="skip").skipped == (f"{path}/images: row 0 is not a readable picture",)


PIXELS = np.zeros([4, 8, 9, 3], np.uint8)
MUST = "uint8 [N, H, W] or [N, H, W, C] of 1 or 3 channels, or files of images as variable-length uint8 [N]"


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"images": PIXELS / 2}, f"'images' must be {MUST}; found float64 [4, 8, 9, 3]"),
        ({"images": PIXELS.transpose(0, 3, 1, 2)},
         f"'images' must be {MUST}; found uint8 [4, 3, 8, 9]; it looks channels-first"),
        ({"images": np.zeros([4, 8, 9, 4], np.uint8)}, f"'images' must be {MUST}; found uint8 [4, 8, 9, 4]"),
        ({"images": PIXELS[0, 0]}, f"'images' must be {MUST}; found uint8 [9, 3]"),
        ({"images": PIXELS[:, :0]}, f"'images' must be {MUST}; found uint8 [4, 0, 9, 3]"),
        ({"image__x": PIXELS}, "must have one dataset of images, found labels (int64 [4]); data.image_column names it"),
        ({"images": PIXELS[:3]}, "3 images but 4 labels"),
        ({"images": PIXELS[:0], "labels": np.zeros([0], int)}, "holds no images"),
        ({"images": PIXELS, "labels": [0, 1, 2, 0.5]},
         "'labels' must be whole numbers or text, found float64 [4]; data.targets = ['labels'] predicts numbers"),
        ({"images": PIXELS, "labels": np.eye(4)}, "labels must be classes [N], found one-hot rows; labels.argmax(1)"),
        ({"images": PIXELS, "labels": np.full([4, 2], 2)}, "images: row 0: 0 must be 0 or 1, got 2"),
        ({"images": PIXELS, "labels": np.array([[0, 1.5]] * 3 + [[np.nan, 0]])},
         "images: row 3: 0 must be a finite number, got nan"),
        ({"images": PIXELS, "labels": np.zeros([4, 2, 2], int)},
         "'labels' must be whole numbers or text [N], found int64 [4, 2, 2]"),
        ({"images": PIXELS, "classes": [1, 2]}, "'classes' must be text [N], found int64 [2]"),
        ({"images": PIXELS, "labels": [0, 1, 2, 1], "classes": ["a", "b"]},
         "images: row 2: its label must lie in 0..1, got 2"),
        ({"images": PIXELS, "labels": [[0, 1], [1, 1]] * 2, "classes": ["a"]}, "1 classes but 2 labels of each image"),
    ],
)  # fmt: skip
def test_datasets_that_are_wrong(write, datasets, message):
    path = write("x.h5", **{"labels": [0, 1, 0, 1]} | datasets)
    assert error(path).removeprefix(str(path)).lstrip(": /") == message


def test_shards_and_parts_of_other_kinds(write, files, tmp_path):
    write("set/train-0.h5", images=files, labels=[0] * 12, classes=["a"])
    second = write("set/train-1.h5", images=files, labels=[0] * 12)
    assert error(second.parent) == f"{second} must have the classes of train-0.h5, found none"
    write("set/train-1.h5", images=files, labels=[[0, 1], [1, 1]] * 6, classes=["a"])
    assert error(second.parent) == f"{second} must have labels as train-0.h5, int64 [N], found int64 [N, 2]"
    second.unlink()
    write("set/test.h5", images=files, labels=[[0.5, 1]] * 12, classes=["a"])
    write("set/train-0.h5", images=files, labels=[0] * 12, classes=["a"])
    assert error(second.parent) == f"{tmp_path / 'set' / 'test.h5'}: 1 classes but 2 labels of each image"
    write("set/test.h5", images=files, labels=[[0.5]] * 12, classes=["a"])
    assert error(second.parent) == (
        f"{tmp_path / 'set'}: the labels of both parts must be of one kind, found train-0.h5 int64 [N], test.h5 "
        "float32 [N, 1]"
    )


def test_without_h5py(write, files, monkeypatch):
    path = write("x.h5", images=files, labels=[0, 1] * 6)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert error(path, ConfigError) == 'HDF5 files need h5py, the "data" extra: python -m pip install "jaxconv[data]"'


@pytest.mark.slow
def test_damage_anywhere(write, files, rng):
    path = write(
        "x.h5", train__images=files[:8], train__labels=[0, 1] * 4, test__images=files[8:], test__labels=["0"] * 4
    )

    def read(path):
        hdf5._file.cache_clear()
        loaded = load(path, corrupt="skip")
        with contextlib.suppress(DataError):  # of an image
            for index in range(8):
                loaded.train[index]
        return loaded

    content = path.read_bytes()
    path = path.with_name("y.h5")
    refused, whole = survives(read, path, content, lambda loaded: len(loaded.train) == 8, rng, 100)
    assert refused > 90
    assert whole > 20
