"""Running averages since the last report."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxconv.training.step import GRADIENT_NORM, WEIGHT_NORM

__all__ = ["DivergedError", "Means"]


class DivergedError(ArithmeticError):
    """Training diverged: the loss or a parameter became NaN or infinite at `step`."""

    def __init__(self, step: int, value: float | str, member: int | None = None, what: str = "the loss") -> None:
        whose = "" if member is None else f" of member {member}"
        super().__init__(
            f"{what}{whose} became {value} at step {step}; try a smaller optim.learning_rate, "
            "a schedule with warmup_steps, optim.max_grad_norm, or batch normalization"
        )
        self.step = step


@dataclasses.dataclass(frozen=True)
class Means:
    """Sums of metrics since the last report.

    They are accumulated step by step in float64, so that they do not depend on how steps are divided into dispatches.
    """

    steps: int = 0
    losses: float = 0.0
    correct: float | None = 0.0
    count: float = 0.0
    gradients: float = 0.0
    finite: int = 0
    weights: dict[str, float] = dataclasses.field(default_factory=dict)

    def after(self, before: int, found: Any) -> Means:
        """Add the steps of a dispatch; waits for its results.

        Raises:
          DivergedError: if a loss is not finite.
        """
        taken, metrics = jax.device_get(found)
        each = {name: np.asarray(value[:taken], np.float64) for name, value in metrics.items()}
        finite = np.isfinite(each["loss"])
        if not finite.all():
            number, *member = np.argwhere(~finite)[0]
            whose = int(member[0]) if member else None
            raise DivergedError(before + int(number) + 1, float(each["loss"][number, *member]), whose)
        losses, correct, count, gradients, steps = self.losses, self.correct, self.count, self.gradients, self.finite
        measured = "correct" in each
        for number in range(taken):
            losses += float(each["loss"][number].mean())
            correct = (correct or 0.0) + float(each["correct"][number].sum()) if measured else None
            count += float(each["count"][number].sum())
            norm = float(each[GRADIENT_NORM][number].mean()) if GRADIENT_NORM in each else np.nan
            if np.isfinite(norm):  # a step whose float16 gradient overflows is skipped
                gradients, steps = gradients + norm, steps + 1
        last = {name: value[-1].mean() for name, value in each.items() if name.startswith(WEIGHT_NORM) and len(value)}
        norms = {name.removeprefix(WEIGHT_NORM): float(norm) for name, norm in last.items()}
        weights = {name: norm for name, norm in norms.items() if np.isfinite(norm)} or self.weights
        return Means(self.steps + int(taken), losses, correct, count, gradients, steps, weights)

    @property
    def loss(self) -> float:
        """Mean loss over steps and members."""
        return self.losses / self.steps if self.steps else 0.0

    @property
    def accuracy(self) -> float | None:
        """Training accuracy; None if predictions are not right or wrong."""
        if self.correct is None:
            return None
        return self.correct / self.count if self.count else 0.0

    @property
    def gradient_norm(self) -> float | None:
        """Mean gradient norm over steps and members; None if not measured."""
        return self.gradients / self.finite if self.finite else None
