"""Finding and fetching, against a server on this machine that can misbehave."""

import dataclasses
import gc
import gzip
import hashlib
import http.server
import itertools
import struct
import threading
import tracemalloc
import warnings

import numpy as np
import pytest

from jaxconv import data
from jaxconv._base.errors import DataError
from jaxconv.data import download, sources

NAMES = [f"{part}-{what}.gz" for part in ("train", "t10k") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]


@pytest.fixture
def published(tmp_path):
    """A folder of four small packed IDX files."""
    folder = tmp_path / "published"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        shape = (6, 28, 28) if "images" in name else (6,)
        values = rng.integers(0, 10, shape).astype(np.uint8)
        content = struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + values.tobytes()
        (folder / name).write_bytes(gzip.compress(content))
    return folder


@pytest.fixture
def tiny(published, monkeypatch, tmp_path, serve):
    """`mnist` replaced by the published folder, an empty cache, and a server for the folder."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(download, "cache_folder", lambda name: cache / name)
    monkeypatch.setattr(sources, "cache_folder", lambda name: cache / name)
    monkeypatch.delenv("JAXCONV_DATA", raising=False)
    known = sources.IDX_SETS["mnist"]
    files = tuple(describe(published / name) for name in NAMES)
    monkeypatch.setitem(sources.IDX_SETS, "mnist", dataclasses.replace(known, files=files, bases=(serve(published),)))
    return cache / "mnist"


def describe(path):
    packed = path.read_bytes()
    plain = gzip.decompress(packed)
    md5s = (hashlib.md5(content).hexdigest() for content in (packed, plain))
    packed_md5, plain_md5 = md5s
    return download.RemoteFile(path.name, len(packed), packed_md5, len(plain), plain_md5)


def test_downloads_once_into_the_cache(tiny, published):
    first = data.load("mnist")
    assert sorted(path.name for path in tiny.iterdir()) == sorted(NAMES)
    for path in published.iterdir():
        path.unlink()
    np.testing.assert_array_equal(data.load("mnist").train.images, first.train.images)
    assert first.train.images.shape == (6, 28, 28, 1)


def test_a_second_mirror_is_tried(tiny, monkeypatch):
    known = sources.IDX_SETS["mnist"]
    bases = ("http://127.0.0.1:9/", *known.bases)
    monkeypatch.setitem(sources.IDX_SETS, "mnist", dataclasses.replace(known, bases=bases))
    assert len(data.load("mnist").test.labels) == 6


@pytest.mark.parametrize("harm", ["truncated", "altered", "missing"])
def test_a_bad_download_leaves_nothing_and_says_what_to_do(tiny, published, harm):
    victim = published / NAMES[0]
    content = victim.read_bytes()
    if harm == "missing":
        victim.unlink()
    else:
        victim.write_bytes(content[:-5] if harm == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError) as caught:
        data.load("mnist")
    assert list(tiny.iterdir()) == []
    lines = str(caught.value).splitlines()
    reasons = {
        "truncated": f"expected {len(content):,} bytes, received {len(content) - 5:,}",
        "altered": f"expected md5 {hashlib.md5(content).hexdigest()}, received ",
        "missing": "File not found",
    }
    assert lines[0] == "mnist is not on this machine and could not be downloaded:"
    assert reasons[harm] in lines[1]
    assert lines[2] == "Download these files elsewhere and copy them to one folder:"
    assert [line.split()[0] for line in lines[3:7]] == NAMES
    assert lines[7] == f"either {tiny}, or any other that data.root or the variable JAXCONV_DATA names."


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("by_variable", [True, False])
def test_found_in_root_or_variable(tiny, published, monkeypatch, tmp_path, packed, nested, by_variable):
    folder = tmp_path / "mine" / "mnist" if nested else tmp_path / "mine"
    folder.mkdir(parents=True)
    for name in NAMES:
        content = (published / name).read_bytes()
        target = folder / (name if packed else name.removesuffix(".gz"))
        target.write_bytes(content if packed else gzip.decompress(content))
    if by_variable:
        monkeypatch.setenv("JAXCONV_DATA", str(tmp_path / "mine"))
    loaded = data.load("mnist", None if by_variable else tmp_path / "mine")
    assert loaded.train.images.shape == (6, 28, 28, 1)
    assert not tiny.exists()


def test_a_root_that_lacks_files_is_an_error(tiny, published):
    (published / NAMES[3]).unlink()
    with pytest.raises(DataError) as caught:
        data.load("mnist", published)
    assert str(caught.value) == (
        f"data.root = {published} does not hold mnist; not found there or in {published / 'mnist'} "
        f"(with or without .gz): {NAMES[3]}"
    )
    with pytest.raises(DataError, match="there is no such folder"):
        data.load("mnist", published / "nowhere")


def test_an_altered_file_on_disk_is_named(tiny, published):
    victim = published / NAMES[1]
    victim.write_bytes(victim.read_bytes()[:-3])
    with pytest.raises(DataError, match=f"{NAMES[1]} is truncated: expected"):
        data.load("mnist", published)


@pytest.fixture
def misbehaving():
    """`misbehaving(pieces)`: the address of a server that sends these, in place of an answer, until it is left."""
    stopped, servers = threading.Event(), []

    def start(pieces, pause=0.0):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                for piece in pieces():
                    try:
                        self.wfile.write(piece)
                    except OSError:
                        return
                    if stopped.wait(pause):
                        return

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the socket of a call that was left behind
        stopped.set()
        for server in servers:
            server.shutdown()
            server.server_close()
        for thread in threading.enumerate():
            if thread.name == "within":
                thread.join(5)
        gc.collect()


HEAD = b"HTTP/1.0 200 OK\r\n\r\n"


def reason(address, tmp_path, size=100_000):
    """Why nothing could be fetched from there."""
    file = download.RemoteFile("x.gz", size, "0" * 32)
    with pytest.raises(DataError) as caught:
        download.fetch("x", [file], [address], tmp_path / "x")
    assert list((tmp_path / "x").iterdir()) == []
    return str(caught.value).splitlines()[1].partition("x.gz: ")[2]


@pytest.mark.slow
@pytest.mark.parametrize("head", [HEAD, b"HTTP/1.0 200 OK\r\nX-Y: "], ids=["content", "header"])
def test_a_byte_now_and_then_comes_to_an_end(misbehaving, tmp_path, monkeypatch, head):
    """No timeout of a socket does it: each byte is in time."""
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(download, "SLOWEST", 1e9)
    address = misbehaving(lambda: itertools.chain([head], itertools.repeat(b"a")), pause=0.05)
    said = reason(address, tmp_path)
    assert said == "took longer than 0.5 s" or (head == HEAD and said.startswith("expected 100,000 bytes, received "))


@pytest.mark.slow
def test_more_than_there_should_be_is_not_received(misbehaving, tmp_path):
    address = misbehaving(lambda: itertools.chain([HEAD], itertools.repeat(bytes(1 << 16), 3 << 14)))
    tracemalloc.start()
    assert reason(address, tmp_path) == "expected 100,000 bytes, received more"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
