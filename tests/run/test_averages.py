"""Runs that evaluate averages, take two gradients a step or give the loss to the optimizer, over a resumption."""

import pytest
from support.tiny_run import killed_at_step_8, settings

from jaxconv import run
from jaxconv._base.errors import ConfigError


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
def test_a_resumed_run_has_the_same_bits(tmp_path, changes):
    result, resumed = killed_at_step_8(settings(tmp_path, *changes), tmp_path)
    assert resumed["test_loss"] == result["test_loss"]
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
def test_what_cannot_be_combined(tmp_path, changes, message):
    with pytest.raises(ConfigError) as caught:
        run.build(settings(tmp_path, *changes))
    assert str(caught.value) == message


def test_keys_of_a_table_in_a_section(tmp_path):
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, "optim.swa.start=3", "optim.ema=tim")
    assert str(caught.value).splitlines()[1:] == [
        "  optim.ema: must be a number or 'timm' or 'torchvision', got 'tim'",
        "  optim.swa.start: unknown key; expected one of start_percent, every_steps",
    ]
