"""Fixtures for tests of runs: a tiny config, and the run that it makes."""

import pytest
from support.tiny_run import CONFIG

from jaxconv import run
from jaxconv.run import config


@pytest.fixture
def tiny(tmp_path):
    """The config file of a run of 12 steps."""
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run; to be copied."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "tiny.toml").write_text(CONFIG)
    run.train(config.read(folder / "tiny.toml"), folder / "run")
    return folder / "run"
