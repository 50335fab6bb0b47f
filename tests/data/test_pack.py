"""Packed datasets: the same batches, resumed packings, and sets that are half-written or altered."""

import contextlib
import functools
import json
import sys

import numpy as np
import pytest

from jaxconv import data
from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data import pack as packing
from jaxconv.data.formats.packed import check
from jaxconv.data.order import batch_indices
from jaxconv.data.pack import pack
from jaxconv.data.stream import evaluation_stream, stream

pytest.importorskip("array_record.python.array_record_module")


def load(root, **arguments):
    return data.load("images", root, **{"size": 16, "in_memory": False} | arguments)


def error(function, *arguments, kind=DataError, **options):
    with pytest.raises(kind) as caught:
        function(*arguments, **options)
    return str(caught.value)


def steps(dataset, **options):
    order = functools.partial(batch_indices, 5, batch_size=4, size=len(dataset.train))
    with stream(dataset.train, order, 0, 6, classes=len(dataset.classes), **options) as batches:
        yield from batches
    with evaluation_stream(dataset.test, 3) as batches:
        yield from batches


@pytest.fixture
def root(photographs, monkeypatch):
    monkeypatch.setattr(packing, "SHARD_BYTES", 4 * 16 * 16 * 3)
    monkeypatch.setattr(packing, "SHARD_FILES", 4)
    return photographs({"a": 9, "b": 6, "c": 3})


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_batches_are_the_same_to_the_bit(root, tmp_path, keep, channels):
    given = load(root, channels=channels, mean="measure", std="measure")
    seen = []
    assert pack(given, tmp_path / "packed", keep=keep, report=lambda *counts: seen.append(counts)) == []
    assert seen[-1] == (18, 18)
    shards = [f"train-0000{k}-of-00004.array_record" for k in range(4)] + ["test-00000-of-00001.array_record"]
    if channels == 1 and not keep:  # three times as many in a shard
        shards = ["train-00000-of-00002.array_record", "train-00001-of-00002.array_record", shards[-1]]
    assert {path.name for path in (tmp_path / "packed").iterdir()} == {"packed.json", *shards}
    loaded = load(tmp_path / "packed", channels=channels, mean="measure", std="measure")
    assert (loaded.classes, loaded.mean, loaded.std) == (given.classes, given.mean, given.std)
    for got, want in zip(steps(loaded, threads=3), steps(given), strict=True):
        for one, two in zip(got[:3], want[:3], strict=True):
            np.testing.assert_array_equal(one, two)
    in_memory = load(tmp_path / "packed", channels=channels, in_memory=True)
    np.testing.assert_array_equal(in_memory.train.images[7], given.train[7][0])
    assert check(tmp_path / "packed") == {"train": 15, "test": 3, "shards": len(shards)}


def test_numbers_to_predict(photographs, tmp_path):
    root = photographs({"a": 5})
    (root / "x.csv").write_text("path,age\n" + "".join(f"a/00{k}.jpg,{k / 3}\n" for k in range(5)))
    given = load(root / "x.csv", targets=["age"])
    pack(given, tmp_path / "packed")
    loaded = load(tmp_path / "packed")
    assert (loaded.task, loaded.classes) == ("regression", ("age",))
    np.testing.assert_array_equal(loaded.train.labels, given.train.labels)


def test_a_packing_resumes_after_its_last_shard(root, tmp_path, monkeypatch):
    given = load(root)
    whole, out = tmp_path / "whole", tmp_path / "packed"
    pack(given, whole)
    written = []
    original = packing._write

    def interrupted(path, *arguments):
        if len(written) == 2:
            path.with_name(f".{path.name}").write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(path.name)
        return original(path, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(packing, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pack(given, out)
    partial = tmp_path / "packed.partial"
    assert not out.exists()
    expected = f"{partial} is a half-written packed dataset: the same jaxconv pack again completes it"
    assert error(load, partial) == error(check, partial) == expected
    assert error(pack, load(root, seed=1), out, kind=ConfigError) == (
        f"{partial} was begun from other data or with other options; remove it, or pack elsewhere"
    )
    with monkeypatch.context() as patched:
        patched.setattr(packing, "_write", lambda path, *rest: written.append(path.name) or original(path, *rest))
        pack(given, out)
    assert written == sorted({*written}, key=lambda name: (name[1] == "e", name))
    assert len(written) == 5
    assert not partial.exists()
    assert load(out).train.fingerprint() == load(whole).train.fingerprint()
    assert check(out) == check(whole)
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}
    assert error(pack, given, out, kind=ConfigError) == f"{out} exists; jaxconv pack never overwrites"


def test_a_damaged_image_stops_it_and_leaves_nothing_or_is_left_out(root, tmp_path):
    victim = root / "a" / "000.jpg"
    victim.write_bytes(b"none")
    assert error(pack, load(root), tmp_path / "packed") == f"{victim} is not a readable picture"
    assert {path.name for path in tmp_path.iterdir()} == {"photographs"}
    given = load(root, corrupt="skip")
    assert pack(given, tmp_path / "packed") == [f"{victim} is not a readable picture"]
    loaded = load(tmp_path / "packed")
    assert len(loaded.train) + len(loaded.test) == 17
    np.testing.assert_array_equal(loaded.train[0][0], given.train[1][0])


def test_shards_that_do_not_match_the_manifest(root, tmp_path):
    out = tmp_path / "packed"
    pack(load(root), out)
    shard, manifest = out / "train-00001-of-00004.array_record", out / "packed.json"
    content, listed = shard.read_bytes(), json.loads(manifest.read_text())
    before = load(out).train
    damaged = bytearray(content)
    damaged[1000] ^= 1
    shard.write_bytes(damaged)
    assert error(check, out) == f"{shard} was altered: its checksum differs from that in packed.json"
    with pytest.raises(DataError, match=r"train-00001-of-00004\.array_record was changed while it was read"):
        [before[index] for index in range(len(before))]
    source = load(out).train
    with pytest.raises(DataError, match=r"train-00001-of-00004\.array_record: record \d is damaged: "):
        [source[index] for index in range(len(source))]
    shard.write_bytes(content[:-100])
    assert error(load, out) == (
        f"{shard} was truncated or altered: it must have {len(content):,} bytes, found {len(content) - 100:,}"
    )
    shard.unlink()
    assert error(load, out) == f"cannot read {shard}: No such file or directory"
    shard.write_bytes(content)
    listed["shards"][1]["labels"].append(0)
    manifest.write_text(json.dumps(listed))
    assert error(load, out) == f"{shard} does not match packed.json: expected 5 records, found 4"
    listed["shards"][1]["labels"][3:] = [7]
    manifest.write_text(json.dumps(listed))
    assert error(load, out) == f"{shard}: record 3: its label must lie in 0..2, got 7"
    for text, reason in (("{}", "it has other keys"), ("[]", "'list' object has no attribute 'keys'"), ("{", "Expect")):
        manifest.write_text(text)
        assert error(load, out).startswith(f"{manifest} is no manifest of a packed dataset: {reason}")


def test_other_sizes_than_it_was_packed_with(root, tmp_path):
    pack(load(root), tmp_path / "pixels")
    pack(load(root), tmp_path / "files", keep=True)
    assert load(tmp_path / "pixels", size=8, channels=1).image_shape == (8, 8, 1)
    np.testing.assert_array_equal(load(tmp_path / "files", size=24).train[3][0], load(root, size=24).train[3][0])
    assert error(load, tmp_path / "pixels", size=24, kind=ConfigError) == (
        f"{tmp_path / 'pixels'} was packed with data.size = 16 and data.channels = 3; "
        "got data.size = 24 and data.channels = 3, which need another packing"
    )


def test_another_filter_than_it_was_packed_with(root, tmp_path):
    """Sets without a filter in their manifest were packed with lanczos."""
    out = tmp_path / "pixels"
    pack(load(root, interpolation="bilinear"), out)
    pack(load(root), tmp_path / "files", keep=True)
    smooth = load(out, interpolation="bilinear")
    assert smooth.interpolation == "bilinear"
    np.testing.assert_array_equal(smooth.train[3][0], load(root, interpolation="bilinear").train[3][0])
    assert (smooth.train[3][0] != load(root).train[3][0]).any()
    files = load(tmp_path / "files", interpolation="bilinear")
    np.testing.assert_array_equal(files.train[3][0], smooth.train[3][0])
    assert error(load, out, kind=ConfigError) == (
        f'{out} was packed with data.interpolation = "bilinear"; got "lanczos": '
        'give data.interpolation="bilinear", or pack the images again'
    )
    assert check(out)["train"] == 15
    manifest = json.loads((out / "packed.json").read_text())
    del manifest["pixels"]["interpolation"]
    (out / "packed.json").write_text(json.dumps(manifest))
    assert load(out).interpolation == "lanczos"
    assert 'data.interpolation = "lanczos"; got "box"' in error(load, out, interpolation="box", kind=ConfigError)


def test_what_cannot_be_packed(root, tmp_path, monkeypatch):
    message = 'jaxconv pack needs images in files: data.name = "images" with data.in_memory = false'
    assert error(pack, load(root, in_memory=True), tmp_path / "x", kind=ConfigError) == message
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_module", None)
    assert error(pack, load(root), tmp_path / "x", kind=ConfigError) == (
        "ArrayRecord files need array_record: python -m pip install array_record"
    )
    assert not (tmp_path / "x.partial").exists()


def test_two_packings_of_one_folder(root, tmp_path, monkeypatch):
    out, given = tmp_path / "packed", load(root)
    partial = tmp_path / "packed.partial"
    busy = f"{partial} is being written by another jaxconv pack; wait for it, or stop it"
    original, messages = packing._write, []

    def write(path, *arguments):
        messages.append(error(pack, given, out, kind=ConfigError))
        return original(path, *arguments)

    monkeypatch.setattr(packing, "_write", write)
    pack(given, out)
    assert messages == [busy] * 5
    assert check(out) == {"train": 15, "test": 3, "shards": 5}
    assert not any(path.name == ".lock" for path in out.iterdir())


def test_a_packing_that_another_one_completes_meanwhile(root, tmp_path, monkeypatch):
    out, given = tmp_path / "packed", load(root)

    @contextlib.contextmanager
    def late(partial, original=packing._alone):
        monkeypatch.setattr(packing, "_alone", original)
        pack(given, out)
        with original(partial):
            yield

    monkeypatch.setattr(packing, "_alone", late)
    assert error(pack, given, out, kind=ConfigError) == f"{out} exists; jaxconv pack never overwrites"
    assert check(out) == {"train": 15, "test": 3, "shards": 5}
    assert not (tmp_path / "packed.partial").exists()
