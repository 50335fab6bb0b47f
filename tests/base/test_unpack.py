"""What a file may unpack to, asked before it is unpacked."""

import io
import zipfile

import pytest

from jaxconv._base import limits
from jaxconv._base.errors import DataError
from jaxconv._base.unpack import check_archive, check_room


@pytest.fixture
def room(monkeypatch):
    """`room(n)`: as if there were n bytes of memory."""
    return lambda size: monkeypatch.setattr(limits, "process_memory_bytes", lambda: size)


def archive(members, method=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as written:
        for name, content in members:
            written.writestr(name, content)
    return zipfile.ZipFile(stream)


def error(call, *arguments):
    with pytest.raises(DataError) as caught:
        call(*arguments)
    return str(caught.value)


def test_the_limit_is_the_machines_or_the_containers(tmp_path, monkeypatch):
    physical = limits.process_memory_bytes()
    assert 2**28 < physical < 2**50
    for text, limit in [("12345\n", 12345), ("max\n", physical), (str(1 << 62), physical)]:
        (tmp_path / "max").write_text(text)
        monkeypatch.setattr(limits, "_CGROUP_LIMITS", (*limits._CGROUP_LIMITS, str(tmp_path / "max")))
        assert limits.process_memory_bytes() == limit


def test_room(room):
    room(3 << 30)
    check_room("x", 3 << 30)
    assert error(check_room, "x", (3 << 30) + 1) == "x must fit into memory: it unpacks to 3.0 GiB, there are 3.0 GiB"


def test_all_members_together_must_fit(room):
    two = archive([("a", bytes(6000)), ("b", bytes(6000))])
    room(12000)
    check_archive("x.npz", two)
    room(11999)
    assert error(check_archive, "x.npz", two) == "x.npz must fit into memory: it unpacks to 0.0 GiB, there are 0.0 GiB"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_tables_that_cannot_be_true():
    assert error(check_archive, "x", archive([("a", b"1"), ("a", b"2")])) == (
        "x must hold each name once; more than once there: a"
    )
    assert error(check_archive, "x", archive([("a", b"1")], zipfile.ZIP_LZMA)) == (
        "x: a must be stored or deflated, and not encrypted"
    )
    sealed = archive([("a", b"1")])
    sealed.infolist()[0].flag_bits |= 1
    assert error(check_archive, "x", sealed) == "x: a must be stored or deflated, and not encrypted"
    short = archive([("a", b"1"), ("b", b"2")])
    short.filelist.pop()
    assert error(check_archive, "x", short) == "x was altered: its end says 2 members, its table has 1"
    for method, size in [(zipfile.ZIP_STORED, 101), (zipfile.ZIP_DEFLATED, 1 << 40)]:
        lying = archive([("a", bytes(100))], method)
        lying.infolist()[0].file_size = size
        packed = lying.infolist()[0].compress_size
        assert error(check_archive, "x", lying) == (f"x was altered: a claims {size:,} bytes in {packed:,} packed ones")
