"""The user's own arrays in one file."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from support.damage import survives

from jaxconv import data
from jaxconv._base import limits
from jaxconv._base.errors import DataError
from jaxconv._base.npz import read_arrays

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
def test_gray_images_and_names_of_classes(write, arrays, kind):
    gray = {key: value[..., 0] if "images" in key else value for key, value in arrays.items()}
    names = np.array([kind("cat", "ascii") if kind is bytes else "cat", *([b"x"] if kind is bytes else ["x"]) * 4])
    loaded = data.load("npz", write(gray | {"classes": names}))
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
        (lambda a: a.update(train_labels=np.eye(9) / 2), "{path}: the labels of both parts must be of one kind, "
         "found train_labels float32 [N, 9], test_labels int32 [N]"),
        (lambda a: a.update(train_labels=np.arange(8)), "{path}: 9 train_images but 8 train_labels"),
        (lambda a: a.update(train_labels=np.arange(9) - 1), "{path}: train_labels must count classes from 0, "
         "found -1 to 7"),
        (lambda a: a.update(test_images=np.zeros([0, 6, 5, 3], np.uint8), test_labels=np.zeros(0, int)),
         "{path}: test_images holds no images: [0, 6, 5, 3]"),
        (lambda a: a.update(classes=np.array(["a", "b", "c"])), "mine train labels must lie in 0..2, "
         "but go from 0 to 3"),
        (lambda a: a.update(classes=np.array([b"a", b"b", b"c", b"\xff"])), "{path}: classes must be text that UTF-8 "
         "can write: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (lambda a: a.update(classes=np.array(["a", "b", "c", "\ud800"])), "{path}: classes must be text that UTF-8 "
         "can write: 'utf-8' codec can't encode character '\\ud800' in position 3: surrogates not allowed"),
        (lambda a: a.update(train_labels=np.array([0] * 8 + [2**31 - 1])), "{path}: labels must count at most 65,536 "
         "classes where these have no names, found 0 to 2147483647; np.searchsorted(np.unique(train_labels), labels) "
         "counts those that occur"),
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


@pytest.mark.parametrize(
    ("scale", "dtype"), [(1, np.float32), (255, np.float64), (255, np.int16), (65535, np.uint16), (65535, np.float32)]
)
def test_the_fix_in_the_message_keeps_the_pictures(write, arrays, scale, dtype):
    share = np.linspace(0, 1, 9 * 6 * 5 * 3).reshape(9, 6, 5, 3)
    images = (share * scale).astype(dtype)
    with pytest.raises(DataError) as caught:
        data.load("npz", write(arrays | {"train_images": images}))
    fixed = eval(str(caught.value).rpartition(": ")[2], {"images": images})
    assert fixed.dtype == np.uint8
    np.testing.assert_allclose(fixed, 255 * share, atol=1)


@pytest.mark.parametrize(
    ("value", "words"), [(-3, "from -3.0 to 1.0"), (np.nan, "from nan to nan"), (1e9, "1000000000.0")]
)
def test_no_fix_is_named_for_values_that_mean_nothing(write, arrays, value, words):
    images = np.ones([9, 6, 5, 3])
    images[0, 0, 0] = value
    with pytest.raises(DataError) as caught:
        data.load("npz", write(arrays | {"train_images": images}))
    assert words in str(caught.value)
    assert "if they mean" not in str(caught.value)


def test_names_of_classes_may_be_many_and_labels_few(write, arrays):
    arrays["train_labels"][0] = 65535
    assert len(data.load("npz", write(arrays)).classes) == 65536
    arrays["train_labels"][0] = 65536
    named = arrays | {"classes": np.array([str(number) for number in range(65537)])}
    assert data.load("npz", write(named)).classes[-1] == "65536"


def member(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header(shape, dtype="|u1"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("x.npy", member(np.ones(2))), ("x.npy", member(np.zeros(2)))],
         "{path} must hold each name once; more than once there: x.npy"),
        ([("x.npy", member(np.ones(2))), ("x", member(np.zeros(2)))],
         "{path} must hold each name once; more than once there: x"),
        ([("x.npy", header((1 << 34,)) + bytes(1 << 16))], "{path} is no whole .npz file of plain arrays: x.npy "
         "promises uint8 [17179869184], 17,179,869,184 bytes; 65,536 are stored"),
        ([("x.npy", header((2,), "<f8") + bytes(17))], "{path} is no whole .npz file of plain arrays: x.npy "
         "promises float64 [2], 16 bytes; 17 are stored"),
        ([("x.npy", header((1 << 40,), "|S0"))], "{path} is no whole .npz file of plain arrays: x.npy "
         "promises |S0 [1099511627776], 0 bytes; 0 are stored"),
        ([("x.npy", header((-1, -4)) + bytes(4))], "{path} is no whole .npz file of plain arrays: x.npy "
         "promises uint8 [-1, -4], 4 bytes; 4 are stored"),
        ([("x.npy", header((2,)).replace(b"NUMPY\x01", b"NUMPY\x03") + bytes(2))],
         "{path} is no whole .npz file of plain arrays: x.npy has version (3, 0) of the format"),
        ([("x.txt", b"text")], "{path} is no whole .npz file of plain arrays: EOF: reading magic string, "
         "expected 8 bytes got 4"),
    ],
)  # fmt: skip
def test_heads_that_are_not_true(tmp_path, members, message):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    with pytest.raises(DataError) as caught:
        read_arrays(path)
    assert str(caught.value) == message.format(path=path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.zeros(8 << 20, np.uint8))
    assert path.stat().st_size < 1 << 14
    monkeypatch.setattr(limits, "process_memory_bytes", lambda: 4 << 20)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"x.npz must fit into memory: it unpacks to 0.0 GiB, there are 0.0 GiB"):
        read_arrays(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("places", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_damage_anywhere(tmp_path, rng, arrays, packed, places):
    arrays = arrays | {"classes": np.array(["cat", "dog", "ä", "x"]), "more": rng.normal(size=(2, 3))}
    path = tmp_path / "x.npz"
    (np.savez_compressed if packed else np.savez)(path, **arrays)

    def is_right(found):
        known = found.keys() & arrays.keys()
        return len(found) == len(arrays) and all(np.array_equal(found[name], arrays[name]) for name in known)

    refused, whole = survives(read_arrays, path, path.read_bytes(), is_right, rng, places)
    assert refused > places // 2
    assert whole > 0  # dates and permissions of members, for example


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda labels: labels + 1, "labels must count classes from 0, found 1 to "),
        (lambda labels: labels * 10 + 10, "labels must count classes from 0, found 10 to "),
        (lambda labels: np.eye(3)[labels], "must be whole numbers [N], found float64 ["),
        (lambda labels: labels.astype(np.float32), "must be whole numbers [N], found float32 ["),
    ],
    ids=["from 1", "tens", "one-hot", "float"],
)
def test_the_fix_in_the_message_gives_the_classes(write, arrays, change, words):
    labels = {"train": np.arange(9) % 3, "test": 1 + np.arange(4) % 2}
    for part, values in labels.items():
        arrays[f"{part}_labels"] = change(values)
    with pytest.raises(DataError) as caught:
        data.load("npz", write(arrays))
    assert words in str(caught.value)
    fix = str(caught.value).split("; ")[-1].split(": ")[-1]
    given = {"np": np, "train_labels": arrays["train_labels"]}
    for part in labels:
        arrays[f"{part}_labels"] = eval(fix, given | {"labels": arrays[f"{part}_labels"]})
    found = data.load("npz", write(arrays))
    for part, values in labels.items():
        np.testing.assert_array_equal(getattr(found, part).labels, values)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_several_labels_of_each_image(write, arrays, rng, dtype):
    labels = {part: rng.integers(0, 2, (len(arrays[f"{part}_images"]), 3)) for part in ("train", "test")}
    for values in labels.values():
        values[0] = 1  # not one-hot
    found = data.load("npz", write(arrays | {f"{part}_labels": own.astype(dtype) for part, own in labels.items()}))
    assert (found.task, found.classes) == ("multilabel", ("0", "1", "2"))
    for part, own in labels.items():
        np.testing.assert_array_equal(getattr(found, part).labels, own)
        assert getattr(found, part).labels.dtype == np.int32


@pytest.mark.parametrize("targets", [1, 3])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_numbers_of_each_image(write, arrays, rng, targets, dtype):
    labels = {p: rng.normal(size=(len(arrays[f"{p}_images"]), targets)).astype(dtype) for p in ("train", "test")}
    names = np.array(["height", "width", "angle"][:targets])
    found = data.load("npz", write(arrays | {f"{p}_labels": own for p, own in labels.items()} | {"classes": names}))
    assert (found.task, found.classes) == ("regression", tuple(names))
    for part, own in labels.items():
        np.testing.assert_array_equal(getattr(found, part).labels, own.astype(np.float32))


def test_numbers_that_do_not_fit(write, arrays, rng):
    labels = {f"{p}_labels": rng.normal(size=(len(arrays[f"{p}_images"]), 2)) for p in ("train", "test")}
    damaged = labels["train_labels"].copy()
    damaged[1, 1] = np.nan
    ones = np.ones([len(damaged), 2])
    for change, words in [
        ({"train_labels": damaged}, "train_labels [N, targets] must be finite, found nan in row 1"),
        ({"test_labels": np.ones([len(labels["test_labels"]), 2], int)},
         "must be of one kind, found train_labels float32 [N, 2], test_labels int32 [N, 2]"),
        ({"train_labels": ones},
         f"must be whole numbers [N], found float64 {list(ones.shape)}; labels.astype('int32')"),
        ({"classes": np.array(["a"])}, "labels must be 1 numbers, but are 2"),
    ]:  # fmt: skip
        with pytest.raises(DataError) as caught:
            data.load("npz", write(arrays | labels | change))
        assert str(caught.value).endswith(words)


def test_several_labels_that_do_not_fit(write, arrays):
    several = {f"{part}_labels": np.ones([len(arrays[f"{part}_images"]), 3], int) for part in ("train", "test")}
    for change, words in [
        ({"test_labels": np.zeros(len(arrays["test_images"]), int)},
         "the labels of both parts must be of one kind, found train_labels int32 [N, 3], test_labels int32 [N]"),
        ({"train_labels": 2 * several["train_labels"]},
         "train_labels [N, labels] must be 0 or 1, found 2 in row 0"),
        ({"classes": np.array(["a", "b"])}, "labels must be 2 of 0 or 1, but are 3"),
    ]:  # fmt: skip
        with pytest.raises(DataError) as caught:
            data.load("npz", write(arrays | several | change))
        assert str(caught.value).endswith(words)


def test_float_labels_between_classes_have_no_fix(write, arrays):
    arrays["train_labels"] = arrays["train_labels"] + 0.5
    with pytest.raises(DataError, match=r"whole numbers \[N\], found float64 \[\d+\]$"):
        data.load("npz", write(arrays))
