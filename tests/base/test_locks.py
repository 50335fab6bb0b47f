"""Locks of files: held by one process, released at its end, and files that were removed in between."""

import os
import subprocess
import sys

import pytest

from jaxconv._base.errors import ConfigError
from jaxconv._base.files import WriteError
from jaxconv._base.locks import file_lock

HOLD = """
import pathlib, sys
from jaxconv._base.locks import file_lock
with file_lock(pathlib.Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has the lock."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "x"], **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_one_process_has_it_and_its_death_releases_it(holder, tmp_path):
    with pytest.raises(ConfigError, match="taken"), file_lock(tmp_path / "x", "taken"):
        pass
    holder.kill()
    with file_lock(tmp_path / "x", None):  # waits
        assert holder.wait(60) != 0


def test_a_removed_file_is_made_again(tmp_path, monkeypatch):
    path, original = tmp_path / "x", os.fstat
    opened = []

    def fstat(handle):  # between opening and locking, its owner removes it
        if not opened:
            path.unlink()
        opened.append(handle)
        return original(handle)

    monkeypatch.setattr(os, "fstat", fstat)
    with file_lock(path, "busy"):
        assert len(opened) > 1
        assert path.exists()
        with pytest.raises(ConfigError), file_lock(path, "busy"):
            pass


def test_a_folder_that_cannot_be_written(tmp_path):
    with (
        pytest.raises(WriteError, match=r"cannot write .*nowhere/x: No such file"),
        file_lock(tmp_path / "nowhere" / "x", "busy"),
    ):
        pass
