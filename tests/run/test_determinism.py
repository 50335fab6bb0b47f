"""`devices.deterministic`: XLA's flag, set before it starts."""

import json
import os
import subprocess
import sys

import jax
import pytest

from jaxconv._base.compat import backends_initialized
from jaxconv._base.errors import ConfigError
from jaxconv.run import config
from jaxconv.run.build import determinism, make_deterministic

FLAG = "--xla_gpu_deterministic_ops=true"


@pytest.fixture
def wanted(tiny):
    return config.read(tiny, ["deterministic=true"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", FLAG),
        ("--xla_dump_to=/x", f"--xla_dump_to=/x {FLAG}"),
        (f"{FLAG} --xla_dump_to=/x", f"{FLAG} --xla_dump_to=/x"),
        ("--xla_gpu_deterministic_ops", "--xla_gpu_deterministic_ops"),
    ],
)
def test_the_flag_is_set_once_before_xla_starts(tiny, wanted, monkeypatch, before, after):
    monkeypatch.setattr(determinism, "backends_initialized", lambda: False)
    monkeypatch.setenv("XLA_FLAGS", before)
    make_deterministic(config.read(tiny))
    assert os.environ["XLA_FLAGS"] == before
    for _ in range(2):
        make_deterministic(wanted)
        assert os.environ["XLA_FLAGS"] == after


def test_a_gpu_that_has_started_without_it_is_an_error_and_a_cpu_is_not(wanted, monkeypatch):
    jax.devices()
    assert backends_initialized()
    monkeypatch.setenv("XLA_FLAGS", "")
    make_deterministic(wanted)
    assert os.environ["XLA_FLAGS"] == ""
    monkeypatch.setattr(jax, "devices", lambda: [type("Gpu", (), {"platform": "gpu"})])
    with pytest.raises(ConfigError) as caught:
        make_deterministic(wanted)
    assert str(caught.value) == (
        "devices.deterministic=true must be known before XLA starts, got a process that has used it; "
        f"start another with XLA_FLAGS={FLAG}"
    )


def test_the_environment_must_not_say_otherwise(wanted, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=false")
    with pytest.raises(ConfigError) as caught:
        make_deterministic(wanted)
    assert str(caught.value) == (
        f"devices.deterministic=true sets {FLAG}, got --xla_gpu_deterministic_ops=false in XLA_FLAGS; "
        "leave one of them out"
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_commands_set_it_in_time(tiny, tmp_path, command):
    """This XLA knows the flag, and nothing has started it before: the manifest has the flags that a run began with."""
    out = tmp_path / "run"
    words = [command, tiny, "deterministic=true", "--out", out]
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    code = """
import sys
from jaxconv._base.compat import backends_initialized
from jaxconv.run.build import determinism
before = determinism.backends_initialized
determinism.backends_initialized = lambda: print("started:", before()) or before()
sys.argv = ["jaxconv", *sys.argv[1:]]
from jaxconv.__main__ import main
main()
"""
    found = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert [line for line in found.stdout.splitlines() if line.startswith("started:")] == ["started: False"]
    (manifest,) = out.rglob("manifest.json")
    assert json.loads(manifest.read_text())["flags"]["XLA_FLAGS"] == FLAG
