"""WebDataset's shards: the same images, labels of all kinds, and archives that are wrong."""

import io
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.small_images import error, load

from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data.fingerprint import fingerprint


def write(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def samples(photographs):
    """`samples(rows, labels)`: the members of a shard, of 8 images that also are the classes of a folder."""
    files = sorted(photographs({"a": 4, "b": 4}).rglob("*.jpg"))

    def made(rows, labels):
        for row, label in zip(rows, labels, strict=True):
            key = f"{row:04}" if row else f"some/long.folder/{'n' * 120}"
            yield from [(f"{key}.cls", label.encode()), (f"{key}.jpg", files[row].read_bytes()), (f"{key}.json", b"{}")]

    return made


@pytest.fixture
def expected(samples, photographs):
    source = load(photographs({}), test_share=0.1)
    found = {name: source.train[k][0] for k, name in enumerate(source.train.files)}
    found |= {name: source.test[k][0] for k, name in enumerate(source.test.files)}
    return [found[name] for name in sorted(found)]


@pytest.mark.parametrize(
    "names", [("train-{}.tar", "val-0.tar"), ("train/{}.tar", "val/0.tar"), ("Train_{}.tar", "Test.tar")]
)
def test_shards_equal_the_files(samples, expected, tmp_path, names):
    root = tmp_path / "shards"
    write(root / names[0].format("000000"), samples([0, 1, 2], ["0", "1\n", "2"]))
    write(root / names[0].format("000001"), samples([5, 4], ["1", "0"]))
    write(root / names[1], samples([6, 7, 3], ["2", "2", "0"]))
    loaded = load(root)
    assert (loaded.classes, loaded.train.labels.tolist(), loaded.test.labels.tolist()) == (
        ("0", "1", "2"), [0, 1, 2, 1, 0], [2, 2, 0]
    )  # fmt: skip
    copy = pickle.loads(pickle.dumps(loaded.train))
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: [copy[k][0] for k in range(5)], range(8)):
            np.testing.assert_array_equal(found, [expected[row] for row in (0, 1, 2, 5, 4)])
    np.testing.assert_array_equal(loaded.test[1][0], expected[7])
    assert loaded.train.files[-1] == names[0].format("000001").rpartition("/")[2] + "/0004.jpg"


def test_one_file_of_names(samples, tmp_path):
    path = write(tmp_path / "x.tar", samples(range(8), "zaazzaza"))
    assert load(path).classes == ("a", "z")
    renamed = [
        (name.replace(".cls", ".txt").replace(".jpg", ".image"), content) for name, content in samples([1, 2], "ab")
    ]
    path = write(tmp_path / "x.tar", [*renamed, *((f"0{name}", content) for name, content in renamed)])
    assert load(path, image_column="image", label_column="txt", test_share=0.5).classes == ("a", "b")
    assert error(path) == f"{path} holds no images"
    assert error(path, image_column="image") == f"{path} has samples without .cls: 00001, 00002, 0001, 0002"
    assert error(path, label_column="txt") == f"{path} has samples without .jpg: 00001, 00002, 0001, 0002"
    assert error(path, ConfigError, targets=["age"]) == f"data.targets are columns of tables; {path} has none"


def test_the_fingerprint_sees_labels_and_sizes(samples, tmp_path):
    path, prints = tmp_path / "x.tar", []
    for labels, more in (("aabbaabb", b""), ("aabbaabb", b"x"), ("aabbaaba", b"")):
        members = [(name, content + more * name.endswith("1.jpg")) for name, content in samples(range(8), labels)]
        prints.append(str(fingerprint(load(write(path, members)))))
    assert len({*prints}) == 3


def test_archives_that_are_truncated_or_replaced(samples, tmp_path):
    path = write(tmp_path / "x.tar", samples(range(8), "aabbaabb"))
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1]
    content, source = path.read_bytes(), load(path).train
    for length in (
        last.offset_data + 512,
        last.offset_data,
        last.offset_data + 1,
        last.offset + 1,
        len(content) // 2,
        0,
    ):
        path.write_bytes(content[:length])
        assert error(path).startswith(f"{path} must be a complete .tar file: ")
    with pytest.raises(DataError) as caught:
        source[0]
    assert str(caught.value) == f"{path} was changed while it was read; begin again"
    path.unlink()
    with pytest.raises(DataError, match=r"cannot read .+/x\.tar/.+: No such file or directory"):
        source[0]


def test_samples_that_are_wrong(samples, tmp_path):
    members = list(samples([1, 2, 3, 4], "abab"))
    path = write(tmp_path / "x.tar", [*members, ("0001.png", b"x")])
    assert error(path) == f"{path} has two images of the sample 0001"
    write(path, [*members, ("0001.cls", b"a")])
    assert error(path) == f"{path} has two labels of the sample 0001"
    write(path, [*members, ("0001.seg.png", b"x"), ("9.jpg", b"x")])
    assert error(path) == f"{path} has samples without .cls: 9"
    write(path, [*members, ("9.cls", b"x")])
    assert error(path) == f"{path} has samples without .jpg: 9"
    write(path, [*members, ("9.cls", b"\xff")])
    assert error(path) == f"{path}/9.cls must be a class number or name in UTF-8, got b'\\xff'"
    write(path, [*members, ("9.cls", b" \n")])
    assert error(path) == f"{path}/9.cls must be a class number or name in UTF-8, got b' \\n'"
    write(path, samples([1, 2], ["0", "-1"]))
    assert error(path) == f"{path}: labels must be names, or count classes from 0 up to 65535, found -1 to 0"
    write(path, [*members, ("9.cls", b"a"), ("9.jpg", b"no image")])
    assert error(path, in_memory=True) == f"{path}/9.jpg is not a readable picture"
