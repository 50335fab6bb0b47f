"""Starts the tests of this folder in a process of eight devices: XLA counts its devices once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SLOW = ("test_devices", "test_contract", "not test_devices and not test_contract")  # at the same time, by xdist


def run_folder(*words):
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "pytest", "-n", "0", *words, str(Path(__file__).parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
    assert "needs 8 devices" not in done.stdout


@pytest.mark.skipif(os.environ.get("JAX_NUM_CPU_DEVICES") == "8", reason="this is that process")
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("-k", "test_grid"), id="grid"),
        pytest.param(("-k", "not test_grid"), id="quick", marks=pytest.mark.slow),
        *(pytest.param(("-m", "slow", "-k", part), id=part, marks=pytest.mark.slow) for part in SLOW),
    ],
)
def test_on_eight_devices(words):
    run_folder(*words, "-rs")
