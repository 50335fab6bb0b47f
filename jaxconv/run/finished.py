"""Load a finished run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxconv.data import Dataset, Source
from jaxconv.layers.layer import Layer
from jaxconv.models._registry import make_net
from jaxconv.run import config
from jaxconv.run.build import evaluation_batches, load_dataset
from jaxconv.run.predict import Predictor
from jaxconv.run.records import Result
from jaxconv.run.trained import read_trained
from jaxconv.training.ensemble import member
from jaxconv.training.evaluation import results

__all__ = ["Member", "Run", "first_member", "load"]


@dataclasses.dataclass(frozen=True)
class Run(Predictor):
    """A finished run: its trained net, folder, config and result."""

    folder: Path
    settings: config.Config
    result: Result

    def test(self, root: str | None = None) -> Any:
        """Evaluate on the test images of the run's dataset.

        Args:
          root: data directory; the run's if None.

        Returns:
          What the task collects: `jaxconv.training.evaluation.Answers` of classes.
        """
        return self.test_on(load_dataset(self.settings, root))

    def test_on(self, dataset: Dataset[Any]) -> Any:
        """Evaluate on the test images of a dataset that is loaded, see `test`."""
        return self.predictions(dataset.test, len(dataset.classes))[1]

    def predictions(self, source: Source, classes: int) -> tuple[np.ndarray, Any]:
        """Evaluate on all images of a source.

        Args:
          source: the images.
          classes: number of classes.

        Returns:
          The indices of the images that could be read, ascending, and what the task collects of them.
        """
        options: dict[str, Any] = {"views": self.views, "temperature": self.temperature}
        step = jax.jit(self.task.make_eval_step(self.net, self.prepare, members=self.members, **options))
        found = results(step, self.params, self.state, evaluation_batches(source, self.settings, classes))
        read = np.concatenate([each["weight"] for each in found]) > 0
        return np.flatnonzero(read), self.task.collect(found)


def load(folder: str | Path, tta: Sequence[str] = ()) -> Run:
    """Load a finished run.

    Args:
      folder: written by `train`.
      tta: changes of its test-time augmentation, such as "flip=true".

    Raises:
      DataError: if a file is missing or damaged; without `result.json` the run is not finished.
      ConfigError: if the parameters do not match the config's net, or a change is invalid.
    """
    found, settings, result = read_trained(Path(folder), tta)
    shared = {field.name: getattr(found, field.name) for field in dataclasses.fields(Predictor)}
    return Run(**shared, folder=Path(folder), settings=settings, result=result)


class Member(NamedTuple):
    """A net in float32 with its parameters and state, and a title for pictures of it."""

    net: Layer
    params: Any
    state: Any
    title: str


def first_member(run: Run) -> Member:
    """The net of a run; of an ensemble, its first member."""
    settings, title = run.settings, run.folder.resolve().name
    net = make_net(settings.net.name, settings.net.arguments, len(run.input.classes))
    if not run.members:
        return Member(net, run.params, run.state, title)
    return Member(net, member(run.params, 0), member(run.state, 0), f"{title}, member 1 of {settings.ensemble.size}")
