"""README is true: its code runs, its commands exist, its table names everything public and nothing else."""

import inspect
import pathlib
import re
import shlex

import jax
import pytest

import jaxconv as jc
from jaxconv import augment, data
from jaxconv.run import config

README = pathlib.Path(__file__).parents[1] / "README.md"
TEXT = README.read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.S)


def test_the_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # it writes weights
    names = {}
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), names)
    assert names["logits"].shape == (8, 10)
    assert names["params"]["fc"]["kernel"].shape == (512, 1000)


def test_the_two_set_up_commands_stand_alone_on_their_lines():
    lines = TEXT.splitlines()
    assert 'python -m pip install -e ".[train]" && jaxconv train configs/digits.toml' in lines
    assert 'python -m pip install -e ".[dev]" && pytest' in lines


def test_every_command_is_one_that_there_is():
    typer = pytest.importorskip("typer")
    from jaxconv.cli.commands import app

    known = typer.main.get_command(app).commands
    for line in "".join(blocks("bash")).splitlines():
        words = shlex.split(line.split("&&")[-1], comments=True)
        if words[0] != "jaxconv":
            continue
        assert words[1] in known
        command = known[words[1]]
        command = command.commands.get(words[2], command.commands["run"]) if words[1] == "plot" else command
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words[2:] if word.startswith("--")} <= options, line
        if words[1] in ("train", "sweep") and "--resume" not in words:
            config.read(README.parent / words[2], [word for word in words[3:] if "=" in word and "," not in word])


def test_every_section_and_augmentation_of_a_config_is_named():
    start, end = TEXT.index("| in a config |"), TEXT.index("Small sets lie on the device")
    table = TEXT[start:end]
    sections = set(re.findall(r"`\[(\w+)\]`", table))
    assert sections == {"data", "net", "start", "augment", "optim", "precision", "ensemble"}
    assert sections < set(config.SECTIONS) | {"augment"}
    assert all(f"`{name}`" in table for name in augment.registry)
    assert all(f"`{name}`" in table for name in data.names())


def test_the_table_names_everything_public():
    start, end = TEXT.index("## What there is"), TEXT.index("In the notes' words")
    named = set(re.findall(r"`(\w+)[`(]", TEXT[start:end]))
    public = {
        name
        for name in jc.__all__
        if name not in ("ConfigError", "DataError", "ShapeError", "Layer") and not inspect.ismodule(getattr(jc, name))
    }
    assert public <= named, f"missing in the table: {public - named}"
    unknown = {name for name in named - public if not hasattr(jc, name) and not hasattr(jax, name)}
    assert unknown <= {"transform", "impl"}, unknown


def test_the_numbers_of_the_notes():
    def size(layer, shape):
        return sum(leaf.size for leaf in jax.tree.leaves(layer.init(jax.random.key(0), shape)[0]))

    image = (1, 6, 6, 1)
    assert size(jc.Conv(3, 3), image) == 30
    assert size(jc.LocalConv(3, 3), image) == 480
    assert size(jc.Dense(5, bias=False), (1, 36)) == 180
