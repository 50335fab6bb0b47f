"""Learning-rate schedules: every schedule of optax, by name."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import optax

from jaxconv._base.arguments import find, missing
from jaxconv._base.errors import ConfigError, raise_problems
from jaxconv._base.limits import LARGEST_INT
from jaxconv.training.optim.names import argument_problems, functions, is_number, traceable

__all__ = ["UNITS", "in_steps", "peak_argument", "rate_schedule", "schedule_arguments", "schedules"]

# Built from other schedules, or from tables that TOML cannot represent (integer keys).
_NOT_SCHEDULES = ("join_", "scale_by_", "sgdr_", "piecewise_", "inject_")
_DURATIONS = ("decay_steps", "transition_steps")
UNITS = ("epochs", "examples", "percent")
"""Units of a duration beside steps."""


def in_steps(
    args: Mapping[str, Any], batch_size: int, images: int, steps: int, path: str = "optim.schedule"
) -> dict[str, Any]:
    """Convert a schedule's durations to steps.

    Args:
      args: the schedule's arguments; `x_steps` can be given as `x_epochs`, `x_examples` or `x_percent` (of the run).
      batch_size: images per step.
      images: size of the training set.
      steps: total steps of the run.
      path: of the schedule in the config, for messages.

    Raises:
      ConfigError: if a duration is not a finite number.

    >>> in_steps({"warmup_epochs": 2, "decay_percent": 50}, batch_size=100, images=1000, steps=400)
    {'warmup_steps': 20, 'decay_steps': 200}
    """
    in_each = dict(zip(UNITS, (images / batch_size, 1 / batch_size, steps / 100), strict=True))

    found, wrong = {}, []
    for key, value in args.items():
        stem, _, unit = key.rpartition("_")
        if not stem or unit not in in_each:
            found[key] = value
        elif not is_number(value) or not math.isfinite(value):
            wrong.append(f"{path}.{key}: must be a finite number, got {value!r}")
        elif abs(value * in_each[unit]) > LARGEST_INT:
            wrong.append(f"{path}.{key}: must be at most {LARGEST_INT:,} steps, got {value!r}")
        else:
            found[f"{stem}_steps"] = round(value * in_each[unit])
    raise_problems(wrong)
    return found


def rate_schedule(name: str, learning_rate: float, steps: int, **args: Any) -> Callable[[Any], Any]:
    """Make an optax schedule with a given peak.

    Args:
      name: a key of `schedules()`, optax's name.
      learning_rate: the peak: `peak_value`, or else `init_value` or `value`.
      steps: total steps of the run; default of `decay_steps` and `transition_steps`.
      **args: the schedule's other arguments. If required but not given, `warmup_steps` is a tenth of `steps`, and
        `init_value` (beside a peak) and `end_value` are 0.

    Returns:
      `step -> learning rate`.

    Raises:
      ConfigError: if there is no such schedule or argument, or a required one is missing.

    >>> rate = rate_schedule("cosine_decay_schedule", 0.1, steps=100)
    >>> print(f"{rate(0):.2f} {rate(50):.2f} {rate(100):.2f}")
    0.10 0.05 0.00
    """
    filled = schedule_arguments(name, steps, **args)
    make = schedules()[name]
    filled |= {peak_argument(make): learning_rate}
    try:
        schedule: Callable[[Any], Any] = make(**filled)
        return schedule
    except (ValueError, ArithmeticError) as error:
        raise ConfigError(f"optim.schedule: {name} cannot be made of {_brief(filled)}: {error}") from None


def schedule_arguments(name: str, steps: int, **args: Any) -> dict[str, Any]:
    """Every argument of a schedule but its peak, with the defaults of `rate_schedule` and of optax.

    Args:
      name: a key of `schedules()`.
      steps: total steps of the run.
      **args: the schedule's own arguments.

    Raises:
      ConfigError: if there is no such schedule or argument, or a required one is missing.

    >>> schedule_arguments("warmup_cosine_decay_schedule", 276)
    {'init_value': 0.0, 'warmup_steps': 27, 'decay_steps': 276, 'end_value': 0.0, 'exponent': 1.0}
    """
    make = find("optim.schedule.name", name, schedules(), custom=False)
    peak = peak_argument(make)
    raise_problems(argument_problems("optim.schedule", make, args, given_elsewhere=(peak,)))
    ours: dict[str, Any] = dict.fromkeys(_DURATIONS, steps)
    ours |= {"warmup_steps": steps // 10, "init_value": 0.0, "end_value": 0.0}
    parameters = {key: each.default for key, each in inspect.signature(make).parameters.items() if key != peak}
    required = [key for key, default in parameters.items() if default is inspect.Parameter.empty]
    raise_problems(missing("optim.schedule", name, make, ours | args, elsewhere=(peak,)))
    filled = {key: ours[key] if key in required else default for key, default in parameters.items() if key not in args}
    return {key: value for key, value in filled.items() if value is not None} | traceable(args)


def _brief(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in arguments.items())


def peak_argument(make: Callable[..., Any]) -> str:
    """Name of the schedule's argument that is set to the learning rate."""
    parameters = inspect.signature(make).parameters
    return next(key for key in ("peak_value", "init_value", "value") if key in parameters)


@functools.cache
def schedules() -> dict[str, Callable[..., Any]]:
    """All optax schedules whose arguments are numbers, by name."""
    return {
        name: make
        for name, make in functions(optax, _NOT_SCHEDULES)
        if name.endswith("_schedule") or name == "exponential_decay"
    }
