"""Any schedule of optax by its own name, with its own arguments."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import optax

from jaxconv._base.errors import ConfigError
from jaxconv._base.limits import LARGEST_INT
from jaxconv.training.optim.names import argument_problems, functions, is_number, pick, refuse, traceable

__all__ = ["in_steps", "peak_argument", "rate_schedule", "schedule_arguments", "schedules"]

# These are made of other schedules, or of lists that TOML cannot write (integers as keys).
_NOT_SCHEDULES = ("join_", "scale_by_", "sgdr_", "piecewise_", "inject_")
_DURATIONS = ("decay_steps", "transition_steps")


def in_steps(args: Mapping[str, Any], batch_size: int, images: int, steps: int) -> dict[str, Any]:
    """A schedule's durations as steps, where they were given as something else.

    Args:
      args: a schedule's arguments; one called `x_steps` may come as `x_epochs`, `x_examples` or
        `x_percent` (of the whole run).
      batch_size: images a step.
      images: in the training set.
      steps: how many steps the whole run has.

    Raises:
      ConfigError: a duration is no finite number.

    >>> in_steps({"warmup_epochs": 2, "decay_percent": 50}, batch_size=100, images=1000, steps=400)
    {'warmup_steps': 20, 'decay_steps': 200}
    """
    in_each = {"epochs": images / batch_size, "examples": 1 / batch_size, "percent": steps / 100}

    found, wrong = {}, []
    for key, value in args.items():
        stem, _, unit = key.rpartition("_")
        if not stem or unit not in in_each:
            found[key] = value
        elif not is_number(value) or not math.isfinite(value):
            wrong.append(f"optim.schedule.{key}: must be a finite number, got {value!r}")
        elif abs(value * in_each[unit]) > LARGEST_INT:
            wrong.append(f"optim.schedule.{key}: must be at most {LARGEST_INT:,} steps, got {value!r}")
        else:
            found[f"{stem}_steps"] = round(value * in_each[unit])
    refuse(wrong)
    return found


def rate_schedule(name: str, learning_rate: float, steps: int, **args: Any) -> Callable[[Any], Any]:
    """Make an optax schedule whose peak is the learning rate.

    Args:
      name: a key of `schedules()`, which are optax's own names.
      learning_rate: the peak: `peak_value`, or where there is none `init_value` or `value`.
      steps: how many steps the whole run has; what `decay_steps` and `transition_steps` are
        where they are not given.
      **args: the schedule's own arguments. Where they are required and not given,
        `warmup_steps` is a tenth of `steps`, and `init_value` beside a peak and `end_value` are 0.

    Returns:
      `step -> learning rate`.

    Raises:
      ConfigError: there is no such schedule or argument, or a required one is missing.

    >>> rate = rate_schedule("cosine_decay_schedule", 0.1, steps=100)
    >>> print(f"{rate(0):.2f} {rate(50):.2f} {rate(100):.2f}")
    0.10 0.05 0.00
    """
    filled = schedule_arguments(name, steps, **args)
    make = schedules()[name]
    filled |= {peak_argument(make): learning_rate}
    try:
        return make(**filled)
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
    make = pick("optim.schedule.name", name, schedules())
    peak = peak_argument(make)
    refuse(argument_problems("optim.schedule", make, args, given_elsewhere=(peak,)))
    ours: dict[str, Any] = dict.fromkeys(_DURATIONS, steps)
    ours |= {"warmup_steps": steps // 10, "init_value": 0.0, "end_value": 0.0}
    parameters = {key: each.default for key, each in inspect.signature(make).parameters.items() if key != peak}
    required = [key for key, default in parameters.items() if default is inspect.Parameter.empty]
    refuse([f"optim.schedule.{key}: {name} needs it" for key in required if key not in ours | args])
    filled = {key: ours[key] if key in required else default for key, default in parameters.items() if key not in args}
    return {key: value for key, value in filled.items() if value is not None} | traceable(args)


def _brief(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in arguments.items())


def peak_argument(make: Callable[..., Any]) -> str:
    """Which argument of a schedule the learning rate is."""
    parameters = inspect.signature(make).parameters
    return next(key for key in ("peak_value", "init_value", "value") if key in parameters)


@functools.cache
def schedules() -> dict[str, Callable[..., Any]]:
    """Every optax function that makes a schedule from numbers, by name."""
    return {
        name: make
        for name, make in functions(optax, _NOT_SCHEDULES)
        if name.endswith("_schedule") or name == "exponential_decay"
    }
