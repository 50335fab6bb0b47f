"""Any optimiser and schedule of optax by its own name, with its own arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jaxconv.errors import ConfigError, did_you_mean

__all__ = ["argument_problems", "optimizer", "optimizers", "peak_argument", "rate_schedule", "schedules"]

# lbfgs is called with the loss itself; scale_by_* are pieces of optimisers and not whole ones.
_NOT_OPTIMIZERS = ("lbfgs", "scale_by_")
_DEPRECATED = "optimistic_adam"  # optax: use optimistic_adam_v2
# These are made of other schedules, or of lists that TOML cannot write (integers as keys).
_NOT_SCHEDULES = ("join_", "scale_by_", "sgdr_", "piecewise_", "inject_")
_DURATIONS = ("decay_steps", "transition_steps")


def optimizer(
    name: str, learning_rate: float, steps: int, schedule: Mapping[str, Any] | None = None, **args: Any
) -> Any:
    """Make an optax optimiser.

    Args:
      name: a key of `optimizers()`, which are optax's own names.
      learning_rate: the rate, or with a schedule its peak.
      steps: how many steps the whole run has.
      schedule: `{"name": one of schedules(), …its own arguments}`, see `rate_schedule`.
      **args: the optimiser's own arguments.

    Returns:
      An `optax.GradientTransformation`.

    Raises:
      ConfigError: there is no such optimiser, schedule or argument.

    >>> tx = optimizer("sgd", 0.1, steps=100, momentum=0.9)
    >>> tx = optimizer("adam", 1e-3, steps=100, schedule={"name": "cosine_decay_schedule"})
    """
    make = _pick("optim.name", name, optimizers())
    _refuse(argument_problems("optim", make, args, given_elsewhere=("learning_rate",)))
    rate: Any = learning_rate
    if schedule is not None:
        rest = dict(schedule)
        rate = rate_schedule(rest.pop("name", ""), learning_rate, steps, **rest)
    return make(rate, **args)


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
    make = _pick("optim.schedule.name", name, schedules())
    peak = peak_argument(make)
    _refuse(argument_problems("optim.schedule", make, args, given_elsewhere=(peak,)))
    defaults: dict[str, Any] = dict.fromkeys(_DURATIONS, steps)
    defaults |= {"warmup_steps": steps // 10, "init_value": 0.0, "end_value": 0.0, peak: learning_rate}
    required = [
        key for key, parameter in inspect.signature(make).parameters.items() if parameter.default is parameter.empty
    ]
    filled = {key: defaults[key] for key in required if key in defaults} | {peak: learning_rate} | args
    _refuse([f"optim.schedule.{key}: {name} needs it" for key in required if key not in filled])
    return make(**filled)


def peak_argument(make: Callable[..., Any]) -> str:
    """Which argument of a schedule the learning rate is."""
    parameters = inspect.signature(make).parameters
    return next(key for key in ("peak_value", "init_value", "value") if key in parameters)


@functools.cache
def optimizers() -> dict[str, Callable[..., Any]]:
    """Every optax function that makes a whole optimiser from a learning rate, by name."""
    import optax

    return {
        name: make
        for name, make in _functions(optax, _NOT_OPTIMIZERS)
        if next(iter(inspect.signature(make).parameters), "") == "learning_rate" and name != _DEPRECATED
    }


@functools.cache
def schedules() -> dict[str, Callable[..., Any]]:
    """Every optax function that makes a schedule from numbers, by name."""
    import optax

    return {
        name: make
        for name, make in _functions(optax, _NOT_SCHEDULES)
        if name.endswith("_schedule") or name == "exponential_decay"
    }


def _functions(module: Any, excluded: tuple[str, ...]) -> list[tuple[str, Callable[..., Any]]]:
    return [
        (name, value)
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith(("_", *excluded))
    ]


def argument_problems(
    path: str, make: Callable[..., Any], args: Mapping[str, Any], given_elsewhere: tuple[str, ...] = ()
) -> list[str]:
    """Say what is wrong with arguments, by the signature of the function that they are for.

    Args:
      path: where they stand in the config, "optim" for example.
      make: the function.
      args: the arguments by name.
      given_elsewhere: parameters that `optim.learning_rate` sets.

    Returns:
      One line for each argument that the function does not take, or whose kind (a number, true
      or false) is not that of the parameter's default.

    >>> import optax
    >>> argument_problems("optim", optax.sgd, {"momentun": 0.9}, ("learning_rate",))
    ["optim.momentun: sgd takes momentum, nesterov, accumulator_dtype; did you mean 'momentum'?"]
    """
    known = {
        key: parameter for key, parameter in inspect.signature(make).parameters.items() if key not in given_elsewhere
    }
    lines = []
    for key, value in args.items():
        if key in given_elsewhere:
            lines.append(f"{path}.{key}: is set by optim.learning_rate; leave it out here")
        elif key not in known:
            takes = f"takes {', '.join(known)}" if known else "takes no arguments"
            lines.append(f"{path}.{key}: {make.__name__} {takes}{did_you_mean(key, [*known, *given_elsewhere])}")
        elif wanted := _wrong_kind(known[key].default, value):
            lines.append(f"{path}.{key}: must be {wanted}, got {value!r}")
    return lines


def _wrong_kind(default: Any, value: Any) -> str | None:
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    # A parameter without a default, or with a number for one, is a number throughout optax.
    if default is inspect.Parameter.empty or isinstance(default, int | float):
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        return None if fits else "a number"
    return None


def _pick(path: str, name: str, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    if name in known:
        return known[name]
    raise ConfigError(f"{path}: must be one of {', '.join(known)}; got {name!r}{did_you_mean(name, list(known))}")


def _refuse(lines: list[str]) -> None:
    if lines:
        raise ConfigError("\n".join(lines))
