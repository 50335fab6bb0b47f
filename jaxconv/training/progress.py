"""Events that the training loop reports."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Compiled:
    """Told once, before the first step: how long compiling took."""

    seconds: float


@dataclasses.dataclass(frozen=True)
class Progress:
    """Told every `log_every` steps: means over the steps since the last time (and over an ensemble).

    `waiting` is the share of the time that the device waited for data. Where the step measures norms, `gradient_norm`
    is a mean like the others, over the steps whose gradient was finite, and `weight_norms` are those of the last step.
    """

    step: int
    steps: int
    loss: float
    accuracy: float
    images_per_second: float
    seconds_left: float
    waiting: float = 0.0
    gradient_norm: float | None = None
    weight_norms: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Score:
    """What a test found; `more` holds other numbers by their names."""

    loss: float
    accuracy: float
    more: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Told after each pass over the images that are tested on."""

    step: int
    found: Score


@dataclasses.dataclass(frozen=True)
class Notice:
    """A line for the user: a damaged checkpoint, a picture that could not be drawn."""

    text: str
