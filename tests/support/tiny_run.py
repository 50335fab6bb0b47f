"""A run of 12 steps, its resumption after a kill, and the command line in this process."""

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.config_text import config_text
from typer.testing import CliRunner

from jaxconv import run
from jaxconv.cli.commands import app
from jaxconv.run import config
from jaxconv.training.progress import Progress

CONFIG = config_text(
    optim={"name": "sgd", "learning_rate": 0.1},
    train={"epochs": 0.5, "batch_size": 64, "log_every": 4, "eval_every": 0},
    checkpoint={"every_steps": 4},
)


def settings(folder, *overrides, text=CONFIG):
    """The settings of a config file that is written into the folder."""
    path = folder / "tiny.toml"
    path.write_text(text)
    return config.read(path, overrides)


def killed_at_step_8(found, folder, report=lambda event: None):
    """Results of a run that `report` hears of, and of one that was killed and resumed, to the same bits."""

    def kill(event):
        if isinstance(event, Progress) and event.step == 8:
            raise KeyboardInterrupt

    whole = run.train(found, folder / "whole", report)
    with pytest.raises(KeyboardInterrupt):
        run.train(found, folder / "run", kill)
    resumed = run.resume(folder / "run")
    one, other = (load_file(folder / name / "params.safetensors") for name in ("whole", "run"))
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    return whole, resumed


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
