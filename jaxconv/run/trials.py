"""Runs of a sweep that chooses its values: asked for, watched, pruned, and recorded in the sweep's folder."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxconv._base.errors import ConfigError, DataError
from jaxconv.run.config import Config
from jaxconv.run.folder import combination_name
from jaxconv.run.records import write_json
from jaxconv.run.search import Method, Trial, corners, make_search, space
from jaxconv.run.settings import read_settings
from jaxconv.run.tasks import headline
from jaxconv.training.progress import Evaluation, Notice, Progress
from jaxconv.training.running import DivergedError

__all__ = ["FILE", "PrunedError", "Trials", "best"]

FILE = "sweep.json"


class PrunedError(Exception):
    """Raised from an event of a run to stop it, because it does worse than the others."""


class Trials:
    """The runs of a sweep by "random" or "tpe".

    Args:
      path: the config file.
      overrides: see `jaxconv.run.search.space`.
      folder: the sweep's.
      method: of the search.
      count: number of runs; None for those that there are.
      prune: whether to stop runs that do worse than the others.

    Raises:
      ConfigError: if a value is invalid, the folder is of another sweep, or values are chosen by test images.
      DataError: if the record of the sweep was damaged.
    """

    def __init__(
        self, path: Path, overrides: Sequence[str], folder: Path, method: Method, count: int | None, prune: bool
    ) -> None:
        self._axes = axes = space(overrides)
        self._path, self._folder, self._method, self._given = path, folder, method, list(overrides)
        self.samples = [
            read_settings(path, [f"{key}={text}" for key, text in point.items()]) for point in corners(axes)
        ]
        if method == "tpe" and not all(settled.data.validation for settled in self.samples):
            raise ConfigError("--method tpe chooses by validation images, got data.validation=0; hold some out")
        if prune and method != "tpe":
            raise ConfigError(f"--prune is for --method tpe, got {method}")
        self._trials = self._recorded()
        self.count = len(self._trials) if count is None else count
        if self.count < max(1, len(self._trials)):
            there = f"{len(self._trials)}, as there are, " if self._trials else "1 "
            raise ConfigError(f"--trials must be at least {there}for --method {method}; got {count or 'none'}")
        ended = [trial for trial in self._trials if trial.state != "running"]
        self._search = make_search(method, axes, ended, prune=prune)
        for trial in self._trials:
            if trial.state == "running":
                self._search.resume(trial)
        self._lock, self._steps = threading.Lock(), dict[int, int]()

    @property
    def started(self) -> list[tuple[str, Config]]:
        """Name and config of each run so far."""
        return [(_name(trial), self._settings(trial)) for trial in self._trials]

    def has_ended(self, number: int) -> bool:
        """Whether a run is not to be continued."""
        return number < len(self._trials) and self._trials[number].state != "running"

    def ask(self, number: int) -> tuple[str, Config]:
        """Name and config of a run, with values that are chosen now if it is new."""
        with self._lock:
            while len(self._trials) <= number:
                values = self._search.values(len(self._trials))
                chosen = {key: text for key, text in values.items() if self._axes[key] != [text]}
                self._trials.append(Trial(len(self._trials), values, chosen))
            self._save()
            return _name(self._trials[number]), self._settings(self._trials[number])

    def see(self, number: int, event: Any) -> None:
        """Learn from an event of a run.

        Raises:
          PrunedError: to stop it.
        """
        if isinstance(event, Progress):
            self._steps[number] = event.steps
        if not isinstance(event, Evaluation) or number not in self._steps:
            return
        percent = round(100 * event.step / self._steps[number])
        with self._lock:
            trial = self._trials[number]
            trial.seen[percent] = event.found.value
            self._save()
            if self._search.prunes(trial, percent) and percent < 100:
                found = event.found
                raise PrunedError(f"pruned at {percent} % of its steps, with {found.metric} {found.value:.4f}")

    def tell(self, number: int, result: Mapping[str, Any]) -> None:
        """Record the result of a run."""
        found = headline(result, "validation") or headline(result)
        assert found is not None
        self._end(number, "finished", found[1])

    def fail(self, number: int, error: PrunedError | DivergedError, report: Callable[[Any], None]) -> None:
        """Record why a run has no result."""
        if isinstance(error, PrunedError):
            self._end(number, "pruned", list(self._trials[number].seen.values())[-1])
        else:
            self._end(number, "diverged", 0.0)
        report(Notice(str(error)))

    def _end(self, number: int, state: Any, accuracy: float) -> None:
        with self._lock:
            trial = self._trials[number]
            trial.state, trial.accuracy = state, accuracy
            self._search.tell(trial)
            self._save()

    def _settings(self, trial: Trial) -> Config:
        return read_settings(self._path, [f"{key}={text}" for key, text in trial.values.items()])

    def _save(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        trials = [dataclasses.asdict(trial) for trial in self._trials]
        write_json(self._folder / FILE, {"method": self._method, "space": self._given, "trials": trials})

    def _recorded(self) -> list[Trial]:
        """The runs so far."""
        found = _read(self._folder)
        if found is None:
            return []
        for name, before, now in (("method", found[0], self._method), ("space", found[1], self._given)):
            if before != now:
                raise ConfigError(
                    f"{self._folder} has a sweep of another {name}, {_shown(before)}; got {_shown(now)}; "
                    "give --out another folder"
                )
        return found[2]


def best(folder: str | Path) -> tuple[str, float] | None:
    """Name and accuracy of the run of a sweep that is best on the validation images; None if it chose no values.

    Args:
      folder: the sweep's.
    """
    found = _read(Path(folder))
    finished = [] if found is None else [trial for trial in found[2] if trial.state == "finished"]
    if not finished:
        return None
    first = max(finished, key=lambda trial: trial.accuracy)
    return _name(first), first.accuracy


def _name(trial: Trial) -> str:
    """Folder name of a run: its number and the values that were chosen."""
    return combination_name(trial.chosen, f"{trial.number:03}-")


def _read(folder: Path) -> tuple[str, list[str], list[Trial]] | None:
    """Method, space and runs of a sweep's record; None if there is none."""
    if not (folder / FILE).exists():
        return None
    try:
        found = json.loads((folder / FILE).read_text("utf-8"))
        trials = [
            Trial(**each | {"seen": {int(at): share for at, share in each["seen"].items()}}) for each in found["trials"]
        ]
        return found["method"], found["space"], trials
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / FILE} was altered: {type(error).__name__}: {error}") from None


def _shown(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else " ".join(value)
