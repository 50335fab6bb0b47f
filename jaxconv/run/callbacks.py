"""What is done between the steps of a run: tests, saves, and signals."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxconv._base import interrupt
from jaxconv.data import Source
from jaxconv.run.setup import Setup, inputs
from jaxconv.training.evaluation import Answers, EvalStep, answer, make_eval_step
from jaxconv.training.metrics import calibration_gap
from jaxconv.training.progress import Score
from jaxconv.training.rolling import Checkpoints
from jaxconv.training.running import Means
from jaxconv.training.step import TrainState

__all__ = ["Saver", "Tester", "score", "signals"]


class Tester:
    """Tests a state: on the images kept back where there are any, else on the test images."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._source = setup.dataset.test if setup.validation is None else setup.validation
        self._step: EvalStep = jax.jit(make_eval_step(setup.net, setup.prepare, members=setup.seeds is not None))
        self.part = "test" if setup.validation is None else "validation"
        self.last: Answers | None = None

    def __call__(self, state: TrainState) -> Score:
        self.last = self._answers(state, self._source)
        return score(self.last, len(self._setup.dataset.classes))

    def finally_on_test(self, state: TrainState) -> Answers:
        """The answers to the test images."""
        if self._setup.validation is None and self.last is not None:
            return self.last
        return self._answers(state, self._setup.dataset.test)

    def _answers(self, state: TrainState, source: Source) -> Answers:
        feed = inputs(source, self._setup.settings, len(self._setup.dataset.classes))
        return answer(self._step, *state.tested, feed)


def score(found: Answers, classes: int) -> Score:
    """Answers as the numbers that are reported; an ensemble's are those of its mean probability."""
    whole = found.together
    more: dict[str, Any] = {"top5": whole.top(5)} if classes > 5 else {}
    more["calibration_error"] = float(calibration_gap(whole.confidence, whole.rank == 0))
    if found.vote_accuracy is not None:
        more["vote_accuracy"] = found.vote_accuracy
        more["member_accuracies"] = [float(share) for share in (found.rank == 0).mean(-1)]
    return Score(whole.mean_loss, whole.accuracy, more)


class Saver:
    """Says when to save, and saves: every so many seconds and steps, and after the best test so far."""

    def __init__(
        self, kept: Checkpoints, every_seconds: float, every_steps: int, first: int, notes: dict[str, Any]
    ) -> None:
        self._kept, self._seconds, self._steps = kept, every_seconds, every_steps
        self._last, self._at, self._began = first, time.perf_counter(), time.perf_counter()
        self.before = float(notes.get("seconds", 0.0))
        self._best = float(notes.get("best", -1.0))
        self._score: float | None = None

    def due(self, done: int) -> int | None:
        """The step to save at next, as `fit` wants it."""
        ahead = done - done % self._steps + self._steps if self._steps else None
        if done == self._last:
            return ahead
        now = time.perf_counter() - self._at >= self._seconds
        improved = self._score is not None
        return done if now or improved or (self._steps and done % self._steps == 0) else ahead

    def scored(self, test: Callable[[TrainState], Score]) -> Callable[[TrainState], Score]:
        """The same test; what is better than all before it is saved."""

        def run(state: TrainState) -> Score:
            found = test(state)
            if found.accuracy > self._best:
                self._best = self._score = found.accuracy
            return found

        return run

    def save(self, state: TrainState, done: int, means: Means) -> None:
        """Keep a state, with what has been measured since the last report and the seconds that the run has taken."""
        seconds = self.before + time.perf_counter() - self._began
        notes = {"seconds": seconds, "best": self._best, "means": dataclasses.asdict(means)}
        self._kept.save(done, state, notes, self._score)
        self._last, self._at, self._score = done, time.perf_counter(), None


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM is put in the list; a second one ends a command at once, else KeyboardInterrupt."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may listen
        return

    def listen(number: int, frame: Any) -> None:
        if asked:
            interrupt.again(number)
        asked.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, listen) for number in numbers]
    try:
        with interrupt.saving():
            yield asked
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
