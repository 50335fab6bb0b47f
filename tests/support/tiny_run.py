"""A run of 12 steps, and the command line in this process."""

from support.config_text import config_text
from typer.testing import CliRunner

from jaxconv.cli.commands import app

CONFIG = config_text(
    optim={"name": "sgd", "learning_rate": 0.1},
    train={"epochs": 0.5, "batch_size": 64, "log_every": 4, "eval_every": 0},
    checkpoint={"every_steps": 4},
)


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
