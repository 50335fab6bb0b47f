"""Events that the training loop reports."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Emitted before the first step of each program: the compilation time."""

    seconds: float


@dataclasses.dataclass(frozen=True)
class Progress:
    """Emitted every `log_every` steps: means over the steps since the last report (and over an ensemble).

    `accuracy` is None if predictions are not right or wrong. `waiting` is the fraction of time spent waiting for data.
    If the step measures norms, `gradient_norm` is the mean over steps with finite gradients, and `weight_norms` are
    those of the last step.
    """

    step: int
    steps: int
    loss: float
    accuracy: float | None
    images_per_second: float
    seconds_left: float
    waiting: float = 0.0
    gradient_norm: float | None = None
    weight_norms: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Score:
    """Result of an evaluation: the loss, and a metric that is to increase; `more` has further metrics by name."""

    loss: float
    value: float
    more: dict[str, Any] = dataclasses.field(default_factory=dict)
    metric: str = "accuracy"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Emitted after each evaluation."""

    step: int
    found: Score


@dataclasses.dataclass(frozen=True)
class Notice:
    """A message for the user, such as a damaged checkpoint or a plot that failed."""

    text: str
