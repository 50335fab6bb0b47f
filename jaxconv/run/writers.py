"""Writers of a run's metrics: TensorBoard's event files, Weights & Biases, MLflow."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from jaxconv._base.errors import ConfigError
from jaxconv.run.config import Config
from jaxconv.run.records import read_ids, write_json
from jaxconv.run.settings import flat
from jaxconv.run.tensorboard import EventWriter
from jaxconv.training.progress import Notice

__all__ = ["Tracker", "Writer", "check_writers", "open_writers"]

CLOSE_SECONDS = 20.0
"""Time for the last metrics to reach a tracking server."""
INIT_SECONDS = 15.0
_IDS = "trackers.json"
_MANY = 100  # parameters and metrics of one request to MLflow
_LONGEST = 6000  # characters of a parameter of MLflow


class Writer(Protocol):
    """A sink of a run's scalars."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write the scalars of one step, {"train/loss": 0.3, …}."""
        ...

    def close(self, *, finished: bool) -> None:
        """Write what is left; `finished` is False if the run was stopped or failed."""
        ...


def check_writers(settings: Config) -> None:
    """Raise ConfigError if the library of one of a config's writers is not installed."""
    for name in settings.log.writers:
        if name in _TRACKERS and importlib.util.find_spec(name) is None:
            raise ConfigError(
                f'log.writers: {name} needs the "{name}" extra: python -m pip install "jaxconv[{name}]"; '
                'without it: log.writers=["tensorboard"]'
            )


def open_writers(settings: Config, folder: Path, since: int, report: Callable[[Any], None]) -> list[Writer]:
    """The writers of a run.

    Args:
      settings: its config.
      folder: its folder.
      since: step that it resumes from, or 0.
      report: called with a `Notice` if a tracking server is unreachable; the run continues without it.

    Raises:
      WriteError: if a file in the run's folder cannot be written.
    """
    made: list[Writer] = []
    for name in settings.log.writers:
        if name in _TRACKERS:
            made.append(Background(name, _connection(name, settings, folder), report))
        else:
            made.append(EventWriter(folder / "events", purge_step=since + 1 if since else None))
    return made


def _connection(name: str, settings: Config, folder: Path) -> Callable[[], Tracker]:
    """`() -> tracker`. Its modules are imported here: two threads must not import what imports each other."""
    modules, make = _TRACKERS[name]
    try:
        for module in modules:
            importlib.import_module(module)
    except Exception as error:  # of an incomplete installation
        return functools.partial(_raise, error)
    return functools.partial(make, settings, folder)


def _raise(error: Exception) -> Tracker:
    raise error


class Tracker(Protocol):
    """A connection to a tracking library; made, used and closed by one thread."""

    def log(self, step: int, values: Mapping[str, float], seconds: float) -> None:
        """Log scalars that were measured at a time in seconds since 1970."""
        ...

    def end(self, finished: bool) -> None:
        """Close the connection."""
        ...


class Background:
    """A writer whose tracker works in a thread, so that training waits for no network.

    After its first error a tracker is left alone, with one notice.

    Args:
      name: of the tracker, for the notice.
      make: connects.
      report: called with the notice, in the thread of `scalars` and `close`.
    """

    def __init__(self, name: str, make: Callable[[], Tracker], report: Callable[[Any], None]) -> None:
        self._name, self._report, self._said = name, report, False
        self._items = queue.SimpleQueue[Callable[[Tracker], None] | None]()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, args=[make], daemon=True, name=name)
        self._thread.start()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        at, found = time.time(), dict(values)
        if self._error is None:
            self._items.put(lambda tracker: tracker.log(step, found, at))
        self._notice()

    def close(self, *, finished: bool) -> None:
        self._items.put(lambda tracker: tracker.end(finished))
        self._items.put(None)
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive() and self._error is None:
            self._error = TimeoutError(f"took longer than {CLOSE_SECONDS:.0f} s at the end")
        self._notice()

    def _work(self, make: Callable[[], Tracker]) -> None:
        try:
            tracker = make()
            while (item := self._items.get()) is not None:
                item(tracker)
        except Exception as error:
            self._error = error

    def _notice(self) -> None:
        if self._error is not None and not self._said:
            self._said = True
            reason = (str(self._error).splitlines() or [type(self._error).__name__])[0]
            self._report(Notice(f"{self._name} is left out from here on: {reason}; the run continues"))


class _Wandb:
    """A run of Weights & Biases, offline if WANDB_MODE says so.

    Source: https://docs.wandb.ai.
    """

    def __init__(self, settings: Config, folder: Path) -> None:
        import wandb

        known = read_ids(folder / _IDS)
        if "wandb" not in known:
            write_json(folder / _IDS, known | {"wandb": uuid.uuid4().hex[:12]})
        self._run = wandb.init(
            project=settings.log.project,
            name=folder.name,
            id=read_ids(folder / _IDS)["wandb"],
            resume="allow",
            dir=str(folder),
            config=flat(settings),
            settings=wandb.Settings(init_timeout=INIT_SECONDS, silent=True, console="off", x_disable_stats=True),
        )
        self._run.define_metric("*", step_metric="step")  # a resumed run repeats steps, which wandb's own cannot

    def log(self, step: int, values: Mapping[str, float], seconds: float) -> None:
        self._run.log({"step": step, **values})

    def end(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


class _Mlflow:
    """A run of MLflow at MLFLOW_TRACKING_URI, or at MLflow's default.

    Source: https://mlflow.org/docs.
    """

    def __init__(self, settings: Config, folder: Path) -> None:
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self._client, known = MlflowClient(), read_ids(folder / _IDS)
        if "mlflow" in known:
            self._id = known["mlflow"]
            self._client.update_run(self._id, status="RUNNING")
            return
        experiment = self._client.get_experiment_by_name(settings.log.project)
        where = experiment.experiment_id if experiment else self._client.create_experiment(settings.log.project)
        self._id = self._client.create_run(where, run_name=folder.name).info.run_id
        write_json(folder / _IDS, known | {"mlflow": self._id})
        params = [Param(_plain(key), str(value)[:_LONGEST]) for key, value in flat(settings).items()]
        for first in range(0, len(params), _MANY):
            self._client.log_batch(self._id, params=params[first : first + _MANY])

    def log(self, step: int, values: Mapping[str, float], seconds: float) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(_plain(name), value, round(1000 * seconds), step) for name, value in values.items()]
        for first in range(0, len(metrics), _MANY):
            self._client.log_batch(self._id, metrics=metrics[first : first + _MANY])

    def end(self, finished: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")


def _plain(name: str) -> str:
    """A name in the letters that MLflow takes."""
    return "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in name)


_TRACKERS: dict[str, tuple[tuple[str, ...], Callable[[Config, Path], Tracker]]] = {
    "wandb": (("wandb",), _Wandb),
    "mlflow": (("mlflow.entities", "mlflow.tracking"), _Mlflow),
}
