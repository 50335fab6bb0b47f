"""The IDX reader against bytes written by hand."""

import gzip
import hashlib
import struct
import tracemalloc

import numpy as np
import pytest
from support.damage import survives

from jaxconv._base import limits
from jaxconv._base.errors import DataError
from jaxconv.data.idx import decode_idx, read_idx


def idx_bytes(array):
    """The IDX bytes of a uint8 array, by the format's description."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (2, 3, 4, 5)])
@pytest.mark.parametrize("packed", [False, True])
def test_reads_what_was_written(tmp_path, rng, shape, packed):
    array = rng.integers(0, 256, shape).astype(np.uint8)
    content = idx_bytes(array)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(content) if packed else content)
    np.testing.assert_array_equal(read_idx(path), array)


def test_messages_name_the_file_and_both_sizes(tmp_path, rng):
    content = idx_bytes(rng.integers(0, 256, (2, 3, 4)).astype(np.uint8))
    path = tmp_path / "images"
    md5 = hashlib.md5(content).hexdigest()

    path.write_bytes(content[:-1])
    assert _error(path) == f"{path} is truncated: 2×3×4 needs 24 bytes of values, found 23"
    assert _error(path, size=len(content)) == (
        f"{path} is truncated: expected 40 bytes, found 39; delete it and fetch it again"
    )
    path.write_bytes(content + b"x")
    assert _error(path) == f"{path} has bytes too many: 2×3×4 needs 24 bytes of values, found 25"

    altered = content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes(altered)
    assert _error(path, size=40, md5=md5) == (
        f"{path} was altered: expected md5 {md5}, found {hashlib.md5(altered).hexdigest()}; "
        "delete it and fetch it again"
    )


def test_a_truncated_gzip_stream_is_named(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.arange(200, dtype=np.uint8)))[:-12])
    assert _error(path).startswith(f"{path} is truncated or altered: its gzip stream is incomplete (")


def test_other_formats_are_refused():
    with pytest.raises(DataError) as caught:
        decode_idx(b"\x89PNG....", "x.png")
    assert str(caught.value) == (
        "x.png is not an IDX file of unsigned bytes: "
        "its magic number must be 0x00000801 to 0x00000804, found 0x89504e47"
    )
    for content, words in [(b"", "found 0 in all"), (b"\0\0\x08\x03\0\0", "must have 16 bytes, found 6")]:
        with pytest.raises(DataError, match=words):
            decode_idx(content)


def test_a_missing_file(tmp_path):
    assert _error(tmp_path / "none") == f"cannot read {tmp_path / 'none'}: No such file or directory"


def test_no_more_is_unpacked_than_the_head_promises(tmp_path, monkeypatch):
    path = tmp_path / "images.gz"
    content = idx_bytes(np.zeros([2, 3], np.uint8))
    for bomb, message in [
        (content + bytes(8 << 20), "has bytes too many: 2×3 needs 6 bytes of values"),
        (struct.pack(">HBBII", 0, 8, 2, 1 << 12, 1 << 11) + bytes(8 << 20), "must fit into memory: "
         "it unpacks to 0.0 GiB, there are 0.0 GiB"),
        (struct.pack(">HBBII", 0, 8, 2, 1 << 20, 1 << 12) + bytes(100), "is truncated: 1048576×4096 needs "
         "4,294,967,296 bytes of values, which 32 packed ones cannot hold"),
    ]:  # fmt: skip
        path.write_bytes(gzip.compress(bomb, mtime=0))
        monkeypatch.setattr(limits, "process_memory_bytes", lambda: 6 << 20)
        tracemalloc.start()
        assert _error(path) == f"{path} {message}"
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20


def test_a_file_of_another_size_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "images"
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    assert _error(path, size=40) == (
        f"{path} has bytes too many: expected 40 bytes, found 1,099,511,627,776; delete it and fetch it again"
    )
    monkeypatch.setattr(limits, "process_memory_bytes", lambda: 1 << 30)
    assert _error(path) == f"{path} must fit into memory: it unpacks to 1,024.0 GiB, there are 1.0 GiB"


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("places", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_damage_anywhere(tmp_path, rng, packed, places):
    array = rng.integers(0, 256, (20, 7, 9)).astype(np.uint8)
    content = idx_bytes(array)
    path = tmp_path / "images"

    def is_right(found):
        # Without a checksum values may be others, and [20, 7, 9] may have become [20, 9, 7] in nothing but more bits.
        return np.array_equal(found, array) if packed else found.shape == array.shape

    packed_content = gzip.compress(content, mtime=0) if packed else content
    refused, whole = survives(read_idx, path, packed_content, is_right, rng, places)
    assert refused > places // 5
    assert whole > 0


def _error(path, **expected):
    with pytest.raises(DataError) as caught:
        read_idx(path, **expected)
    return str(caught.value)
