"""Runs: training from a config into a folder, and reading that folder back."""

from jaxconv._base.processes import joined
from jaxconv.run.averaging import average
from jaxconv.run.build import build
from jaxconv.run.comparison import compare
from jaxconv.run.dry_run import describe
from jaxconv.run.exporting import export
from jaxconv.run.finished import Run, load
from jaxconv.run.folder import new_folder, reserved
from jaxconv.run.search import points
from jaxconv.run.settings import settings_of
from jaxconv.run.sweeps import sweep
from jaxconv.run.training import StoppedError, resume, train
from jaxconv.run.trials import best
from jaxconv.run.triton import write_repository
from jaxconv.run.tuning import tune

__all__ = [
    "Run",
    "StoppedError",
    "average",
    "best",
    "build",
    "compare",
    "describe",
    "export",
    "joined",
    "load",
    "new_folder",
    "points",
    "reserved",
    "resume",
    "settings_of",
    "sweep",
    "train",
    "tune",
    "write_repository",
]
