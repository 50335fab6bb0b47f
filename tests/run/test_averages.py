"""Runs that evaluate averages, take two gradients a step or give the loss to the optimizer, over a resumption."""

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.config_text import config_text

from jaxconv import run
from jaxconv._base.errors import ConfigError
from jaxconv.run import config
from jaxconv.training.progress import Progress

CONFIG = config_text(
    optim={"name": "sgd", "learning_rate": 0.1},
    train={"epochs": 0.5, "batch_size": 64, "log_every": 4, "eval_every": 0},
    checkpoint={"every_steps": 4},
)


@pytest.fixture
def settings(tmp_path):
    def settings(*overrides):
        path = tmp_path / "tiny.toml"
        path.write_text(CONFIG)
        return config.read(path, overrides)

    return settings


def kill(event):
    if isinstance(event, Progress) and event.step == 8:
        raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        ["optim.swa.start_percent=40", "optim.swa.every_steps=2", "optim.sam=0.1", "precision.compute=float16"],
        ["optim.name=schedule_free_adamw", "optim.freeze=['conv0']", "ensemble.size=2"],
        ["optim.name=momo_adam", "optim.ema=timm", "optim.accumulate=2"],
        ["optim.name=lbfgs", "optim.memory_size=3", "optim.layer_decay=0.9"],
    ],
    ids=lambda changes: changes[0],
)
def test_a_resumed_run_has_the_same_bits(settings, tmp_path, changes):
    found = settings(*changes)
    result = run.train(found, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run.train(found, tmp_path / "run", kill)
    assert run.resume(tmp_path / "run")["test_loss"] == result["test_loss"]
    one, other = (load_file(tmp_path / name / "params.safetensors") for name in ("whole", "run"))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert run.load(tmp_path / "run").test().together.mean_loss == pytest.approx(result["test_loss"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["optim.ema=0.9", "optim.swa.start_percent=50"],
         "a run evaluates one average of its parameters; got optim.ema and optim.swa, leave one out"),
        (["optim.ema=0.9", "optim.name=schedule_free_sgd"],
         "a run evaluates one average of its parameters; got optim.ema and optim.name=schedule_free_sgd, "
         "leave one out"),
        (["optim.layer_decay=0.5", "optim.name=schedule_free_sgd"],
         "optim.name=schedule_free_sgd cannot have optim.lr_multipliers, layer_decay, normalize, plateau or sam, "
         "which change its updates"),
        (["optim.ema=torchvision", "train.epochs=1e-5", "train.batch_size=1400"],
         "optim.ema=torchvision needs more epochs or a smaller train.batch_size: its decay would be -8.96e+04"),
    ],
)  # fmt: skip
def test_what_cannot_be_combined(settings, changes, message):
    with pytest.raises(ConfigError) as caught:
        run.build(settings(*changes))
    assert str(caught.value) == message


def test_keys_of_a_table_in_a_section(settings):
    with pytest.raises(ConfigError) as caught:
        settings("optim.swa.start=3", "optim.ema=tim")
    assert str(caught.value).splitlines()[1:] == [
        "  optim.ema: must be a number or 'timm' or 'torchvision', got 'tim'",
        "  optim.swa.start: unknown key; expected one of start_percent, every_steps",
    ]
