"""Trees of images in a .zip file: the same as the folder, read in threads and processes, and damaged archives."""

import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.small_images import error, load

from jaxconv._base.errors import DataError
from jaxconv.data.fingerprint import fingerprint


def packed(folder, path, method=zipfile.ZIP_DEFLATED, above="", folders=False):
    """An archive of the files of a folder, in no order."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            if folders or file.is_file():
                archive.write(file, above + file.relative_to(folder).as_posix())
    return path


@pytest.fixture
def tree(photographs):
    return photographs({"train/b": 4, "train/a": 3, "train/a/z": 1, "val/a": 1, "val/b": 2}, suffix="bmp")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("above", ["", "photographs/"])
@pytest.mark.parametrize("folders", [False, True])
def test_an_archive_equals_its_folder(tree, tmp_path, method, above, folders):
    expected = load(tree)
    loaded = load(packed(tree, tmp_path / "some.ZIP", method, above, folders))
    assert loaded.classes == expected.classes == ("a", "b")
    for got, want in ((loaded.train, expected.train), (loaded.test, expected.test)):
        assert got.files == want.files
        assert got.labels.tolist() == want.labels.tolist()
        for index in range(len(want)):
            np.testing.assert_array_equal(got[index][0], want[index][0])


def test_classes_alone_are_split_as_those_of_the_folder(photographs, tmp_path):
    root = photographs({"a": 9, "b": 5, "c": 2})
    expected, loaded = load(root, seed=3), load(packed(root, tmp_path / "x.zip"), seed=3)
    assert (loaded.train.files, loaded.test.files) == (expected.train.files, expected.test.files)
    in_memory = load(packed(root, tmp_path / "x.zip"), seed=3, in_memory=True, mean="measure")
    np.testing.assert_array_equal(in_memory.test.images[1], expected.test[1][0])


def test_an_archive_is_read_by_many_threads_and_by_copies_of_it(tree, tmp_path):
    source = load(packed(tree, tmp_path / "x.zip")).train
    want = [source[index][0] for index in range(len(source))]
    copy = pickle.loads(pickle.dumps(source))
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: [copy[index][0] for index in range(len(copy))], range(16)):
            np.testing.assert_array_equal(got, want)


def test_what_systems_add_is_ignored(tree, tmp_path):
    path = packed(tree, tmp_path / "x.zip", above="photos/")
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("__MACOSX/photos/train/a/._000.bmp", "photos/.DS_Store", "photos/train/a/Thumbs.db"):
            archive.writestr(name, b"x")
    assert load(path).train.files == load(tree).train.files


def test_the_fingerprint_sees_every_byte(tree, tmp_path):
    path = packed(tree, tmp_path / "x.zip")
    first = fingerprint(load(path))
    assert fingerprint(load(packed(tree, path, zipfile.ZIP_STORED))) == first
    victim = tree / "train" / "a" / "001.bmp"
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    second = fingerprint(load(packed(tree, path)))
    assert second["train"]["sha256"] != first["train"]["sha256"]
    assert second["test"] == first["test"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("keep", [False, True])
def test_a_damaged_member_is_named_and_can_be_skipped(tree, tmp_path, method, keep):
    path = packed(tree, tmp_path / "x.zip", method)
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo("train/a/001.bmp").header_offset
    content = bytearray(path.read_bytes())
    content[at + 60 : at + 70] = bytes(10)
    path.write_bytes(content)
    expected = f"{path / 'train' / 'a' / '001.bmp'} is damaged: its checksum differs from that in x.zip"
    source = load(path).train
    with pytest.raises(DataError) as caught:
        source[1]
    assert str(caught.value) == expected == error(path, in_memory=True)
    assert load(path, in_memory=True, corrupt="skip").skipped == (expected,)


def test_an_archive_that_is_replaced_while_it_is_read(tree, tmp_path):
    path = packed(tree, tmp_path / "x.zip")
    source = load(path).train
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"its checksum differs from that in x\.zip"):
        source[3]
    path.unlink()
    with pytest.raises(DataError, match=r"cannot read .+/x\.zip/train/a/000\.bmp: No such file or directory"):
        source[0]


def test_a_truncated_archive(tree, tmp_path):
    path = packed(tree, tmp_path / "x.zip")
    path.write_bytes(path.read_bytes()[:-100])
    assert error(path) == f"{path} must be a complete .zip file: File is not a zip file"
    path.write_bytes(b"")
    assert error(path) == f"{path} must be a complete .zip file: File is not a zip file"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_occur_twice(tree, tmp_path):
    path = packed(tree, tmp_path / "x.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train/a/000.bmp", b"x")
    assert error(path) == f"{path} has files of one name: train/a/000.bmp; remove all but one of each"


def test_archives_of_another_kind(tree, tmp_path):
    path = packed(tree, tmp_path / "x.zip", zipfile.ZIP_BZIP2)
    assert error(path) == (
        f"{path} has files that are compressed by another method than deflate: train/a/000.bmp, train/a/001.bmp, "
        "train/a/002.bmp, train/a/z/000.bmp, train/b/000.bmp and 6 more; write it anew by zip -r"
    )
    path = packed(tree, path)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1  # a flag of the first member
    path.write_bytes(content)
    assert error(path).startswith(f"{path} has files that are encrypted: val/b/001.bmp; write")


def test_contents_that_are_no_classes(photographs, tmp_path):
    root = photographs({"train/a": 1, "train/b": 1, "val/a": 1, "val/c": 1})
    path = packed(root, tmp_path / "x.zip")
    assert error(path) == f"{path}: train and val must have the same classes; only train has b; only val has c"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.jpg", b"x")
    assert error(path) == (
        f"{path} has no subfolders for the classes: put images in {path}/<class>/, "
        f"or in {path}/train/<class>/ and {path}/val/<class>/"
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.txt", b"x")
        archive.writestr("b/1.jpg", b"x")
    assert error(path).endswith(": a/1.txt; move it elsewhere")
