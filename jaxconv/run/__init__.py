"""A run: from a config to a folder that holds what came of it, and back."""

from jaxconv.run.compare import compare
from jaxconv.run.describe import describe
from jaxconv.run.folder import new_folder, reserved
from jaxconv.run.load import Run, load
from jaxconv.run.setup import set_up, tune
from jaxconv.run.sweep import points, sweep
from jaxconv.run.train import StoppedError, resume, settings_of, train

__all__ = [
    "Run",
    "StoppedError",
    "compare",
    "describe",
    "load",
    "new_folder",
    "points",
    "reserved",
    "resume",
    "set_up",
    "settings_of",
    "sweep",
    "train",
    "tune",
]
