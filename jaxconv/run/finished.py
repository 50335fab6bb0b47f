"""Load a finished run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jaxconv.run import config
from jaxconv.run.build import evaluation_batches, load_dataset
from jaxconv.run.predict import Predictor
from jaxconv.run.records import Result
from jaxconv.run.trained import read_trained
from jaxconv.training.evaluation import results

__all__ = ["Run", "load"]


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
        dataset = load_dataset(self.settings, root)
        options: dict[str, Any] = {"views": self.views, "temperature": self.temperature}
        step = jax.jit(self.task.make_eval_step(self.net, self.prepare, members=self.members, **options))
        images = evaluation_batches(dataset.test, self.settings, len(dataset.classes))
        return self.task.collect(results(step, self.params, self.state, images))


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
