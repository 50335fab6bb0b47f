"""Folders of photographs: layouts, the split, what may lie in them and what may not, in memory and not."""

import os
import pickle

import numpy as np
import pytest
from PIL import Image
from support.small_images import error, load

from jaxconv import data
from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data import Arrays
from jaxconv.data.encoded import EncodedImages


@pytest.mark.parametrize(
    "names",
    [("train", name) for name in ("val", "valid", "validation", "dev", "eval", "test", "Val", "TEST")]
    + [("Training", "Testing"), ("TRAIN", "VAL")],
)
def test_train_and_val(photographs, names):
    train, test = names
    root = photographs({f"{train}/dog": 3, f"{train}/cat": 2, f"{test}/cat": 1, f"{test}/dog": 2})
    loaded = load(root)
    assert loaded.name == "photographs"
    assert loaded.classes == ("cat", "dog")
    assert loaded.image_shape == (16, 16, 3)
    assert loaded.train.files == ("cat/000.jpg", "cat/001.jpg", "dog/000.jpg", "dog/001.jpg", "dog/002.jpg")
    assert loaded.train.labels.tolist() == [0, 0, 1, 1, 1]
    assert loaded.test.labels.tolist() == [0, 1, 1]
    image, label = loaded.train[2]
    assert (image.shape, image.dtype, label) == ((16, 16, 3), np.uint8, 1)
    assert loaded.mean == pytest.approx((123.675, 116.28, 103.53))
    assert loaded.std == pytest.approx((58.395, 57.12, 57.375))


@pytest.mark.parametrize("inner", ["", "train/"])
def test_classes_alone_are_split(photographs, inner):
    root = photographs({f"{inner}{name}": count for name, count in (("a", 20), ("b", 10), ("train", 5), ("c", 1))})
    loaded = load(root, test_share=0.2, seed=3)
    assert loaded.classes == ("a", "b", "c", "train")
    names = {*loaded.train.files, *loaded.test.files}
    assert len(loaded.train) + len(loaded.test) == len(names) == 36
    np.testing.assert_array_equal(np.bincount(loaded.test.labels), [4, 2, 0, 1])
    assert load(root, test_share=0.2, seed=3).test.files == loaded.test.files
    assert load(root, test_share=0.2, seed=4).test.files != loaded.test.files
    for source in (loaded.train, loaded.test):
        assert [loaded.classes[label] for label in source.labels] == [file.split("/")[0] for file in source.files]


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif", "ppm", "JPG"])
def test_formats(photographs, suffix):
    loaded = load(photographs({"a": 3}, suffix=suffix))
    assert len(loaded.train) == 2
    assert loaded.train[0][0].std() > 5


def test_in_memory_equals_decoding_on_access(photographs):
    root = photographs({"train/a": 5, "train/b": 4, "val/a": 1, "val/b": 1})
    lazy = load(root)
    for in_memory in (True, "auto"):
        loaded = load(root, in_memory=in_memory)
        assert isinstance(loaded.train, Arrays)
        for part in ("train", "test"):
            source = getattr(lazy, part)
            expected = np.stack([source[index][0] for index in range(len(source))])
            np.testing.assert_array_equal(getattr(loaded, part).images, expected)
            np.testing.assert_array_equal(getattr(loaded, part).labels, source.labels)


def test_auto_keeps_a_large_set_on_disk(photographs, monkeypatch):
    root = photographs({"a": 4})
    monkeypatch.setattr("jaxconv.data.images.IN_MEMORY_BYTES", 4 * 16 * 16 * 3)
    assert isinstance(load(root, in_memory="auto").train, Arrays)
    monkeypatch.setattr("jaxconv.data.images.IN_MEMORY_BYTES", 4 * 16 * 16 * 3 - 1)
    assert isinstance(load(root, in_memory="auto").train, EncodedImages)


def test_measured_moments(photographs):
    root = photographs({"train/a": 6, "val/a": 1})
    loaded = load(root, mean="measure", std="measure", in_memory=True)
    pixels = loaded.train.images.reshape(-1, 3).astype(np.float64)
    assert loaded.mean == pytest.approx(pixels.mean(0))
    assert loaded.std == pytest.approx(pixels.std(0))
    assert load(root, mean=[1, 2, 3], std="measure").mean == (1.0, 2.0, 3.0)
    gray = load(root, channels=1)
    assert gray.image_shape == (16, 16, 1)
    assert gray.mean == pytest.approx((114.495,))


def damage(path, kind):
    content = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path.write_text("no picture at all")


@pytest.mark.parametrize("kind", ["truncated", "empty", "text"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp"])
def test_damaged_images(photographs, kind, suffix):
    root = photographs({"train/a": 4, "val/a": 1}, suffix=suffix)
    victim = root / "train" / "a" / f"002.{suffix}"
    damage(victim, kind)
    loaded = load(root)
    with pytest.raises(DataError) as caught:
        loaded.train[2]
    message = str(caught.value)
    assert str(victim) in message
    if kind != "truncated":
        assert message == f"{victim} is not a readable picture"
    assert error(root, in_memory=True) == message
    skipped = load(root, in_memory=True, corrupt="skip", mean="measure")
    assert skipped.skipped == (message,)
    kept = [0, 1, 3]
    np.testing.assert_array_equal(skipped.train.images, np.stack([loaded.train[index][0] for index in kept]))
    assert len(skipped.train.labels) == 3


def test_a_set_of_damaged_images_alone(photographs):
    root = photographs({"train/a": 2, "val/a": 1})
    for file in (root / "train" / "a").iterdir():
        damage(file, "empty")
    assert error(root, in_memory=True, corrupt="skip") == (
        f"none of the 2 images in {root / 'train'} can be read; "
        f"the first: {root / 'train' / 'a' / '000.jpg'} is not a readable picture"
    )


def test_hidden_files_and_lone_ones_are_passed_over(photographs):
    root = photographs({"a": 2, "b": 2})
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._000.jpg"):
        (root / "a" / name).write_bytes(b"x")
    (root / ".cache").mkdir()
    (root / "README.txt").write_text("about")
    loaded = load(root)
    assert loaded.classes == ("a", "b")
    assert len(loaded.train) + len(loaded.test) == 4


def test_what_a_folder_must_not_be(photographs, tmp_path):
    root = photographs({"train/a": 2, "train/b": 1, "train/e": 1, "val/a": 1, "val/c": 1, "val/d": 1, "val/e": 1})
    assert error(root) == f"{root}: train and val must have the same classes; only train has b; only val has c, d"
    nowhere, file = tmp_path / "nowhere", tmp_path / "file"
    file.write_text("")
    assert error(nowhere) == f"data.root = {nowhere} does not exist; it must be a folder or a file of images"
    endings = ".zip, .csv, .tsv, .parquet, .arrow, .tar, .h5, .hdf5, .lmdb"
    assert error(file) == f"data.root = {file} must be a folder of images, or end in {endings}: it is a file"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert error(empty) == (
        f"{empty} has no subfolders for the classes: put images in {empty}/<class>/, "
        f"or in {empty}/train/<class>/ and {empty}/val/<class>/"
    )
    (empty / "cat").mkdir()
    (empty / "dog").mkdir()
    assert error(empty) == f"{empty}: every class needs images, found none in cat, dog"
    for number in range(7):
        (empty / "cat" / f"{number}.txt").write_text("x")
    (empty / "dog" / "more").mkdir()
    listed = ", ".join(f"cat/{number}.txt" for number in range(5))
    assert error(empty) == (
        f"{empty} has files that are not images "
        "(.jpg, .jpeg, .jfif, .png, .webp, .bmp, .tif, .tiff, .gif, .ppm, .pgm, .pbm, "
        f".pnm, .avif): {listed} and 2 more; move it elsewhere"
    )


def test_images_to_test_on_without_classes(photographs):
    root = photographs({"train/a": 2, "val": 2})
    assert error(root) == f"{root / 'val'} has no subfolders for the classes: put images in {root / 'val'}/<class>/"


def test_arguments_out_of_range(photographs):
    root = photographs({"a": 2})
    given = {"size": 0, "channels": 3, "test_share": 1.0, "seed": -1, "mean": (1.0,), "std": (0.0, 1.0, 1.0)}
    assert error(root, ConfigError, **given).splitlines() == [
        "data.size: must be at least 1, got 0",
        "data.test_share: must lie between 0 and 1, got 1.0",
        "data.seed: must be at least 0, got -1",
        "data.mean: must have a number for each of 3 channels, got [1.0]",
        "data.std: must be greater than 0, got [0.0, 1.0, 1.0]",
    ]
    assert error(root, ConfigError, channels=2) == "data.channels: must be 1 or 3, got 2"
    assert error(root, ConfigError, corrupt="skp") == "data.corrupt: must be 'fail' or 'skip', got 'skp'"
    assert error(root, ConfigError, in_memory="yes") == "data.in_memory: must be true or false or 'auto', got 'yes'"


def test_one_image_cannot_be_split(photographs):
    assert error(photographs({"a": 1})) == "photographs test holds no images"


def test_a_source_travels_to_other_processes(photographs):
    source = load(photographs({"a": 3})).train
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy[1][0], source[1][0])


def test_links_to_images_count(photographs, tmp_path):
    root = photographs({"a": 2})
    Image.new("RGB", (20, 20)).save(tmp_path / "elsewhere.png")
    (root / "a" / "linked.png").symlink_to(tmp_path / "elsewhere.png")
    loaded = load(root)
    assert len(loaded.train) + len(loaded.test) == 3


def loop(path):
    path.symlink_to(path.name)


def nowhere(path):
    path.symlink_to("gone")


@pytest.mark.parametrize("link", [loop, nowhere])
def test_links_that_lead_nowhere(photographs, link):
    root = photographs({"train/a": 3, "val/a": 1})
    victim = root / "train" / "a" / "001.jpg"
    victim.unlink()
    link(victim)
    reason = "Too many levels of symbolic links" if link is loop else "No such file or directory"
    assert len(load(root).train) == 3
    assert error(root, in_memory=True) == f"cannot read {victim}: {reason}"
    skipped = load(root, in_memory=True, corrupt="skip")
    assert skipped.skipped == (f"cannot read {victim}: {reason}",)
    assert len(skipped.train) == 2
    link(root / "train" / "b")
    assert error(root) == f"{root / 'train'} has broken links: b"


def test_folders_of_a_class_belong_to_it_as_in_torchvision(photographs):
    root = photographs({"train/b/2": 2, "train/b/1/x": 1, "train/a": 3, "train/a/猫 .d": 1, "val/b": 1, "val/a/z": 1})
    (root / "train" / "a" / ".thumbs").mkdir()
    Image.new("RGB", (9, 9)).save(root / "train" / "a" / ".thumbs" / "hidden.png")
    loaded = load(root)
    walked = {path.relative_to(root / "train").as_posix() for path in (root / "train").rglob("*.jpg")}
    assert set(loaded.train.files) == walked
    assert [loaded.classes[label] for label in loaded.train.labels] == [file[0] for file in loaded.train.files]
    assert np.bincount(loaded.train.labels).tolist() == [4, 3]
    assert loaded.test.files == ("a/z/000.jpg", "b/000.jpg")
    in_memory = load(root, in_memory=True).train
    np.testing.assert_array_equal(in_memory.images[-1], loaded.train[len(loaded.train) - 1][0])


def test_a_linked_folder_of_a_class(photographs, tmp_path):
    root = photographs({"a": 1, "b": 2})
    (root / "a" / "more").symlink_to(photographs({"c": 3}, root=tmp_path / "elsewhere") / "c")
    assert np.bincount(np.concatenate([load(root).train.labels, load(root).test.labels])).tolist() == [4, 2]


@pytest.mark.parametrize("root", ["~/photographs", "$PLACE/photographs", "${PLACE}/photographs", "~/x/../photographs"])
def test_a_home_and_a_variable_in_the_root(photographs, monkeypatch, root):
    home = str(photographs({"a": 3, "b": 2, "../x": 0}).parent)
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("PLACE", home)
    loaded = load(root)
    assert len(loaded.train) + len(loaded.test) == 5


def test_a_root_one_level_too_high(photographs):
    root = photographs({"photos/a": 2, "photos/b": 2})
    assert error(root) == f"{root} has one class, photos, of folders alone: data.root = {root / 'photos'}?"


def test_a_folder_in_itself(photographs):
    root = photographs({"a": 2, "b": 2})
    (root / "a" / "again").symlink_to("..")
    assert error(root).endswith(": a/again; move it elsewhere")
    (root / "a" / "again").unlink()
    (root / "a" / "other").symlink_to("../b")
    (root / "b" / "other").symlink_to("../a")
    assert error(root).endswith(": a/other/other, b/other/other; move it elsewhere")


def test_a_fifo_is_no_image(photographs):
    root = photographs({"a": 2})
    os.mkfifo(root / "a" / "x.jpg")
    assert error(root).endswith(": a/x.jpg; move it elsewhere")


def test_a_folder_that_may_not_be_read(photographs, monkeypatch):
    root = photographs({"a": 2})
    real = os.scandir

    def scandir(path):  # tests may run as root, who may read everything
        if path == root / "a":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert error(root) == f"cannot read the folder {root / 'a'}: Permission denied"


def test_the_former_name_of_the_dataset(photographs):
    root = photographs({"a": 4, "b": 2})
    former = data.load("folder", root, size=16, in_memory=False)
    assert (former.train.files, former.classes) == (load(root).train.files, ("a", "b"))
