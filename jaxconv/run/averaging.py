"""Averages of the weights of finished runs (model soups)."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxconv._base import checksums
from jaxconv._base.errors import ConfigError
from jaxconv._base.files import write_atomically
from jaxconv.data import Source
from jaxconv.data.fingerprint import fingerprint
from jaxconv.run import config
from jaxconv.run.build import Inputs, evaluation_batches, load_inputs, matmul_precision, training_feed
from jaxconv.run.config import Config
from jaxconv.run.finished import Run, load
from jaxconv.run.folder import at_once, check_new
from jaxconv.run.manifest import command, device, manifest
from jaxconv.run.records import read_manifest, write_json
from jaxconv.run.settings import changed
from jaxconv.run.trained import trained, write_result
from jaxconv.training import checkpoint
from jaxconv.training.devices import make_devices
from jaxconv.training.evaluation import results
from jaxconv.training.progress import Score
from jaxconv.training.statistics import recompute_statistics

__all__ = ["Average", "average"]


@dataclasses.dataclass(frozen=True)
class Average:
    """Result of `average`.

    Args:
      accuracies: of each run, or the metric of its task, on the validation images, or the test images if none are held
        out.
      chosen: for each run, whether it is part of the average.
      result: the content of `result.json`.
    """

    accuracies: list[float]
    chosen: list[bool]
    result: dict[str, Any]


def average(
    folders: Sequence[str | Path], folder: str | Path, *, greedy: bool = False, root: str | None = None
) -> Average:
    """Average the weights of finished runs of one net, into the folder of a finished run.

    Batch norms get their statistics from the training images. A greedy average takes the runs from the most accurate
    on, each only if the average is then no less accurate, all on validation images.

    Args:
      folders: of the runs, which should have a common start: pretrained weights, or the first part of a training.
      folder: of the average; must be missing or empty.
      greedy: whether to leave out runs that make the average worse.
      root: data directory; the runs' if None.

    Raises:
      ConfigError: if there are fewer than two runs, they are of different nets or data or of ensembles, or a greedy
        average has no validation images.
      DataError: if a run is not finished, or it or its data is damaged.
      OSError: if a file cannot be written.

    Source: Wortsman et al., Model Soups, 2022; Izmailov et al., Averaging Weights Leads to Wider Optima, 2018.
    """
    began, folder = time.perf_counter(), Path(folder)
    check_new(folder)
    if len({Path(each).resolve() for each in folders}) < max(2, len(folders)):
        raise ConfigError(f"average needs two or more different runs, got {', '.join(map(str, folders)) or 'none'}")
    runs = [load(each) for each in folders]
    for other in runs:
        _check_alike(runs[0], other)
    settings = runs[0].settings
    if greedy and not settings.data.validation:
        raise ConfigError("a greedy average needs validation images that no run was trained on; got data.validation=0")
    if root is not None:
        settings = dataclasses.replace(settings, data=dataclasses.replace(settings.data, root=root))
    with matmul_precision(settings.precision):
        soup = _Soup(runs[0], settings, load_inputs(settings))
        accuracies = [soup.accuracy(each) for each in runs]
        chosen = soup.greedily(runs, accuracies) if greedy else runs
        mean = soup.of(chosen)
        result = soup.result(mean)
    result["steps"] = max(each.result["steps"] for each in chosen)
    result["average_of"] = [str(each.folder) for each in chosen]
    sums = {str(each.folder): checksums.of_file(each.folder / "params.safetensors") for each in chosen}
    with at_once(folder) as inner:
        write_atomically(inner / "config.toml", config.to_toml(settings).encode())
        write_json(inner / "manifest.json", soup.manifest() | {"average_of": sums})
        checkpoint.save(inner / "params.safetensors", trained(mean.params, mean.state))
        result["seconds"] = {"total": time.perf_counter() - began}
        write_result(inner, result)
    return Average(accuracies, [any(each is one for one in chosen) for each in runs], result)


class _Soup:
    """Averages of runs of one net, and how good they are.

    Args:
      like: one of the runs.
      settings: its config.
      inputs: its data.
    """

    def __init__(self, like: Run, settings: Config, inputs: Inputs) -> None:
        self._like, self._settings, self._inputs = like, settings, inputs
        self._step = jax.jit(like.task.make_eval_step(like.net, like.prepare, views=like.views))

    def of(self, runs: Sequence[Run]) -> Run:
        """The average of runs; one alone is itself."""
        if len(runs) == 1:
            return runs[0]
        params, state = (
            jax.tree.map(_mean, *trees) for trees in zip(*((r.params, r.state) for r in runs), strict=True)
        )
        state = recompute_statistics(self._like.net, params, state, self._images(), prepare=self._like.prepare)
        return dataclasses.replace(self._like, params=params, state=state)

    def greedily(self, runs: Sequence[Run], accuracies: Sequence[float]) -> list[Run]:
        """The runs of which each made the average of those before it no less accurate."""
        chosen: list[Run] = []
        best = 0.0
        for number in np.argsort(-np.asarray(accuracies), kind="stable"):
            found = self.accuracy(self.of([*chosen, runs[number]])) if chosen else accuracies[number]
            if found >= best:
                chosen, best = [*chosen, runs[number]], found
        return chosen

    def accuracy(self, run: Run) -> float:
        """The task's metric on the validation images; on the test images as it was recorded, if none are held out."""
        if self._inputs.validation is None:
            return run.result[f"test_{run.task.metric}"]  # type: ignore[literal-required]
        return self._score(run, self._inputs.validation).value

    def result(self, run: Run) -> dict[str, Any]:
        """The content of `result.json`, but for times and origins."""
        numbers, metric = self._score(run, self._inputs.dataset.test), self._like.task.metric
        validation = {} if self._inputs.validation is None else {f"validation_{metric}": self.accuracy(run)}
        return {
            f"test_{metric}": numbers.value,
            "test_loss": numbers.loss,
            **{f"test_{name}": value for name, value in numbers.more.items()},
            **validation,
            "task": self._like.task_name,
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(run.params)),
            "input": self._like.result["input"],
            "device": device(),
            "command": command(),
        }

    def manifest(self) -> dict[str, Any]:
        """Versions, code and data of the average, and the schedule of its config as it was given."""
        found = manifest(self._settings, fingerprint(self._inputs.dataset))
        if (self._like.folder / "manifest.json").exists():
            found |= {key: value for key, value in read_manifest(self._like.folder).items() if key == "schedule"}
        return found

    def _score(self, run: Run, source: Source) -> Score:
        classes = self._inputs.dataset.classes
        images = evaluation_batches(source, self._settings, len(classes))
        return run.task.score(run.task.collect(results(self._step, run.params, run.state, images)), classes)

    def _images(self) -> Iterator[jax.Array]:
        """The training images once, shuffled and without augmentation, but for those of an incomplete batch."""
        train = self._settings.train
        steps = len(self._inputs.train) // train.batch_size
        feed = training_feed(self._inputs, self._settings, train.seed, 0, steps, make_devices(data=1))
        try:
            for step in range(steps):
                item = jax.tree.map(lambda leaf: leaf[0], feed.items(step, 1))
                yield feed.take(feed.data, item).image
        finally:
            feed.close()


def _mean(*leaves: Any) -> jax.Array:
    """Mean of one parameter over runs."""
    return jax.numpy.asarray(np.mean([np.asarray(leaf, np.float64) for leaf in leaves], axis=0), leaves[0].dtype)


def _check_alike(first: Run, other: Run) -> None:
    """Raise ConfigError unless the weights of two runs can be averaged and compared on the same images."""
    if other.members:
        raise ConfigError(
            f"average needs runs of one net each; {other.folder} is an ensemble of {other.settings.ensemble.size}, "
            "whose predictions are averaged already"
        )
    keys = changed(other.settings, first.settings)
    differ = [key for key in keys if key.startswith(("net.", "data.")) and key not in ("data.root", "data.workers")]
    if differ or other.input != first.input:
        values = [f"{key}={keys[key]['before']!r}, not {keys[key]['now']!r}" for key in differ] or ["other images"]
        raise ConfigError(
            f"average needs runs of the same net and data; {other.folder} has {'; '.join(values)} as {first.folder}"
        )
