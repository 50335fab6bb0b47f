"""Old names of config keys: accepted with a warning, written under the new names."""

import shutil
import tomllib

import pytest
from support import finished_run
from typer.testing import CliRunner

from jaxconv._base.errors import ConfigError
from jaxconv.cli.commands import app
from jaxconv.run import config, settings_of

NEW = """
[data]
name = "digits"
[net]
name = "conv_pool"
kernel_size = 3
[augment]
color_jitter = { brightness = 0.1 }
shift = { pixels = 1, padding_mode = "edge" }
[pretrained]
weights = "x.pth"
skip = ["head"]
[optim]
name = "sgd"
learning_rate = 0.1
ema = 0.9
max_grad_norm = 5.0
lr_multipliers = { conv0 = 0.5 }
[train]
epochs = 1
batch_size = 8
"""
NAMES = {"pretrained": "start", "ema": "average", "max_grad_norm": "clip_norm", "lr_multipliers": "rates"}
ARGUMENTS = {"kernel_size": "size", "color_jitter": "colour_jitter", "padding_mode": "pad_mode"}
OLD = NEW
for new, old in (NAMES | ARGUMENTS).items():
    OLD = OLD.replace(new, old)


def read(folder, text, *overrides):
    (folder / "x.toml").write_text(text)
    return config.read(folder / "x.toml", overrides)


def test_a_file_with_old_names_is_the_same_config(tmp_path):
    with pytest.warns(DeprecationWarning, match="is now called") as caught:
        old = read(tmp_path, OLD)
    assert old == read(tmp_path, NEW)
    assert [str(warning.message) for warning in caught] == [
        f"{tmp_path}/x.toml: net.size is now called net.kernel_size",
        f"{tmp_path}/x.toml: augment.colour_jitter is now called augment.color_jitter",
        f"{tmp_path}/x.toml: augment.shift.pad_mode is now called augment.shift.padding_mode",
        f"{tmp_path}/x.toml: start is now called pretrained",
        f"{tmp_path}/x.toml: optim.average is now called optim.ema",
        f"{tmp_path}/x.toml: optim.clip_norm is now called optim.max_grad_norm",
        f"{tmp_path}/x.toml: optim.rates is now called optim.lr_multipliers",
    ]
    written = tomllib.loads(config.to_toml(old))
    assert written["pretrained"]["weights"] == "x.pth"
    assert written["optim"]["lr_multipliers"] == {"conv0": 0.5}
    assert not {*NAMES.values()} & {*written, *written["optim"]}
    assert "size" not in written["net"]
    assert written["augment"] == {
        "color_jitter": {"brightness": 0.1}, "shift": {"pixels": 1, "padding_mode": "edge"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("override", "current", "message"),
    [
        ("optim.average=0.5", "optim.ema=0.5", "optim.average is now called optim.ema"),
        ("average=0.5", "ema=0.5", "average is now called optim.ema"),
        ("clip_norm=none", "max_grad_norm=none", "clip_norm is now called optim.max_grad_norm"),
        (
            "optim.rates.dense0=2",
            "optim.lr_multipliers.dense0=2",
            "optim.rates.dense0 is now called optim.lr_multipliers.dense0",
        ),
        ("net.size=5", "net.kernel_size=5", "net.size is now called net.kernel_size"),
        (
            "augment.shift.pad_mode=wrap",
            "augment.shift.padding_mode=wrap",
            "augment.shift.pad_mode is now called augment.shift.padding_mode",
        ),
        ("start.weights=y.pth", "pretrained.weights=y.pth", "start.weights is now called pretrained.weights"),
    ],
)
def test_an_override_with_an_old_name(tmp_path, override, current, message):
    with pytest.warns(DeprecationWarning, match="is now called") as caught:
        old = read(tmp_path, NEW, override)
    assert [str(warning.message) for warning in caught] == [f"{override}: {message}"]
    assert old == read(tmp_path, NEW, current)


def test_an_old_and_a_new_name_at_once(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, NEW.replace("ema", "average = 0.5\nema"))
    assert str(caught.value) == (
        f"{tmp_path}/x.toml: optim.average is now called optim.ema, got both; leave out optim.average"
    )


@pytest.fixture
def folder(tmp_path):
    """An unfinished run of an older release."""
    folder = finished_run.write(tmp_path / "run", finished=False)
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(
        text.replace("[optim]", "[optim]\nclip_norm = 2.0").replace("[pretrained]", "[start]")
    )
    return folder


def test_the_folder_of_an_older_run(folder):
    with pytest.warns(DeprecationWarning, match="is now called"):
        assert settings_of(folder).optim.max_grad_norm == 2.0


def test_the_command_line_prints_each_warning_once(folder, tmp_path):
    shutil.copy(folder / "config.toml", tmp_path / "old.toml")
    result = CliRunner().invoke(app, ["summary", str(tmp_path / "old.toml")])
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines() == [
        f"warning: {tmp_path}/old.toml: optim.clip_norm is now called optim.max_grad_norm",
        f"warning: {tmp_path}/old.toml: start is now called pretrained",
    ]
    assert CliRunner().invoke(app, ["runs", str(folder.parent)]).stderr == ""
