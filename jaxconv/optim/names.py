"""Optax's functions by their own names, and what is wrong with arguments for them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jaxconv.errors import ConfigError, did_you_mean, not_one_of

__all__ = ["argument_problems", "functions", "pick", "refuse"]


def functions(module: Any, excluded: tuple[str, ...]) -> list[tuple[str, Callable[..., Any]]]:
    """The functions of a module by name, in order, but for those whose names begin as one excluded."""
    return [
        (name, value)
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith(("_", *excluded))
    ]


def pick(path: str, name: str, known: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """The function that a name means.

    Raises:
      ConfigError: none of that name is known.
    """
    if name in known:
        return known[name]
    raise ConfigError(not_one_of(path, name, known))


def argument_problems(
    path: str,
    make: Callable[..., Any],
    args: Mapping[str, Any],
    given_elsewhere: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
) -> list[str]:
    """Say what is wrong with arguments, by the signature of the function that they are for.

    Args:
      path: where they stand in the config, "optim" for example.
      make: the function.
      args: the arguments by name.
      given_elsewhere: parameters that `optim.learning_rate` sets.
      also: numbers that it takes beside those of its signature.

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
        elif key in also and key not in known:
            lines += [f"{path}.{key}: must be a number, got {value!r}"] if _wrong_kind(0.0, value) else []
        elif key not in known:
            every = [*known, *(name for name in also if name not in known)]
            takes = f"takes {', '.join(every)}" if every else "takes no arguments"
            lines.append(f"{path}.{key}: {make.__name__} {takes}{did_you_mean(key, [*every, *given_elsewhere])}")
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


def refuse(lines: list[str]) -> None:
    """Raise a ConfigError of these lines, if there are any."""
    if lines:
        raise ConfigError("\n".join(lines))
