"""Optax functions by name, and checks of their arguments."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, get_args

import jax.numpy as jnp

from jaxconv._base.arguments import given_problems
from jaxconv._base.limits import LARGEST_INT

__all__ = ["IN_PYTHON", "MASKS", "argument_problems", "functions", "is_number", "traceable"]

MASKS = ("mask", "weight_decay_mask")  # optax's arguments for what `decay` sets
# Trees and functions, which a config cannot represent.
IN_PYTHON = (*MASKS, "muon_weight_dimension_numbers", "clip_value_fn", "linesearch")


def functions(module: Any, excluded: tuple[str, ...]) -> list[tuple[str, Callable[..., Any]]]:
    """The functions of a module by name, in order, without those of the excluded prefixes."""
    return [
        (name, value)
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith(("_", *excluded))
    ]


def argument_problems(
    path: str,
    make: Callable[..., Any],
    args: Mapping[str, Any],
    given_elsewhere: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
) -> list[str]:
    """Check the arguments of an optax function.

    Args:
      path: section of the config, such as "optim".
      make: the function.
      args: arguments by name.
      given_elsewhere: parameters that `optim.learning_rate` sets.
      also: numbers accepted beside the function's parameters.

    Returns:
      A line for each argument that is unknown, that a config cannot represent (a mask, a function), or of another type.

    >>> import optax
    >>> argument_problems("optim", optax.sgd, {"momentun": 0.9}, ("learning_rate",))
    ["optim.momentun: sgd takes momentum, nesterov, accumulator_dtype; did you mean 'momentum'?"]
    """
    parameters = dict(inspect.signature(make).parameters) | {
        key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=0.0) for key in also
    }
    twice = [key for key in args if key in given_elsewhere]
    lines = [f"{path}.{key}: is set by optim.learning_rate; leave it out here" for key in twice]
    rest = {key: value for key, value in args.items() if key not in given_elsewhere}

    def check(make: Callable[..., Any], key: str, value: Any) -> str:
        wanted = _wrong_kind(parameters[key], value)
        return f"must be {wanted}" if wanted else ""

    hidden = (*given_elsewhere, *IN_PYTHON)
    new = tuple(key for key in also if key not in inspect.signature(make).parameters)
    return lines + given_problems(
        path, make.__name__, make, rest, hidden=hidden, extra=new, near=given_elsewhere, check=check
    )


def _wrong_kind(parameter: inspect.Parameter, value: Any) -> str | None:
    """What a value must be, if it does not fit; other parameters of optax than these are numbers."""
    default = parameter.default
    if value is default:
        return None
    if "dtype" in parameter.name:
        return None if _is_floating(value) else "a floating-point dtype, as 'bfloat16'"
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, str):
        choices = get_args(parameter.annotation)
        return None if value in choices else f"one of {', '.join(choices)}"
    if isinstance(default, tuple):
        fits = isinstance(value, list | tuple) and len(value) == len(default) and all(map(is_number, value))
        return None if fits else f"{len(default)} numbers"
    if parameter.name in ("key", "seed"):  # of noisy_sgd: which of the two depends on optax
        whole = isinstance(value, int) and not isinstance(value, bool)
        fits = whole and 0 <= value <= LARGEST_INT
        return None if fits else f"a whole number from 0 to {LARGEST_INT:,}" if whole else "a whole number"
    if parameter.name == "memory_size":  # of lbfgs: so many copies of the parameters
        whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_INT
        return None if whole else "a whole number, 1 or more"
    if parameter.name.endswith("_steps"):
        return None if is_number(value) and abs(value) <= LARGEST_INT else f"a number of steps up to {LARGEST_INT:,}"
    return None if is_number(value) else "a number"


def _is_floating(value: Any) -> bool:
    try:
        return bool(jnp.issubdtype(jnp.dtype(value), jnp.floating))
    except TypeError:
        return False


def is_number(value: Any) -> bool:
    """Whether a config value is a number: neither a bool nor an int beyond the range of floats."""
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        return not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, int | float) and not isinstance(value, bool)


def traceable(args: Mapping[str, Any]) -> dict[str, Any]:
    """Convert ints beyond int32 to floats, as jit requires.

    >>> traceable({"weight_decay": 2**32, "b1": 0.9, "key": 3})
    {'weight_decay': 4294967296.0, 'b1': 0.9, 'key': 3}
    """
    return {
        key: float(value) if isinstance(value, int) and abs(value) > LARGEST_INT else value
        for key, value in args.items()
    }
