"""What the commands say of themselves: help, examples, keys, versions, and what is missing."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
from support.tiny_run import invoke
from typer.testing import CliRunner

import jaxconv
from jaxconv.cli.commands import app
from jaxconv.run.plots import KINDS


def test_config_prints_keys_and_a_schema():
    result = invoke("config", "train.batch_size")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "[train]\n# Images per step, over all devices. (integer > 0; required)\nbatch_size = 256\n"
    )
    assert tomllib.loads(invoke("config").stdout)["optim"]["schedule"]["name"] == "warmup_cosine_decay_schedule"
    assert json.loads(invoke("config", "--schema").stdout)["required"] == ["data", "net", "optim", "train"]
    result = invoke("config", "train.epoch")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith("; did you mean 'train.epochs'?\n")


def test_without_the_extra_one_line_says_what_to_install():
    code = "import sys; sys.modules['typer'] = None; from jaxconv.__main__ import main; main()"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr == ('jaxconv: this command needs the "train" extra: python -m pip install "jaxconv[train]"\n')


@pytest.mark.slow
def test_importing_the_core_brings_none_of_the_extras():
    names = "typer rich pydantic sklearn PIL safetensors platformdirs tomli_w optax jaxconv.training.step jaxconv.data"
    code = f"import sys, jaxconv; print([name for name in {names.split()} if name in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "[]\n"


def test_the_version_is_printed():
    pattern = rf"jaxconv {re.escape(jaxconv.__version__)} \(jax [\d.]+, Python 3\.[\d.]+\)\n"
    assert re.fullmatch(pattern, invoke("--version").stdout)


@pytest.mark.parametrize("name", [command.name or command.callback.__name__ for command in app.registered_commands])
def test_every_command_has_an_example_that_fits_on_a_line(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")
    text = invoke(name, "--help").stdout
    found = [line.strip() for line in text.splitlines() if line.strip().startswith(f"jaxconv {name} ")]
    several = {"train": 3, "config": 3, "export": 4, "data": 3, "pack": 3, "sweep": 2, "report": 2, "explain": 4}
    assert len(found) == several.get(name, 1)


def test_keys_of_a_config_are_completed():
    found = CliRunner().invoke(
        app,
        env={
            "_JAXCONV_COMPLETE": "complete_bash",
            "COMP_WORDS": "jaxconv sweep digits.toml optim.le",
            "COMP_CWORD": "3",
        },
        prog_name="jaxconv",
    )
    assert found.stdout.split() == ["optim.learning_rate="]


def test_the_kinds_of_plots_are_listed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert ", ".join(KINDS) in invoke("plot", "run", "--help").stdout
