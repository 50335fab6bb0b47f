"""LMDB environments: the three layouts of keys, parts, processes, and environments that are wrong."""

import contextlib
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.damage import survives
from support.small_images import error, load

from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data.fingerprint import fingerprint
from jaxconv.data.formats import lmdb as formats
from jaxconv.data.stream import evaluation_stream

lmdb = pytest.importorskip("lmdb")
MUST = "class/name.jpg, or image-000000001 with label-000000001, or be listed in labels.csv beside data.mdb"


@pytest.fixture
def write(tmp_path):
    """`write(name, {key: value})`: an environment, in a folder unless the name has the ending of a file."""

    def made(name, values, subdir=True):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path in formats._OPEN:  # a process can open an environment once
            formats._OPEN.pop(path)[2].close()
        opened = lmdb.open(str(path), map_size=1 << 24, subdir=subdir, lock=False)
        with opened as environment, environment.begin(write=True) as writing:
            writing.drop(environment.open_db(txn=writing), delete=False)
            for key, value in values.items():
                writing.put(key.encode(), value if isinstance(value, bytes) else str(value).encode())
        return path

    return made


@pytest.fixture
def tree(photographs):
    return photographs({"train/b": 4, "train/a": 3, "train/a/z": 1, "val/a": 1, "val/b": 2})


def values(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.jpg"))}


def pairs(folder, labels, first=1):
    found = {}
    for number, (content, label) in enumerate(zip(values(folder).values(), labels, strict=True), first):
        found |= {f"image-{number:09}": content, f"label-{number:09}": label}
    return found


@pytest.mark.parametrize("subdir", [True, False])
def test_keys_that_are_paths(tree, write, subdir):
    expected = load(tree)
    path = write("x.lmdb", values(tree), subdir)
    loaded = load(path)
    assert loaded.classes == expected.classes == ("a", "b")
    for got, want, part in ((loaded.train, expected.train, "train"), (loaded.test, expected.test, "val")):
        rows = [got.files.index(f"{part}/{file}") for file in want.files]
        assert sorted(rows) == list(range(len(want)))
        for row, index in zip(rows, range(len(want)), strict=True):
            np.testing.assert_array_equal(got[row][0], want[index][0])
            assert got[row][1] == want[index][1]
    copy = pickle.loads(pickle.dumps(loaded.train))
    want = [loaded.train[k][0] for k in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: [copy[k][0] for k in range(8)], range(16)):
            np.testing.assert_array_equal(found, want)


@pytest.mark.slow
def test_workers(tree, write):
    source = load(write("x.lmdb", values(tree))).train
    want = [source[k][0] for k in range(8)]
    with evaluation_stream(source, 8, workers=2) as batches:
        np.testing.assert_array_equal(next(batches).image, want)


def test_environments_of_a_folder(tree, write, tmp_path):
    write("set/Train.lmdb", values(tree / "train"))
    write("set/test.lmdb", values(tree / "val"))
    loaded = load(tmp_path / "set")
    assert (loaded.classes, len(loaded.train), len(loaded.test)) == (("a", "b"), 8, 3)
    assert loaded.train.name(0) == str(tmp_path / "set" / "Train.lmdb" / "a" / "000.jpg")
    write("one/x.lmdb", values(tree))
    assert len(load(tmp_path / "one").test) == 3
    write("set/Train-1.lmdb", values(tree / "train"))
    assert error(tmp_path / "set").startswith(f"{tmp_path / 'set'} must have one environment of each part, found ")


def test_numbered_images(tree, write):
    path = write("x.lmdb", pairs(tree, "bababcabcab") | {"num-samples": 11})
    loaded = load(path)
    assert loaded.classes == ("a", "b", "c")
    labels = {
        name: label for part in (loaded.train, loaded.test) for name, label in zip(part.files, part.labels, strict=True)
    }
    assert [labels[f"image-{k:09}"] for k in range(1, 12)] == ["abc".index(letter) for letter in "bababcabcab"]
    renamed = {
        key.replace("image-", "img").replace("label-", "txt"): value
        for key, value in pairs(tree, [k % 4 for k in range(11)]).items()
    }
    path = write("x.lmdb", renamed)
    assert load(path, image_column="img", label_column="txt", test_share=0.4).classes == tuple("0123")
    path = write("x.lmdb", pairs(tree, ["x,y", "x"] * 5 + ["z"]))
    assert load(path, label_separator=",").classes == ("x", "y", "z")
    assert error(path, ConfigError, targets=["age"]) == f"data.targets are columns of tables; {path} has none"


def test_a_table_of_keys(tree, write):
    keys = [f"{number:04}" for number in range(11)]
    path = write("x.lmdb", dict(zip(keys, values(tree).values(), strict=True)))
    assert error(path) == f"{path}: keys must be {MUST}; found 0000, 0001, 0002, 0003, 0004 and 6 more"
    table = path / "labels.csv"
    table.write_text("path,age\n" + "".join(f"{key},{number}\n" for number, key in enumerate(keys)))
    loaded = load(path, targets=["age"])
    assert sorted(loaded.train.labels[:, 0].tolist() + loaded.test.labels[:, 0].tolist()) == list(range(11))
    np.testing.assert_array_equal(loaded.train[0][0], load(write("y.lmdb", values(tree))).train[0][0])
    table.write_text("path,age\n0001,2\n001,3\n")
    assert error(path, targets=["age"]) == f"{table} lists images that are not in {path}: 001 (line 3)"


def test_the_fingerprint_sees_keys_labels_and_sizes(tree, write):
    given = pairs(tree, "ab" * 5 + "a")
    prints = [
        str(fingerprint(load(write(f"{number}.lmdb", given | change))))
        for number, change in enumerate(
            [{}, {"label-000000002": "a"}, {"image-000000002": given["image-000000002"] + b"x"}]
        )
    ]
    assert len({*prints}) == 3


def test_truncated_and_replaced_environments(tree, write):
    path = write("x.lmdb", values(tree))
    data, source = path / "data.mdb", load(path).train
    content = data.read_bytes()
    data.write_bytes(content[: len(content) - 4096])
    assert error(path) == (
        f"{data} is truncated: it must have {len(content):,} bytes, found {len(content) - 4096:,}"
    )  # fmt: skip
    for length in (0, 100, 4095):
        data.write_bytes(content[:length])
        assert error(path).startswith(f"cannot read {path}, which is truncated, damaged or of another format: ")
    data.write_bytes(b"x" * len(content))
    assert error(path).startswith(f"cannot read {path}, which is truncated, damaged or of another format: ")
    with pytest.raises(DataError) as caught:
        source[0]
    assert str(caught.value) == f"{data} was changed while it was read; begin again"


def test_keys_that_are_wrong(tree, write):
    given = pairs(tree, "ab" * 5 + "a")
    for change, message in [
        ({"num-samples": "12"}, "{path}: num-samples must be the number of its images, 11; got '12'"),
        ({"image-000000012": b"x"}, "{path} has samples without a key label-…: image-000000012"),
        ({"label-000000012": "b"}, "{path} has samples without a key image-…: label-000000012"),
        ({"image-12": b"x", "image-000000012": b"x", "label-12": "a"},
         "{path} has two keys of image 12: image-000000012, image-12"),
        ({"label-000000003": b"\xff"}, "{path}/label-000000003 must be a class number or name in UTF-8, got b'\\xff'"),
        ({"label-000000003": b" "}, "{path}/label-000000003 must be a class number or name in UTF-8, got b' '"),
    ]:  # fmt: skip
        path = write("x.lmdb", given | change)
        assert error(path) == message.format(path=path)
    path = write("y.lmdb", {"a/1.jpg": b"x", "b/1.jpg": b"x", "__len__": b"x", "b/2.pickle": b"x", "3.jpg": b"x"})
    assert error(path) == f"{path}: keys must be {MUST}; found 3.jpg, __len__, b/2.pickle"
    path = write("z.lmdb", {"a/1.jpg": b"x", "b/1.jpg": b"x"})
    assert error(path, in_memory=True) == f"{path / 'a' / '1.jpg'} is not a readable picture"
    path = write("empty.lmdb", {})
    assert error(path) == f"{path} holds no images"


def test_without_lmdb(tree, write, monkeypatch):
    path = write("x.lmdb", values(tree))
    monkeypatch.setitem(sys.modules, "lmdb", None)
    assert (
        error(path, ConfigError)
        == 'LMDB environments need lmdb, the "data" extra: python -m pip install "jaxconv[data]"'
    )


@pytest.mark.slow
def test_damage_anywhere(tree, write, rng):
    content = write("x.lmdb", values(tree), subdir=False).read_bytes()

    def read(path):
        if path in formats._OPEN:
            formats._OPEN.pop(path)[2].close()
        loaded = load(path)
        with contextlib.suppress(DataError):  # of an image
            for index in range(len(loaded.train)):
                loaded.train[index]
        return loaded

    path = write("y.lmdb", {}, subdir=False)
    refused, whole = survives(read, path, content, lambda loaded: len(loaded.classes) >= 1, rng, 100)
    assert refused > 90
    assert whole > 20
