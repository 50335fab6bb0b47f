"""Evaluation budget: about 20 evaluations of a run, within a share of its training time."""

from __future__ import annotations

import math

__all__ = ["EvaluationBudget"]

POINTS = 20
SHARE = 0.05
_FORWARD = 0.5  # upper bound of an evaluation's time per image, as a share of a training step's


class EvaluationBudget:
    """Evaluations at about 20 evenly spaced steps; those beyond 5 % of the training time so far are skipped.

    The time of an evaluation is that of the latest one. The first one includes compilation, which the evaluation at
    the end of the run needs anyway, and counts at most as half of a training step on as many images.

    Args:
      steps: total steps of the run.
      images: number of evaluation images.

    >>> budget = EvaluationBudget(steps=1000, images=100)
    >>> budget.next(120), budget.affords(150, images_per_second=500, seconds=1.0)
    (150, False)
    >>> budget.affords(150, images_per_second=500, seconds=2.0)
    True
    """

    def __init__(self, steps: int, images: int) -> None:
        self._every, self._steps, self._images = max(1, math.ceil(steps / POINTS)), steps, images
        self._count, self._seconds = 0, math.inf

    def next(self, done: int) -> int:
        """The next step of an evaluation, which may be skipped.

        Args:
          done: steps taken.
        """
        return min(self._steps, done - done % self._every + self._every)

    def affords(self, done: int, images_per_second: float, seconds: float) -> bool:
        """Whether to evaluate now.

        Args:
          done: steps taken.
          images_per_second: training speed.
          seconds: training time so far.
        """
        if done % self._every or done >= self._steps or not images_per_second:
            return False
        estimate = _FORWARD * self._images / images_per_second
        each = min(self._seconds, estimate) if self._count < 2 else self._seconds
        return (self._count + 1) * each <= SHARE * seconds

    def spend(self, seconds: float) -> None:
        """Account for an evaluation.

        Args:
          seconds: that it took.
        """
        self._count, self._seconds = self._count + 1, seconds
