"""Files that a user names: regular ones are read, what may never end is refused, by every reader."""

import os
import signal

import pytest

from jaxconv import data
from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import read_text
from jaxconv.data.idx import read_idx
from jaxconv.data.picture import open_picture
from jaxconv.engine.tune import _read
from jaxconv.port.weights.read import read
from jaxconv.run import config
from jaxconv.run.predict import class_names

READERS = {
    "config": (config.read, ConfigError, "cannot read {path}: {reason}"),
    "names": (class_names, ConfigError,
              "--names must be a text file with one class a line; cannot read {path}: {reason}"),
    "npz": (lambda path: data.load("npz", path), DataError, "cannot read {path}: {reason}"),
    "idx": (read_idx, DataError, "cannot read {path}: {reason}"),
    "picture": (open_picture, DataError, "cannot read {path}: {reason}"),
    "weights": (read, DataError, "cannot read {path}: {reason}"),
    "tuned": (_read, DataError,
              "{path} must contain measured formulations as JSON; got OSError: [Errno 22] {reason}: '{path}'\n"
              "  fix: delete it; convolutions are then measured again"),
}  # fmt: skip


@pytest.fixture(params=["a FIFO", "a device"])
def endless(request, tmp_path):
    """A path that is no regular file; whoever opens the FIFO all the same is interrupted after five seconds."""
    path = tmp_path / "x.npz"
    if request.param == "a device":
        path.symlink_to("/dev/null")
        yield path, request.param
        return
    os.mkfifo(path)

    def interrupt(*_):
        raise TimeoutError(f"{path} was opened")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(5)
    yield path, request.param
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_regular_file_is_refused(endless, reader):
    path, kind = endless
    read, error, message = READERS[reader]
    with pytest.raises(error) as caught:
        read(path)
    assert str(caught.value) == message.format(path=path, reason=f"expected a regular file, got {kind}")


def test_a_byte_order_mark_is_no_text(tmp_path):
    for content, text in [(b"\xef\xbb\xbfcat\r\n", "cat\r\n"), ("ä\n".encode(), "ä\n"), (b"", "")]:
        (tmp_path / "x").write_bytes(content)
        assert read_text(tmp_path / "x") == text
    (tmp_path / "x").write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "x")
