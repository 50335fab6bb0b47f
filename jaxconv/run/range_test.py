"""Learning-rate range test: the training loss as the learning rate rises from step to step."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv.run.build import build_model, check, load_inputs, make_deterministic, matmul_precision, training_feed
from jaxconv.run.build.training import build_training
from jaxconv.run.config import Config, ScheduleConfig
from jaxconv.run.tasks import find_task, task_name
from jaxconv.training.loop import fit
from jaxconv.training.progress import Progress
from jaxconv.training.running import DivergedError
from jaxconv.training.step import metric_names

__all__ = ["RangeTest", "lr_range", "smoothed"]

_EXPLODED = 4.0  # times the least smoothed loss
_WINDOWS = 20  # of the smoothing, in a test


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """Result of `lr_range`.

    Args:
      rates: learning rate of each step.
      losses: training loss of each step, before its update.
      smooth: running averages of the losses.
      steepest: the learning rate at which the smoothed loss falls fastest; None if it does not fall.
      lowest: that of the least smoothed loss.
    """

    rates: list[float]
    losses: list[float]
    smooth: list[float]
    steepest: float | None
    lowest: float


def lr_range(
    settings: Config,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    report: Callable[[Any], None] = lambda event: None,
) -> RangeTest:
    """Train with a learning rate that rises exponentially, until the loss explodes; nothing is written.

    Args:
      settings: the config; its schedule is replaced.
      low: learning rate of the first step.
      high: that of the last step.
      steps: number of steps.
      report: called with each event of `jaxconv.training.loop.fit`.

    Raises:
      ConfigError, DataError, ShapeError: if the config or the range is invalid, or the first step diverges.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, 2017.
    """
    if not 0 < low < high < math.inf or steps < 10:
        raise ConfigError(f"a range test needs 0 < low < high and at least 10 steps; got {low:g}, {high:g} and {steps}")
    make_deterministic(settings)
    inputs = load_inputs(settings)
    settings = _rising(settings, low, high, steps, len(inputs.train))
    model = build_model(settings, inputs.dataset, inputs.train)
    training = build_training(settings, inputs, model)
    check(settings, inputs, model, training)
    task = find_task(task_name(settings, inputs.dataset))
    losses: list[float] = []

    def record(event: Any) -> None:
        if isinstance(event, Progress):
            losses.append(event.loss)
        report(event)

    def exploded() -> bool:
        smooth = smoothed(losses, steps)
        return bool(smooth) and smooth[-1] > _EXPLODED * min(smooth)

    start = training.devices.place(training.start())
    feed = training_feed(inputs, settings, training.seeds, 0, steps, training.devices)
    with matmul_precision(settings.precision), contextlib.closing(feed), contextlib.suppress(DivergedError):
        fit(
            training.step,
            start,
            feed,
            steps=steps,
            log_every=1,
            report=record,
            stop=exploded,
            members=training.members,
            metrics=metric_names(start.params, settings.train.log_norms, task.sums),
        )
    if len(losses) < 3:
        raise ConfigError(f"the loss is not finite after {len(losses)} steps at a learning rate of {low:g}; try less")
    rates = [float(training.rate(step)) for step in range(len(losses))]
    smooth = smoothed(losses, steps)
    return RangeTest(rates, losses, smooth, *_suggestions(rates, smooth))


def _rising(settings: Config, low: float, high: float, steps: int, images: int) -> Config:
    """The config of so many steps with an exponentially rising learning rate."""
    size = settings.train.batch_size
    schedule = ScheduleConfig("exponential_decay", {"transition_steps": steps - 1, "decay_rate": high / low})
    return dataclasses.replace(
        settings,
        train=dataclasses.replace(settings.train, epochs=(steps - 0.5) * size / images),
        optim=dataclasses.replace(settings.optim, learning_rate=low, schedule=schedule, swa=None, pruning=None),
    )


def smoothed(losses: Sequence[float], steps: int) -> list[float]:
    """Running averages of losses over about a twentieth of the steps, unbiased at the start.

    >>> smoothed([1.0, 1.0, 4.0], 40)
    [1.0, 1.0, 2.7142857142857144]
    """
    decay = max(0.0, 1 - _WINDOWS / steps)
    found, mean, weight = [], 0.0, 0.0
    for loss in losses:
        mean, weight = decay * mean + (1 - decay) * loss, decay * weight + (1 - decay)
        found.append(mean / weight)
    return found


def _suggestions(rates: Sequence[float], smooth: Sequence[float]) -> tuple[float | None, float]:
    """Learning rates of the steepest descent and of the least loss."""
    least = int(np.argmin(smooth))
    slopes = np.gradient(smooth)[: least + 1]
    steepest = rates[int(np.argmin(slopes))] if least and slopes.min() < 0 else None
    return steepest, rates[least]
