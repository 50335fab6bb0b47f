"""Folders of runs: new names, reservations, and no run over another."""

import os
import threading

import pytest
from support.tiny_run import invoke

from jaxconv._base.errors import ConfigError
from jaxconv._base.files import WriteError
from jaxconv.run.folder import made, new_folder, reserved


def test_folders_of_one_second_are_different(tmp_path):
    found, start = [], threading.Barrier(8)

    def make():
        start.wait()
        found.append(new_folder("digits", tmp_path))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8
    assert all(path.is_dir() for path in found)


def test_a_reserved_folder_goes_where_nothing_was_written(tmp_path, tiny, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with reserved("digits") as used:
        (used / "config.toml").touch()
    with reserved("digits"):
        pass
    assert os.listdir("runs") == [used.name]
    assert invoke("train", tiny, "train.batch_size=4000").exit_code == 2
    assert invoke("sweep", tiny, "train.batch=1,2").exit_code == 2
    assert os.listdir("runs") == [used.name]
    with pytest.raises(WriteError, match=f"^cannot write {tiny}/digits-"):
        new_folder("digits", tiny)


def test_a_second_run_in_a_folder_changes_nothing(tmp_path):
    with made(tmp_path / "run", "first"):
        with pytest.raises(ConfigError, match="refusing to overwrite"), made(tmp_path / "run", "second"):
            pass
        assert (tmp_path / "run" / "config.toml").read_text() == "first"
