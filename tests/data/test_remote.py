"""Data at URLs: every format through fsspec, what is copied again, datasets of Hugging Face, and what is missing."""

import itertools
import os
import re
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from support.small_images import error, load

from jaxconv._base.errors import ConfigError
from jaxconv.data import remote
from jaxconv.data.fingerprint import fingerprint

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "cache_folder", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache" / "remote"


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture
def folder(photographs):
    return photographs({"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1})


@pytest.fixture
def copied(monkeypatch):
    """The names of the files that are copied."""
    seen = []
    original = fsspec.AbstractFileSystem.get_file

    def get_file(system, path, target, *arguments, **options):
        seen.append(path)
        return original(system, path, target, *arguments, **options)

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "get_file", get_file)
    return seen


def same(loaded, expected):
    assert (loaded.classes, fingerprint(loaded)) == (expected.classes, fingerprint(expected))
    for got, want in ((loaded.train, expected.train), (loaded.test, expected.test)):
        for index in range(len(want)):
            np.testing.assert_array_equal(got[index][0], want[index][0])


def test_a_folder_is_copied_once_and_again_where_it_changed(folder, memory, copied, cache):
    memory.put(str(folder), "/bucket/photos", recursive=True)
    for _ in range(2):
        loaded = load("memory://bucket/photos")
        assert len(copied) == 6
    same(loaded, load(folder))
    assert loaded.name == "photos"
    memory.rm("/bucket/photos/train/b/001.jpg")
    memory.pipe("/bucket/photos/train/a/001.jpg", (folder / "train" / "b" / "000.jpg").read_bytes())
    memory.pipe("/bucket/photos/train/a/002.jpg", (folder / "train" / "a" / "000.jpg").read_bytes())
    loaded = load("memory://bucket/photos")
    assert sorted(copied[6:]) == ["/bucket/photos/train/a/001.jpg", "/bucket/photos/train/a/002.jpg"]
    assert loaded.train.files == ("a/000.jpg", "a/001.jpg", "a/002.jpg", "b/000.jpg")
    np.testing.assert_array_equal(loaded.train[1][0], loaded.train[3][0])
    assert not list(cache.rglob("*.partial"))


def test_an_interrupted_copy_continues(folder, memory, copied, monkeypatch, cache):
    memory.put(str(folder), "/photos", recursive=True)
    original, calls = os.replace, itertools.count()

    def full(*paths):
        if next(calls) == 2:
            raise OSError(28, "No space left on device")
        original(*paths)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        message = error("memory://photos")
    assert re.fullmatch(rf"cannot copy memory://photos to {cache}/\w+: No space left on device", message)
    begun = len(copied)
    same(load("memory://photos"), load(folder))
    assert 0 < len(copied) - begun < 6


@pytest.mark.parametrize("kind", ["zip", "tar", "h5"])
def test_files_of_every_kind(folder, memory, tmp_path, kind):
    from PIL import Image

    images = sorted(folder.rglob("train/*/*.jpg"))
    path = tmp_path / f"x.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in images:
                archive.write(file, file.relative_to(folder / "train"))
    elif kind == "tar":
        import tarfile

        with tarfile.open(path, "w") as archive:
            for number, file in enumerate(images):
                (tmp_path / "label").write_text(file.parent.name)
                archive.add(file, f"{number}.jpg")
                archive.add(tmp_path / "label", f"{number}.cls")
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["images"] = np.stack([np.asarray(Image.open(image).resize((9, 8))) for image in images])
            file["labels"] = [0, 0, 1, 1]
    expected = load(path)
    same(load(path.as_uri()), expected)
    memory.put(str(path), f"/set/{path.name}")
    same(load(f"memory://set/{path.name}"), expected)


def test_a_table_with_the_folder_of_its_images(photographs, memory):
    folder = photographs({"pictures": 4})
    (folder / "train.csv").write_text("path,label\n" + "".join(f"pictures/00{k}.jpg,{k % 2}\n" for k in range(4)))
    memory.put(str(folder), "/set", recursive=True)
    same(load("memory://set"), load(folder))
    assert error("memory://set/train.csv").endswith(": pictures/000.jpg (line 2), pictures/001.jpg (line 3), "
                                                    "pictures/002.jpg (line 4), pictures/003.jpg (line 5)")  # fmt: skip


def test_a_folder_in_an_archive_at_a_url(folder, memory, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for file in folder.rglob("*.jpg"):
            archive.write(file, f"inner/{file.relative_to(folder)}")
    memory.put(str(tmp_path / "x.zip"), "/x.zip")
    same(load("zip://inner::memory://x.zip"), load(folder))
    same(load(f"zip://inner::{(tmp_path / 'x.zip').as_uri()}"), load(folder))


def test_a_server(folder, serve, tmp_path):
    pytest.importorskip("aiohttp")
    pytest.importorskip("pyarrow")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for file in folder.rglob("*.jpg"):
            archive.write(file, file.relative_to(folder))
    same(load(f"{serve(tmp_path)}x.zip"), load(tmp_path / "x.zip"))
    url = f"{serve(tmp_path)}x.zip"
    copy = remote.local(url)
    (tmp_path / "x.zip").unlink()
    message = error(url)
    assert message.startswith(f"data.root = {url}: there is no such file or folder: 404, message='File not found'")
    assert message.endswith(f"; an earlier copy is {copy}")
    assert copy.is_file()


@pytest.mark.parametrize(
    ("url", "message", "kind"),
    [
        ("memory://nowhere", "data.root = memory://nowhere: there is no such file or folder", None),
        ("nothing://x", "data.root = nothing://x: Protocol not known: nothing", ConfigError),
    ],
)
def test_urls_that_are_wrong(memory, url, message, kind):
    assert error(url, *([kind] if kind else [])) == message
    memory.makedirs("/empty")
    assert error("memory://empty") == "data.root = memory://empty holds no files"


def test_packages_that_are_missing(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert error("s3://bucket/x.zip", ConfigError) == (
        "data.root = s3://bucket/x.zip needs a package that is not installed: Install s3fs to access S3"
    )
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert error("hf://owner/name", ConfigError) == (
        "data.root = hf://… and others of the hub need datasets: python -m pip install datasets"
    )
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    assert error("memory://x.zip", ConfigError) == (
        'data.root = memory://x.zip and other URLs need fsspec, the "data" extra: python -m pip install "jaxconv[data]"'
    )


def test_paths_that_leave_their_folder(memory, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/../../../b.jpg", b"x")
        archive.writestr("a/c.jpg", b"x")
    assert "must be below its folder" in error(f"zip://::{(tmp_path / 'x.zip').as_uri()}")


OFFLINE = """
import sys
from jaxconv import data
try:
    loaded = data.load("images", sys.argv[1], size=16, in_memory=False)
    print(loaded.classes, len(loaded.train), len(loaded.test), sum(int(loaded.train[k][0].sum()) for k in range(4)))
except ValueError as error:
    print(error)
"""


def offline(root, tmp_path):
    """What a process without a network prints."""
    quiet = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    environment = os.environ | quiet | {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    found = subprocess.run([sys.executable, "-c", OFFLINE, root], env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


@pytest.mark.slow
def test_datasets_of_the_hub_without_a_network(folder, tmp_path):
    pytest.importorskip("datasets")
    pytest.importorskip("pyarrow")
    expected = load(folder)
    total = sum(int(expected.train[k][0].sum()) for k in range(4))
    assert offline(f"hf://{folder}", tmp_path) == f"('a', 'b') 4 2 {total}"
    message = offline("hf://nobody/nothing", tmp_path).splitlines()
    assert message[0].startswith("datasets cannot load nobody/nothing: ")
    assert message[1:] == [
        "  without a network: datasets.load_dataset('nobody/nothing') on another machine, save_to_disk(FOLDER) there, "
        "a copy of FOLDER here, and data.root = FOLDER"
    ]
