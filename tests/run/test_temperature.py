"""Temperature scaling of a run: saved with it, used by evaluation and prediction."""

import json

import numpy as np
import pytest
from support.config_text import config_text

from jaxconv import run
from jaxconv._base.errors import ConfigError
from jaxconv.run import config
from jaxconv.training import fit_temperature

CONFIG = config_text(
    data={"name": "digits", "validation": 300},
    optim={"name": "sgd", "learning_rate": 0.1},
    train={"epochs": 0.5, "batch_size": 64, "eval_every": 0},
)


def settings(tmp_path, *overrides):
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    return config.read(path, overrides)


@pytest.mark.slow
@pytest.mark.parametrize("more", [["tta.shift=1"], ["ensemble.size=2"]], ids=str)
def test_a_run_with_temperature_scaling(tmp_path, more):
    plain = run.train(settings(tmp_path, *more), tmp_path / "plain")
    scaled = run.train(settings(tmp_path, *more, "train.temperature_scaling=true"), tmp_path / "scaled")
    assert "temperature" not in plain
    one, other = run.load(tmp_path / "plain"), run.load(tmp_path / "scaled")
    inputs = run.build(settings(tmp_path))[0]
    held, labels = inputs.validation.images, inputs.validation.labels
    expected = fit_temperature(np.log(np.asarray(one.probabilities(held))), labels)
    assert scaled["temperature"] == pytest.approx(expected, rel=1e-3)
    assert abs(np.log(expected)) > 0.01
    chances = np.asarray(one.probabilities(held[:5])) ** (1 / scaled["temperature"])
    np.testing.assert_allclose(other.probabilities(held[:5]), chances / chances.sum(-1, keepdims=True), rtol=1e-4)
    assert scaled["test_accuracy"] == plain["test_accuracy"]
    assert scaled["test_loss"] != plain["test_loss"]
    assert other.test().together.mean_loss == pytest.approx(scaled["test_loss"], rel=1e-5)
    assert json.loads((tmp_path / "scaled" / "result.json").read_text())["temperature"] == scaled["temperature"]


def test_no_images_are_held_out(tmp_path):
    with pytest.raises(ConfigError) as caught:
        run.build(settings(tmp_path, "train.temperature_scaling=true", "data.validation=0"))
    assert str(caught.value) == ("train.temperature_scaling needs validation images, as data.validation=1000; got none")
