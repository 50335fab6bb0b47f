"""Callbacks of a run between dispatches: evaluation, checkpoints, signals."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax

from jaxconv._base import interrupt, processes
from jaxconv.data import Batch, Source
from jaxconv.run.build import Inputs, Model, evaluation_batches, make_views
from jaxconv.run.config import CheckpointConfig, Config
from jaxconv.run.tasks import find_task, task_name
from jaxconv.run.watching import Watcher
from jaxconv.training.calibration import fit_temperature
from jaxconv.training.devices import Devices
from jaxconv.training.ensemble import Members
from jaxconv.training.evaluation import EvalStep, make_scores, results, scores
from jaxconv.training.placement import number_in
from jaxconv.training.progress import Score
from jaxconv.training.rolling import Checkpoints
from jaxconv.training.running import Means
from jaxconv.training.step import TrainState

__all__ = ["Saver", "Tester", "signals"]


class Tester:
    """Evaluate a state on the validation images, or on the test images if none are held out.

    Args:
      settings: the config.
      inputs: the run's data.
      model: the run's net.
      members: `Training.members`.
      devices: the run's mesh.
    """

    def __init__(self, settings: Config, inputs: Inputs, model: Model, *, members: Members, devices: Devices) -> None:
        self._settings, self._inputs, self._devices = settings, inputs, devices
        self._source = inputs.dataset.test if inputs.validation is None else inputs.validation
        views = make_views(settings.tta)
        self._task = find_task(task_name(settings, inputs.dataset))
        self._net, self._prepare = devices.layer(model.net), model.prepare
        self._options: dict[str, Any] = {"members": members, "views": views}
        self._step = self._compiled(self._task.make_eval_step(self._net, self._prepare, **self._options))
        self.part = "test" if inputs.validation is None else "validation"
        self.images = views.count * len(self._source)
        self.last: Any = None

    def __call__(self, state: TrainState) -> Score:
        self.last = self._found(state, self._source)
        return self._task.score(self.last, self._inputs.dataset.classes)

    def temperature(self, state: TrainState) -> float:
        """Temperature of the final state's predictions, fitted to the images of evaluations."""
        step = self._compiled(make_scores(self._net, self._prepare, **self._options))
        return fit_temperature(*scores(step, *state.tested, self._batches(self._source)))

    def on_test(self, state: TrainState, temperature: float | None = None) -> Any:
        """What the task collects of the final state and the test images, evaluated unless `__call__` did so last."""
        if temperature is not None:
            step = self._task.make_eval_step(self._net, self._prepare, **self._options, temperature=temperature)
            self._step = self._compiled(step)
        elif self._inputs.validation is None and self.last is not None:
            return self.last
        return self._found(state, self._inputs.dataset.test)

    def _found(self, state: TrainState, source: Source) -> Any:
        return self._task.collect(results(self._step, *state.tested, self._batches(source)))

    def _batches(self, source: Source) -> Iterable[Batch]:
        return evaluation_batches(source, self._settings, len(self._inputs.dataset.classes), self._devices)

    def _compiled(self, step: EvalStep) -> EvalStep:
        """The step, whose result every process has whole."""
        return jax.jit(step, out_shardings=self._devices.whole)


class Saver:
    """Save checkpoints: every so many seconds and steps, and after the best evaluation so far.

    Args:
      checkpoints: the run's.
      wanted: seconds and steps between two checkpoints.
      first: step that the run starts or resumes from.
      notes: those of the checkpoint that it resumes from.
      watcher: says which evaluation is better, and what a checkpoint must have of it.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        wanted: CheckpointConfig,
        first: int,
        notes: dict[str, Any],
        watcher: Watcher,
    ) -> None:
        self._checkpoints, self._seconds, self._steps = checkpoints, wanted.every_seconds, wanted.every_steps
        self._watcher = watcher
        self._last, self._at, self._began = first, time.perf_counter(), time.perf_counter()
        self.before = float(notes.get("seconds", 0.0))
        best = notes.get("best")
        self._best = -math.inf if best is None else float(best)
        self._score: float | None = None

    def due(self, done: int) -> int | None:
        """Step of the next checkpoint, see `fit`."""
        ahead = done - done % self._steps + self._steps if self._steps else None
        if done == self._last:
            return ahead
        now = time.perf_counter() - self._at >= self._seconds
        improved = self._score is not None
        return done if now or improved or (self._steps and done % self._steps == 0) else ahead

    def scored(self, test: Callable[[TrainState], Score], only: int | None = None) -> Callable[[TrainState], Score]:
        """Wrap an evaluation: a state that is better than all before it will be saved.

        Args:
          test: the evaluation.
          only: the step whose state may be saved so; None for each.
        """

        def run(state: TrainState) -> Score:
            found = test(state)
            if only not in (None, int(number_in(state.step))):
                return found
            score = self._watcher.score(found)
            if score > self._best:
                self._best = self._score = score
            return found

        return run

    def save(self, state: TrainState, done: int, means: Means) -> None:
        """Save a state, with the metrics since the last report and the run's wall time so far."""
        seconds = self.before + time.perf_counter() - self._began
        best = None if self._best == -math.inf else self._best
        notes = {"seconds": seconds, "best": best, "means": dataclasses.asdict(means)} | self._watcher.notes
        self._checkpoints.save(done, state, notes, self._score)
        self._last, self._at, self._score = done, time.perf_counter(), None


_listening: list[list[int]] = []


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], int | None]]:
    """Handle Ctrl-C and SIGTERM in any process; a second one ends a command at once, or raises KeyboardInterrupt.

    Only the main thread may set handlers: another one hears what the main thread's `signals` hear, if there are any.

    Yields:
      `() -> the first signal`, or None; with several processes process 0 learns of those of the others.
    """
    asked: list[int] = []

    def received() -> int | None:
        return processes.asked(asked[0] if asked else None)

    if threading.current_thread() is not threading.main_thread():
        asked = _listening[-1] if _listening else asked
        yield received
        return

    def listen(number: int, frame: Any) -> None:
        if asked:
            interrupt.again(number)
        asked.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, listen) for number in numbers]
    try:
        _listening.append(asked)
        with interrupt.saving():
            yield received
    finally:
        _listening.pop()
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
