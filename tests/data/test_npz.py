"""The user's own arrays in one file."""

import io

import numpy as np
import pytest

from jaxconv import data
from jaxconv.errors import DataError

NAMES = ("train_images", "train_labels", "test_images", "test_labels")
KERAS = ("x_train", "y_train", "x_test", "y_test")


@pytest.fixture
def arrays(rng):
    return {
        "train_images": rng.integers(0, 256, (9, 6, 5, 3)).astype(np.uint8),
        "train_labels": np.arange(9) % 4,
        "test_images": rng.integers(0, 256, (4, 6, 5, 3)).astype(np.uint8),
        "test_labels": np.arange(4),
    }


@pytest.fixture
def write(tmp_path):
    def write(arrays):
        np.savez_compressed(tmp_path / "mine.npz", **arrays)
        return tmp_path / "mine.npz"

    return write


@pytest.mark.parametrize("names", [NAMES, KERAS])
@pytest.mark.parametrize("labels", [np.uint8, np.int32, np.int64, "column"])
def test_what_it_holds(write, arrays, names, labels):
    column = labels == "column"
    kept = {key: value if "images" in key or column else value.astype(labels) for key, value in arrays.items()}
    kept |= {key: value[:, None] for key, value in kept.items() if "labels" in key and column}
    loaded = data.load("npz", write(dict(zip(names, kept.values(), strict=True))))
    np.testing.assert_array_equal(loaded.train.images, arrays["train_images"])
    np.testing.assert_array_equal(loaded.test.labels, arrays["test_labels"])
    assert loaded.train.labels.dtype == np.int32
    assert (loaded.name, loaded.classes) == ("mine", ("0", "1", "2", "3"))
    pixels = arrays["train_images"].reshape(-1, 3)
    assert loaded.mean == pytest.approx(pixels.mean(0))
    assert loaded.std == pytest.approx(pixels.std(0))


@pytest.mark.parametrize("kind", [str, bytes])
def test_grey_images_and_names_of_classes(write, arrays, kind):
    grey = {key: value[..., 0] if "images" in key else value for key, value in arrays.items()}
    names = np.array([kind("cat", "ascii") if kind is bytes else "cat", *([b"x"] if kind is bytes else ["x"]) * 4])
    loaded = data.load("npz", write(grey | {"classes": names}))
    assert loaded.image_shape == (6, 5, 1)
    assert loaded.classes == ("cat", "x", "x", "x", "x")


def test_a_channel_that_never_varies_can_be_divided_by(write, arrays):
    arrays["train_images"][..., 1] = 7
    loaded = data.load("npz", write(arrays))
    assert (loaded.mean[1], loaded.std[1]) == (7.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("test_images"),
         "{path} holds no test_images (or x_test); found train_images, train_labels, test_labels"),
        (lambda a: a.clear(), "{path} holds no train_images (or x_train), train_labels (or y_train), "
         "test_images (or x_test), test_labels (or y_test); found nothing"),
        (lambda a: a.update(train_images=a["train_images"] / np.float32(255)),
         "{path}: train_images must be uint8, found float32; if they mean 0 to the brightest: "
         "(255 * images).round().astype('uint8')"),
        (lambda a: a.update(test_images=a["test_images"].astype(np.int64)),
         "{path}: test_images must be uint8, found int64; if they mean 0 to the brightest: images.astype('uint8')"),
        (lambda a: a.update(train_images=a["train_images"].reshape(9, -1)),
         "{path}: train_images must be [N, H, W, C] or [N, H, W], found [9, 90]"),
        (lambda a: a.update(train_images=np.moveaxis(np.zeros([9, 6, 5, 3], np.uint8), -1, 1)),
         "{path}: train_images [9, 3, 6, 5] looks channels-first; "
         "np.moveaxis(images, 1, -1) puts the channels last"),
        (lambda a: a.update(train_labels=np.eye(9)), "{path}: train_labels must be whole numbers [N], "
         "found float64 [9, 9]"),
        (lambda a: a.update(train_labels=np.arange(8)), "{path}: 9 train_images but 8 train_labels"),
        (lambda a: a.update(train_labels=np.arange(9) - 1), "{path}: train_labels must count classes from 0, "
         "found -1 to 7"),
        (lambda a: a.update(test_images=np.zeros([0, 6, 5, 3], np.uint8), test_labels=np.zeros(0, int)),
         "{path}: test_images holds no images: [0, 6, 5, 3]"),
        (lambda a: a.update(classes=np.array(["a", "b", "c"])), "mine train labels must lie in 0..2, "
         "but go from 0 to 3"),
        (lambda a: a.update(classes=np.arange(4)), "{path}: classes must be text [C], found int64 [4]"),
        (lambda a: a.update(test_images=np.zeros([4, 6, 6, 3], np.uint8)),
         "mine: training images are [6, 5, 3] but test images are [6, 6, 3]"),
        (lambda a: a.update(train_labels=np.array([object()] * 9)), "{path} is no whole .npz file of plain arrays: "
         "Object arrays cannot be loaded when allow_pickle=False"),
    ],
)  # fmt: skip
def test_problems(write, arrays, change, message):
    change(arrays)
    path = write(arrays)
    with pytest.raises(DataError) as caught:
        data.load("npz", path)
    assert str(caught.value) == message.format(path=path)


def test_files_that_are_none(tmp_path, write, arrays):
    path = write(arrays)
    whole = path.read_bytes()
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    for content, words in [
        (whole[:-200], "is no whole .npz file of plain arrays: "),
        (whole[:300] + bytes(50) + whole[350:], "is no whole .npz file of plain arrays: "),
        (b"", "is no whole .npz file of plain arrays: "),
        (b"text", "is no whole .npz file of plain arrays: "),
        (single.getvalue(), "must be a .npz file of several arrays, found a single one"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            data.load("npz", path)
        assert str(caught.value).startswith(f"{path} {words}")
    for wrong, message in [
        (tmp_path, f"data.root = {tmp_path} must be a .npz file, found a folder with mine.npz"),
        (tmp_path / "none.npz", f"cannot read {tmp_path / 'none.npz'}: there is no such file"),
    ]:
        with pytest.raises(DataError) as caught:
            data.load("npz", wrong)
        assert str(caught.value) == message
