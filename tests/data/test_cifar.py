"""Both CIFAR sets in every form they come in, small ones made by the format's description, and the real one."""

import collections
import dataclasses
import hashlib
import io
import os
import pathlib
import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from jaxconv import data
from jaxconv._base.errors import DataError
from jaxconv.data import cifar, download

COUNT = 7
UNPACK = pathlib.Path(os.environ.get("JAXCONV_DATA", "")) / "unpack_cifar10.py"


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request):
    return request.param


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Sets of 7 images a file, an empty cache, and nowhere to download from."""
    for key, known in list(cifar.CIFAR_SETS.items()):
        binary = dataclasses.replace(known.binary, md5=())
        change = dataclasses.replace(known, binary=binary, images=(COUNT,) * len(known.images))
        monkeypatch.setitem(cifar.CIFAR_SETS, key, change)
    for module in (cifar, download):
        monkeypatch.setattr(module, "cache_folder", lambda key: tmp_path / "cache" / key)
    monkeypatch.setattr(cifar, "BASES", ("http://127.0.0.1:9/",))
    monkeypatch.delenv("JAXCONV_DATA", raising=False)


@pytest.fixture
def made(rng, name):
    """Images [files, 7, 32, 32, 3] and labels of each kind [files, 7]."""
    known = cifar.CIFAR_SETS[name]
    files = len(known.images)
    images = rng.integers(0, 256, (files, COUNT, 32, 32, 3)).astype(np.uint8)
    return images, {kind: rng.integers(0, count, (files, COUNT)) for kind, count in known.labels.items()}


def contents(name, version, made):
    """The bytes of each file, by the format's description."""
    images, labels = made
    planes = images.transpose(0, 1, 4, 2, 3).reshape(*images.shape[:2], 3072)
    for index in range(len(images)):
        if version == "binary":
            columns = [labels[kind][index][:, None].astype(np.uint8) for kind in labels]
            yield np.concatenate([*columns, planes[index]], axis=1).tobytes()
        else:
            batch = {b"batch_label": b"a batch", b"data": planes[index], b"filenames": [b"a.png"] * COUNT}
            # Two lists, as published, and protocol 2 with bytes keys as Python 2 leaves them.
            yield pickle.dumps(batch | {kind.encode(): labels[kind][index].tolist() for kind in labels}, protocol=2)


def write(folder, name, version, made):
    folder.mkdir(parents=True, exist_ok=True)
    known = getattr(cifar.CIFAR_SETS[name], version)
    for file, content in zip(known.files, contents(name, version, made), strict=True):
        (folder / file).write_bytes(content)
    return [folder / file for file in known.files]


def pack(folder, name, version, made, monkeypatch):
    """The archive as published, and its size and checksum known."""
    known = cifar.CIFAR_SETS[name]
    inner = getattr(known, version)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.addfile(directory(inner.folder))
        for file, content in zip(inner.files, contents(name, version, made), strict=True):
            member = tarfile.TarInfo(f"{inner.folder}/{file}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    packed = stream.getvalue()
    remote = download.RemoteFile(inner.archive.name, len(packed), hashlib.md5(packed).hexdigest())
    change = dataclasses.replace(known, **{version: dataclasses.replace(inner, archive=remote)})
    monkeypatch.setitem(cifar.CIFAR_SETS, name, change)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / remote.name).write_bytes(packed)
    return folder / remote.name


def directory(name):
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    return member


def check(loaded, made, kind):
    images, labels = made
    np.testing.assert_array_equal(loaded.train.images, images[:-1].reshape(-1, 32, 32, 3))
    np.testing.assert_array_equal(loaded.test.images, images[-1])
    np.testing.assert_array_equal(loaded.train.labels, labels[kind][:-1].ravel())
    np.testing.assert_array_equal(loaded.test.labels, labels[kind][-1])
    assert loaded.mean == pytest.approx(images[:-1].reshape(-1, 3).mean(0), rel=1e-9)
    assert loaded.std == pytest.approx(images[:-1].reshape(-1, 3).std(0), rel=1e-9)


@pytest.mark.parametrize("version", ["binary", "python"])
@pytest.mark.parametrize("place", ["folder", "published", "archive", "named", "variable"])
def test_every_form_in_every_place(tmp_path, monkeypatch, name, version, place, made):
    base = tmp_path / "mine"
    known = getattr(cifar.CIFAR_SETS[name], version)
    if place == "archive":
        pack(base, name, version, made, monkeypatch)
    else:
        inner = {"folder": base, "published": base / known.folder, "named": base / name}.get(place, base)
        write(inner, name, version, made)
    if place == "variable":
        monkeypatch.setenv("JAXCONV_DATA", str(base))
    loaded = data.load(name, None if place == "variable" else base)
    check(loaded, made, "labels" if name == "cifar10" else "fine_labels")
    assert len(loaded.classes) == (10 if name == "cifar10" else 100)


@pytest.mark.parametrize("version", ["binary", "python"])
def test_the_coarse_labels(tmp_path, version, rng):
    made = (
        rng.integers(0, 256, (2, COUNT, 32, 32, 3)).astype(np.uint8),
        {"coarse_labels": rng.integers(0, 20, (2, COUNT)), "fine_labels": rng.integers(0, 100, (2, COUNT))},
    )
    write(tmp_path, "cifar100", version, made)
    loaded = data.load("cifar100", tmp_path, coarse=True)
    check(loaded, made, "coarse_labels")
    assert len(loaded.classes) == len(set(loaded.classes)) == 20
    assert len(set(data.load("cifar100", tmp_path).classes)) == 100


def error(name, root):
    with pytest.raises(DataError) as caught:
        data.load(name, root)
    return str(caught.value)


def test_damaged_binary_files(tmp_path, name, made):
    victim = write(tmp_path, name, "binary", made)[0]
    content, size = victim.read_bytes(), COUNT * (3072 + len(made[1]))
    victim.write_bytes(content[:-1])
    fetch = "delete it and fetch it again"
    assert error(name, tmp_path) == f"{victim} is truncated: expected {size:,} bytes, found {size - 1:,}; {fetch}"
    victim.write_bytes(content + b"x")
    assert error(name, tmp_path) == f"{victim} has bytes too many: expected {size:,} bytes, found {size + 1:,}; {fetch}"
    victim.write_bytes(b"")
    assert error(name, tmp_path) == f"{victim} is truncated: expected {size:,} bytes, found 0; {fetch}"
    kind, count = list(cifar.CIFAR_SETS[name].labels.items())[-1]
    victim.write_bytes(content[: len(made[1]) - 1] + bytes([200]) + content[len(made[1]) :])
    assert error(name, tmp_path) == f"{victim} was altered: {kind} must lie in 0..{count - 1}, image 0 has 200"


def test_an_altered_file_of_known_checksum(tmp_path, monkeypatch, rng):
    made = rng.integers(0, 256, (6, COUNT, 32, 32, 3)).astype(np.uint8), {"labels": np.zeros([6, COUNT], int)}
    victim = write(tmp_path, "cifar10", "binary", made)[0]
    known = cifar.CIFAR_SETS["cifar10"]
    binary = dataclasses.replace(known.binary, md5=("0" * 32,) * 6)
    monkeypatch.setitem(cifar.CIFAR_SETS, "cifar10", dataclasses.replace(known, binary=binary))
    found = hashlib.md5(victim.read_bytes()).hexdigest()
    assert error("cifar10", tmp_path) == (
        f"{victim} was altered: expected md5 {'0' * 32}, found {found}; delete it and fetch it again"
    )


class Code:
    """Runs when it is unpickled by a reader that lets it."""

    def __reduce__(self):
        return os.mkdir, (os.environ["CIFAR_TEST_PROOF"],)


def test_a_pickle_with_code_in_it_runs_nothing(tmp_path, monkeypatch, name, made):
    proof = tmp_path / "it ran"
    monkeypatch.setenv("CIFAR_TEST_PROOF", str(proof))
    victim = write(tmp_path / "set", name, "python", made)[0]
    victim.write_bytes(pickle.dumps({b"data": Code()}, protocol=2))
    assert error(name, tmp_path / "set") == (
        f"{victim} asks for {os.mkdir.__module__}.mkdir: only plain data is read from a pickle, nothing in it was run"
    )
    assert not proof.exists()
    pickle.loads(victim.read_bytes())
    assert proof.exists(), "the test's own pickle must be one that does run"


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (eval, "builtins.eval"),
        (subprocess.Popen, "subprocess.Popen"),
        (collections.OrderedDict(a=1), "collections.OrderedDict"),
        (np.random.default_rng(0), "numpy.random._pickle.__generator_ctor"),
        (np.load, "numpy.load"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_no_other_name_is_admitted(tmp_path, made, name, value, asked, protocol):
    victim = write(tmp_path, name, "python", made)[0]
    victim.write_bytes(pickle.dumps({"data": value}, protocol=protocol))
    asked = asked.replace("builtins", "__builtin__") if protocol == 2 else asked
    message = error(name, tmp_path)
    assert message.startswith(f"{victim} asks for ")
    assert message.endswith(": only plain data is read from a pickle, nothing in it was run")
    assert asked.rpartition(".")[2] in message


def test_damaged_pickles(tmp_path, name, made):
    victim = write(tmp_path, name, "python", made)[0]
    whole = pickle.loads(victim.read_bytes())
    kind = "labels" if name == "cifar10" else "fine_labels"

    def message(change):
        victim.write_bytes(pickle.dumps(change, protocol=2))
        return error(name, tmp_path).removeprefix(f"{victim}")

    for cut in (0, 1, 50, 10_000):
        victim.write_bytes(pickle.dumps(whole, protocol=2)[:cut])
        assert error(name, tmp_path).startswith(f"{victim} is truncated or altered: not a complete pickle (")
    without = {key: value for key, value in whole.items() if key != b"data"}
    assert message(without) == f" holds no data; found {', '.join(key.decode() for key in without)}"
    assert message([1]) == " must hold a dict, found a list"
    assert message(whole | {b"data": whole[b"data"][:3]}) == ": data must be uint8 [7, 3072], found uint8 [3, 3072]"
    assert message(whole | {kind.encode(): [1, 2]}) == f": {kind} must be 7 whole numbers, found int64 [2]"
    count = cifar.CIFAR_SETS[name].labels[kind]
    assert message(whole | {kind.encode(): [-1] * 7}) == (
        f" was altered: {kind} must lie in 0..{count - 1}, image 0 has -1"
    )


def test_a_damaged_archive(tmp_path, name, made, monkeypatch):
    archive = pack(tmp_path, name, "binary", made, monkeypatch)
    content = archive.read_bytes()
    archive.write_bytes(content[:-100])
    assert error(name, tmp_path).startswith(f"{archive} is truncated: expected {len(content):,} bytes, found ")
    for damaged, words in [
        (content[:-100], "is truncated or altered: its archive is incomplete ("),
        (b"no archive", "is truncated or altered: its archive is incomplete ("),
    ]:
        known = cifar.CIFAR_SETS[name]
        remote = download.RemoteFile(archive.name, len(damaged), hashlib.md5(damaged).hexdigest())
        change = dataclasses.replace(known, binary=dataclasses.replace(known.binary, archive=remote))
        monkeypatch.setitem(cifar.CIFAR_SETS, name, change)
        archive.write_bytes(damaged)
        assert error(name, tmp_path).startswith(f"{archive} {words}")


def test_a_root_that_lacks_files(tmp_path, name, made):
    known = cifar.CIFAR_SETS[name]
    missing = write(tmp_path, name, "binary", made)[1]
    missing.unlink()
    assert error(name, tmp_path) == (
        f"data.root = {tmp_path} does not hold {name}; it, or {tmp_path / name}, must have "
        f"{known.binary.archive.name} or, also in {known.binary.folder}, {', '.join(known.binary.files)} or "
        f"{known.python.archive.name} or, also in {known.python.folder}, {', '.join(known.python.files)}"
    )
    nowhere = tmp_path / "nowhere"
    assert error(name, nowhere) == f"data.root = {nowhere} does not hold {name}: there is no such folder"


def test_it_is_downloaded_once(tmp_path, name, made, monkeypatch, serve):
    published = tmp_path / "published"
    archive = pack(published, name, "binary", made, monkeypatch)
    monkeypatch.setattr(cifar, "BASES", (serve(published),))
    check(data.load(name), made, "labels" if name == "cifar10" else "fine_labels")
    archive.unlink()
    assert [path.name for path in (tmp_path / "cache" / name).iterdir()] == [archive.name]
    check(data.load(name), made, "labels" if name == "cifar10" else "fine_labels")


def test_where_it_cannot_be_downloaded(tmp_path, name):
    lines = error(name, None).splitlines()
    assert lines[0] == f"{name} is not on this machine and could not be downloaded:"
    archive = cifar.CIFAR_SETS[name].binary.archive
    assert lines[3] == f"  {archive.name}  ({archive.size:,} bytes, md5 {archive.md5})"


@pytest.mark.skipif(not UNPACK.is_file(), reason="needs JAXCONV_DATA with unpack_cifar10.py")
@pytest.mark.slow
def test_the_real_set(tmp_path, monkeypatch):
    monkeypatch.undo()
    subprocess.run([sys.executable, UNPACK, tmp_path], check=True, capture_output=True)
    loaded = data.load("cifar10", tmp_path)
    assert loaded.train.images.shape == (50_000, 32, 32, 3)
    assert loaded.test.images.shape == (10_000, 32, 32, 3)
    np.testing.assert_array_equal(np.bincount(loaded.train.labels), [5000] * 10)
    assert loaded.mean == pytest.approx((0.4914 * 255, 0.4822 * 255, 0.4465 * 255), abs=0.013)
    assert loaded.std == pytest.approx((0.2470 * 255, 0.2435 * 255, 0.2616 * 255), abs=0.013)
    assert [loaded.classes[label] for label in loaded.test.labels[:4]] == ["cat", "ship", "ship", "airplane"]
