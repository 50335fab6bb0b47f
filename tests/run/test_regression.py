"""Regression and reconstruction by a config: runs, their files, evaluation and prediction by the commands."""

import csv

import numpy as np
import pytest
from PIL import Image
from support.config_text import config_text
from support.tiny_run import invoke, settings

from jaxconv import run
from jaxconv._base.errors import ConfigError

TRAIN = {"epochs": 2, "batch_size": 64, "eval_every": 0}
DIGITS = config_text(
    {"name": "autoencoder", "code": 8, "widths": [4]},
    task={"name": "reconstruction"},
    loss={"name": "mse"},
    optim={"name": "adam", "learning_rate": 0.01},
    train=TRAIN,
)


MODULE = """
import numpy as np

from jaxconv import data
from jaxconv.data import Arrays, Dataset


def brightness():
    digits = data.load("digits")

    def part(source):
        images = source.images.astype(np.float64) / 16
        numbers = np.stack([images.mean((1, 2, 3)) - 0.3, images.mean((2, 3)).min(1) - 0.1], 1)
        return Arrays(source.images, 20 * numbers)

    names, moments = ("mean", "darkest row"), (digits.mean, digits.std)
    return Dataset("brightness", part(digits.train), part(digits.test), names, *moments, 16, task="regression")
"""
NUMBERS = config_text(
    {"features": [4], "kernel_size": 3, "hidden": [], "dropout": 0.0},
    data={"name": "brightness_of_digits:brightness"},
    loss={"name": "mse"},
    optim={"name": "adam", "learning_rate": 0.003},
    optim__schedule={"name": "warmup_cosine_decay_schedule"},
    train=TRAIN | {"epochs": 20},
)


@pytest.mark.slow
def test_an_autoencoder_leaves_its_reconstructions(tmp_path):
    result = run.train(settings(tmp_path, text=DIGITS), tmp_path / "run")
    assert (result["task"], "left_out" in result) == ("reconstruction", False)
    assert 0.2 < result["test_r2"] < 1
    for name in ("reconstructions.png", "worst.png", "curves.png"):
        with Image.open(tmp_path / "run" / name) as picture:
            assert picture.size[0] > 500
    shown = invoke("evaluate", tmp_path / "run")
    assert shown.stdout.splitlines()[0].split() == ["test", "r2", f"{result['test_r2']:.2%}"]
    Image.fromarray(np.zeros([8, 8], np.uint8)).save(tmp_path / "dark.png")
    shown = invoke("predict", tmp_path / "run", tmp_path / "dark.png", "--out", tmp_path)
    assert shown.exit_code == 0, shown.output
    with Image.open(tmp_path / "dark_reconstruction.png") as picture:
        assert (picture.size, picture.mode) == ((8, 8), "L")
    refused = invoke("evaluate", tmp_path / "run", "--tta", "flip=true")
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: tta.flip must be unset for the task reconstruction, whose predictions")


@pytest.mark.slow
def test_numbers_are_predicted_with_an_error_for_each(tmp_path, monkeypatch):
    """Of digits whose targets are their mean and their darkest row."""
    (tmp_path / "brightness_of_digits.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    result = run.train(settings(tmp_path, text=NUMBERS), tmp_path / "run")
    rows = list(csv.DictReader((tmp_path / "run" / "targets.csv").read_text().splitlines()))
    assert [row["target"] for row in rows] == ["mean", "darkest row"]
    assert result["test_r2"] == pytest.approx(np.mean([float(row["r2"]) for row in rows]), rel=1e-4)
    assert result["test_r2/mean"] == pytest.approx(float(rows[0]["r2"]), rel=1e-4)
    assert result["test_r2"] > 0.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("loss.class_weights=[1.0]", "loss.class_weights must be unset for the task reconstruction, which has no "
                                     "classes; got [1.0]"),
        ("loss.name=cross_entropy", "loss.name: cross_entropy does not fit these labels: logits must be [N, C], and "
                                    "labels integers [N] or floating [N, C]"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(ConfigError) as caught:
        run.train(settings(tmp_path, change, text=DIGITS), tmp_path / "run")
    assert str(caught.value).startswith(message)
