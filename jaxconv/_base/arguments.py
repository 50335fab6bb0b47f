"""Functions called by name from a config file: lookup, argument checks against the signature, defaults."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from jaxconv._base.deprecation import with_new_names
from jaxconv._base.errors import ConfigError, did_you_mean, no_argument, not_one_of

__all__ = ["current", "find", "given_problems", "missing", "must", "must_all", "problems", "typed", "with_defaults"]

Function = Callable[..., Any]


def find(path: str, name: str, registry: Mapping[str, Function], *, custom: bool = True) -> Function:
    """Look up a function by its name in a config.

    Args:
      path: key of the config, "net.name" for example.
      name: a key of `registry`, or a user's "module:function".
      registry: the known functions by name.
      custom: whether "module:function" is accepted.

    Raises:
      ConfigError: if there is no such function, or its module cannot be imported.

    >>> find("net.name", "math:sqrt", {})(4)
    2.0
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not custom:
        if name in registry:
            return registry[name]
        raise ConfigError(not_one_of(path, name, registry, also=', or "module:function"' if custom else ""))
    # Resolve user modules relative to the working directory.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # any exception of the user's module is a mistake in the config
        raise ConfigError(f"{path}: cannot import {module_name!r}: {type(error).__name__}: {error}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        near = did_you_mean(attribute, [key for key in vars(module) if not key.startswith("_")])
        raise ConfigError(f"{path}: module {module_name!r} has no function {attribute!r}{near}")
    return function


def current(section: str, function: Function, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments under their current names, with a DeprecationWarning for each old name.

    Args:
      section: section of the config, "net" for example.
      function: the function; `renamed_arguments` lists its old names.
      arguments: values from TOML.

    Raises:
      ConfigError: if an argument is given under both names.
    """
    try:
        return with_new_names(section, arguments, getattr(function, "renamed", {}), stacklevel=3)
    except TypeError as error:
        raise ConfigError(str(error)) from None


def problems(
    section: str, name: str, function: Function, arguments: Mapping[str, Any], elsewhere: tuple[str, ...] = ()
) -> list[str]:
    """Check a function's arguments against its signature and annotations.

    Args:
      section: section of the config, such as "net".
      name: the function's name in the config.
      function: the function.
      arguments: arguments as parsed from TOML.
      elsewhere: parameters that the caller fills in if they are not given.

    Returns:
      A line for each argument that is unknown, of another type, or missing.

    >>> def net(classes: int, size: int = 3): ...
    >>> problems("net", "tiny", net, {"siez": 5, "size": "big"}, elsewhere=("classes",))
    ["net.siez: tiny takes classes, size; did you mean 'size'?", "net.size: must be a whole number, got 'big'"]
    """
    return given_problems(section, name, function, arguments) + missing(section, name, function, arguments, elsewhere)


def _annotated(function: Function, key: str, value: Any) -> str:
    """What the annotation of a parameter asks for, if the value does not fit; else empty."""
    return _typed(function, key, value)[1]


def given_problems(
    section: str,
    name: str,
    function: Function,
    arguments: Mapping[str, Any],
    *,
    hidden: tuple[str, ...] = (),
    extra: tuple[str, ...] = (),
    near: tuple[str, ...] = (),
    check: Callable[[Function, str, Any], str | None] | None = _annotated,
) -> list[str]:
    """Check the given arguments of a function; whether some are missing is not checked.

    Args:
      section: section of the config, such as "net".
      name: the function's name in the config.
      function: the function.
      arguments: arguments as parsed from TOML.
      hidden: parameters that a config cannot set.
      extra: names accepted beside the function's parameters.
      near: other names to suggest for a misspelled one.
      check: `(function, key, value) -> what the value must be`, empty or None if it fits; None checks names alone.

    Returns:
      A line for each argument that is unknown or of another type.
    """
    parameters = inspect.signature(function).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = [key for key, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    known = [key for key in (*known, *extra) if key not in hidden]
    lines = []
    for key, value in arguments.items():
        if key not in known:
            if not open_ended:
                lines.append(no_argument(section, name, key, known, near))
        elif wanted := check(function, key, value) if check else None:
            lines.append(f"{section}.{key}: {wanted}, got {value!r}")
    return lines


def missing(
    section: str, name: str, function: Function, arguments: Mapping[str, Any], elsewhere: tuple[str, ...] = ()
) -> list[str]:
    """A line for each required parameter of a function that is not given.

    Args:
      section: section of the config, such as "net".
      name: the function's name in the config.
      function: the function.
      arguments: the given arguments.
      elsewhere: parameters that the caller fills in.
    """
    required = [
        key
        for key, p in inspect.signature(function).parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    absent = [key for key in required if key not in arguments and key not in elsewhere]
    return [f"{section}.{key}: must be given; {name} has no default for it" for key in absent]


def typed(function: Function, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Convert valid arguments to the types of the annotations: a list to a tuple, for example.

    Args:
      function: the function.
      arguments: values from TOML.

    >>> def net(features: tuple[int, ...]): ...
    >>> typed(net, {"features": [20, 40]})
    {'features': (20, 40)}
    """
    return {key: _typed(function, key, value)[0] for key, value in arguments.items()}


def with_defaults(function: Function, arguments: Mapping[str, Any], elsewhere: tuple[str, ...] = ()) -> dict[str, Any]:
    """The arguments, completed with the defaults of the function, as TOML values.

    Args:
      function: the function.
      arguments: the given values.
      elsewhere: parameters that the caller fills in.

    >>> def net(classes=10, sizes=(3, (5, 7)), act=max): ...
    >>> with_defaults(net, {}, elsewhere=("classes",))
    {'sizes': [3, [5, 7]]}
    """
    defaults = {}
    for key, parameter in inspect.signature(function).parameters.items():
        value = _lists(parameter.default)
        if key not in elsewhere and isinstance(value, bool | int | float | str | list):
            defaults[key] = value
    return defaults | dict(arguments)


def _lists(value: Any) -> Any:
    """Tuples as lists, which TOML has."""
    return [_lists(each) for each in value] if isinstance(value, tuple) else value


def _typed(function: Function, key: str, value: Any) -> tuple[Any, str]:
    """A TOML value converted to the annotated type, or the requirement that it violates."""
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticSchemaGenerationError

    hint = None
    try:
        hint = typing.get_type_hints(function).get(key)
        adapter = TypeAdapter(hint) if hint is not None else None
    except (NameError, TypeError, PydanticSchemaGenerationError):
        adapter = None  # an annotation that cannot be resolved is not a mistake in the config
    if adapter is None:
        return value, ""
    try:
        # In strict JSON a string is never taken for a number, yet a list may be a tuple.
        return adapter.validate_json(json.dumps(value, default=str), strict=True), ""
    except ValidationError as error:
        union = typing.get_origin(hint) in (typing.Union, types.UnionType)
        return None, must_all(error.errors(), union=union)


_WORDS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be text in quotes",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dataclass_type": "must be a table",
    "dict_type": "must be a table",
    "string_pattern_mismatch": "must be a path",
}


def must(problem: Any) -> str:
    """The requirement behind a pydantic error."""
    message: str = problem["msg"].replace("Input should be", "must be")
    return _WORDS.get(problem["type"], message)


def must_all(found: list[Any], *, union: bool) -> str:
    """The requirement behind pydantic errors of one value; for a union, that of each member."""
    lines = []
    for problem in found if union else found[:1]:
        places = [place for place in problem["loc"] if isinstance(place, int)] if union else problem["loc"]
        lines.append(f"entry {'.'.join(map(str, places))} {must(problem)}" if places else must(problem))
    return " or ".join([lines[0], *(line.removeprefix("must be ") for line in dict.fromkeys(lines[1:]))])
