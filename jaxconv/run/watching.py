"""Decisions by the evaluations of a run: early stopping, and the learning rate on a plateau."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from jaxconv.run.config import Config
from jaxconv.training import optim
from jaxconv.training.progress import Score
from jaxconv.training.step import TrainState

__all__ = ["Watcher"]


class Watcher:
    """Watch the evaluations on the validation images; called with the state and the score of each.

    Args:
      settings: the config.
      start: the state that the run starts or resumes from.
      notes: those of the checkpoint that it resumes from.
      rate: the schedule, `step -> learning rate`.
    """

    def __init__(
        self, settings: Config, start: TrainState, notes: dict[str, Any], rate: Callable[[int], float]
    ) -> None:
        self._wanted, self._plateau, self._rate = settings.early_stopping, settings.optim.plateau, rate
        self._scale = optim.plateau_scale(start.opt_state)
        before = notes.get("early_stopping", {})
        best = before.get("best")
        self._best, self.waited = -math.inf if best is None else float(best), int(before.get("waited", 0))

    def score(self, found: Score) -> float:
        """The value that is to increase: the task's metric, or the negative loss."""
        return -found.loss if self._wanted.patience is not None and self._wanted.monitor == "loss" else found.value

    def __call__(self, train: TrainState, found: Score) -> TrainState:
        """The state that training continues with."""
        if self._wanted.patience is not None:
            improved = self.score(found) > self._best + self._wanted.min_delta
            self._best = self.score(found) if improved else self._best
            self.waited = 0 if improved else self.waited + 1
        if self._plateau is not None:
            plateau = dataclasses.asdict(self._plateau)
            train = dataclasses.replace(train, opt_state=optim.observe_loss(train.opt_state, found.loss, **plateau))
            self._scale = optim.plateau_scale(train.opt_state)
        return train

    @property
    def stopped(self) -> bool:
        """Whether so many evaluations were no better that the run ends."""
        return self._wanted.patience is not None and self.waited >= self._wanted.patience

    @property
    def notes(self) -> dict[str, Any]:
        """What a checkpoint must have to resume; empty without early stopping."""
        if self._wanted.patience is None:
            return {}
        best = None if self._best == -math.inf else self._best
        return {"early_stopping": {"best": best, "waited": self.waited}}

    def rate(self, step: int) -> float:
        """The learning rate of a step: of the schedule, reduced on plateaus."""
        return self._rate(step) * self._scale
