"""The IDX reader against bytes written by hand."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from jaxconv.data.idx import decode_idx, read_idx
from jaxconv.errors import DataError


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
    assert _error(path).startswith(f"{path} is truncated or altered: its gzip stream does not end well (")


def test_other_formats_are_refused():
    with pytest.raises(DataError) as caught:
        decode_idx(b"\x89PNG....", "x.png")
    assert str(caught.value) == (
        "x.png is no IDX file of unsigned bytes: its magic number must be 0x00000801 to 0x00000804, found 0x89504e47"
    )
    for content, words in [(b"", "found 0 in all"), (b"\0\0\x08\x03\0\0", "must have 16 bytes, found 6")]:
        with pytest.raises(DataError, match=words):
            decode_idx(content)


def test_a_missing_file(tmp_path):
    assert _error(tmp_path / "none") == f"cannot read {tmp_path / 'none'}: No such file or directory"


def _error(path, **expected):
    with pytest.raises(DataError) as caught:
        read_idx(path, **expected)
    return str(caught.value)
