"""From a net's name and arguments, as a config file gives them, to the net."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from jaxconv.errors import ConfigError, did_you_mean
from jaxconv.layer import Layer
from jaxconv.models import registry

__all__ = ["make_net", "net_problems", "with_defaults"]


def make_net(name: str, arguments: Mapping[str, Any], classes: int) -> Layer:
    """Call a net's function.

    Args:
      name: a key of `jaxconv.models.registry`, or "module:function".
      arguments: the function's arguments as TOML gives them.
      classes: of the data; passed on where the function has a parameter of that name.

    Returns:
      The net.

    Raises:
      ConfigError: there is no such function, it does not take the arguments, it does not
        return a Layer, or `arguments` has fewer classes than the data.

    >>> make_net("conv_pool", {"features": [8]}, classes=10).parts["head"].name
    'dense'
    """
    function = _function(name)
    if problems := net_problems(name, arguments):
        raise ConfigError("\n".join(problems))
    parameters = inspect.signature(function).parameters
    given = {key: _typed(function, key, value) for key, value in arguments.items()}
    if "classes" in parameters:
        wanted = given.setdefault("classes", classes)
        if wanted < classes:
            raise ConfigError(f"net.classes: the data has {classes} classes, got {wanted}; leave it out")
    net = function(**given)
    if not isinstance(net, Layer):
        raise ConfigError(f"net.name: {name} must return a jaxconv Layer, it returned {type(net).__name__}")
    return net


def net_problems(name: str, arguments: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with a net's name and arguments, one line each.

    Args:
      name: a key of `jaxconv.models.registry`, or "module:function".
      arguments: the function's arguments as TOML gives them.

    >>> net_problems("conv_pool", {"dropuot": 0.5, "size": "big"})[1]
    "net.size: must be a whole number, got 'big'"
    """
    try:
        function = _function(name)
    except ConfigError as error:
        return [str(error)]
    parameters = inspect.signature(function).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = [key for key, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    lines = []
    for key, value in arguments.items():
        if key not in known:
            if not open_ended:
                takes = f"takes {', '.join(known)}" if known else "takes no arguments"
                lines.append(f"net.{key}: {name} {takes}{did_you_mean(key, known)}")
            continue
        try:
            _typed(function, key, value)
        except ValidationError as error:
            lines.append(f"net.{key}: {_must(error)}, got {value!r}")
    required = [key for key in known if parameters[key].default is inspect.Parameter.empty]
    missing = [key for key in required if key not in arguments and key != "classes"]
    return lines + [f"net.{key}: must be given; {name} has no default for it" for key in missing]


def with_defaults(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, and the function's defaults for those not given, as TOML can write them.

    Args:
      name: a key of `jaxconv.models.registry`, or "module:function".
      arguments: those given. The number of classes is left to the data.
    """
    defaults = {}
    for key, parameter in inspect.signature(_function(name)).parameters.items():
        value = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        if key != "classes" and isinstance(value, bool | int | float | str | list):
            defaults[key] = value
    return defaults | dict(arguments)


def _function(name: str) -> Callable[..., Any]:
    module_name, colon, attribute = name.partition(":")
    if not colon:
        if name in registry:
            return registry[name]
        known = ", ".join(registry)
        raise ConfigError(
            f'net.name: must be one of {known}, or "module:function"; got {name!r}{did_you_mean(name, registry)}'
        )
    # A net of the user's own lies beside the config that he launches from there.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises is a mistake in net.name's target
        raise ConfigError(f"net.name: cannot import {module_name!r}: {type(error).__name__}: {error}") from error
    function = getattr(module, attribute, None)
    if not callable(function):
        near = did_you_mean(attribute, [key for key in vars(module) if not key.startswith("_")])
        raise ConfigError(f"net.name: module {module_name!r} has no function {attribute!r}{near}")
    return function


def _typed(function: Callable[..., Any], key: str, value: Any) -> Any:
    """A TOML value as the parameter's annotation wants it: a list as a tuple, for example."""
    try:
        hint = typing.get_type_hints(function).get(key)
        adapter = TypeAdapter(hint) if hint is not None else None
    except (NameError, TypeError, PydanticSchemaGenerationError):
        adapter = None  # an annotation that cannot be looked up or checked is no mistake of the config
    return value if adapter is None else adapter.validate_json(json.dumps(value, default=str), strict=True)


def _must(error: ValidationError) -> str:
    problem = error.errors()[0]
    words = {
        "int_type": "must be a whole number",
        "float_type": "must be a number",
        "bool_type": "must be true or false",
    }
    must = words.get(problem["type"], problem["msg"].replace("Input should be", "must be"))
    inside = ".".join(map(str, problem["loc"]))
    return f"entry {inside} {must}" if inside else must
