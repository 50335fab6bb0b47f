"""Optax's functions by their own names, and what is wrong with arguments for them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, get_args

import jax.numpy as jnp

from jaxconv._base.errors import ConfigError, no_argument, not_one_of
from jaxconv._base.limits import LARGEST_INT

__all__ = ["MASKS", "argument_problems", "functions", "is_number", "pick", "refuse", "traceable"]

MASKS = ("mask", "weight_decay_mask")  # optax's words for what is decayed, which `decay` says
# Trees and functions, which no config can write.
_IN_PYTHON = (*MASKS, "muon_weight_dimension_numbers", "clip_value_fn")


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
      One line for each argument that the function does not take or that no config can write (a mask, a
      function), or whose kind (a number, true or false, a dtype) is not the parameter's.

    >>> import optax
    >>> argument_problems("optim", optax.sgd, {"momentun": 0.9}, ("learning_rate",))
    ["optim.momentun: sgd takes momentum, nesterov, accumulator_dtype; did you mean 'momentum'?"]
    """
    extra = {key: inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=0.0) for key in also}
    known = {
        key: parameter
        for key, parameter in (inspect.signature(make).parameters | extra).items()
        if key not in (*given_elsewhere, *_IN_PYTHON)
    }
    lines = []
    for key, value in args.items():
        if key in given_elsewhere:
            lines.append(f"{path}.{key}: is set by optim.learning_rate; leave it out here")
        elif key not in known:
            lines.append(no_argument(path, make.__name__, key, known, given_elsewhere))
        elif wanted := _wrong_kind(known[key], value):
            lines.append(f"{path}.{key}: must be {wanted}, got {value!r}")
    return lines


def _wrong_kind(parameter: inspect.Parameter, value: Any) -> str | None:
    """What the value must be and is not. But for these kinds every parameter of optax's is a number."""
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
    if parameter.name.endswith("_steps"):
        return None if is_number(value) and abs(value) <= LARGEST_INT else f"a number of steps up to {LARGEST_INT:,}"
    return None if is_number(value) else "a number"


def _is_floating(value: Any) -> bool:
    try:
        return bool(jnp.issubdtype(jnp.dtype(value), jnp.floating))
    except TypeError:
        return False


def refuse(lines: list[str]) -> None:
    """Raise a ConfigError of these lines, if there are any."""
    if lines:
        raise ConfigError("\n".join(lines))


def is_number(value: Any) -> bool:
    """Whether it is one as a config writes it: true is none, and neither is one of hundreds of digits."""
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        return not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, int | float) and not isinstance(value, bool)


def traceable(args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as jit takes them: whole numbers beyond int32 as floating-point numbers.

    >>> traceable({"weight_decay": 2**32, "b1": 0.9, "key": 3})
    {'weight_decay': 4294967296.0, 'b1': 0.9, 'key': 3}
    """
    return {
        key: float(value) if isinstance(value, int) and abs(value) > LARGEST_INT else value
        for key, value in args.items()
    }
