"""Networks by name: create and validate what a config's [net] section asks for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from jaxconv._base import arguments as checked
from jaxconv._base.errors import ConfigError, ShapeError, raise_problems
from jaxconv._base.limits import LARGEST_INT
from jaxconv.layers.layer import Layer
from jaxconv.models import registry

__all__ = ["FROM_DATA", "default_classes", "make_net", "net_problems", "with_defaults"]

FROM_DATA = ("num_classes", "classes", "images")
"""Arguments that a config does not set; `classes` in custom functions, for one release."""
_COUNTS = FROM_DATA[:2]


def make_net(
    name: str, arguments: Mapping[str, Any], num_classes: int, images: Callable[[], Any] | None = None
) -> Layer:
    """Create a network by name.

    Args:
      name: a key of `jaxconv.models.registry`, or "module:function".
      arguments: the function's arguments, as parsed from TOML.
      num_classes: number of classes of the dataset; passed on if the function has such a parameter.
      images: returns normalized training images [N, H, W, C]; called if the function has a parameter `images`, for an
        initialization that depends on them. None for a net that gets its weights elsewhere.

    Returns:
      The network.

    Raises:
      ConfigError: if there is no such function, the arguments are invalid, it does not return a Layer, or
        `arguments` has fewer classes than the dataset.

    >>> make_net("conv_pool", {"features": [8]}, num_classes=10).parts["head"].name
    'dense'
    """
    function = checked.find("net.name", name, registry)
    arguments = checked.current("net", function, arguments)
    raise_problems(checked.problems("net", name, function, arguments, FROM_DATA))
    given = checked.typed(function, arguments)
    parameters = inspect.signature(function).parameters
    if images is not None and "images" in parameters:
        given["images"] = images()
    if word := next((word for word in _COUNTS if word in parameters), None):
        wanted = given.setdefault(word, num_classes)
        if wanted < num_classes:
            raise ConfigError(f"net.{word}: the data has {num_classes} classes, got {wanted}; leave it out")
    try:
        net = function(**given)
    except ShapeError as error:
        given_here = ", ".join(f"net.{key}={value!r}" for key, value in arguments.items()) or "no arguments"
        raise ConfigError(f"net.name: {name} cannot be made of {given_here}: {error}") from error
    if not isinstance(net, Layer):
        raise ConfigError(f"net.name: {name} must return a jaxconv Layer, it returned {type(net).__name__}")
    return net


def default_classes(name: str) -> int:
    """The number of classes of a network that is made without one.

    Args:
      name: a key of `jaxconv.models.registry`, or "module:function".

    Raises:
      ConfigError: if there is no such function, or it makes no classifier.

    >>> default_classes("resnet50"), default_classes("fcn_resnet50")
    (1000, 21)
    """
    parameters = inspect.signature(checked.find("net.name", name, registry)).parameters
    found = next((parameters[word].default for word in _COUNTS if word in parameters), None)
    if not isinstance(found, int):
        raise ConfigError(f"{name} must have a default number of classes; it has none")
    return found


def net_problems(name: str, arguments: Mapping[str, Any]) -> list[str]:
    """Check a network's name and arguments; returns one line for each problem.

    Args:
      name: a key of `jaxconv.models.registry`, or "module:function".
      arguments: the function's arguments, as parsed from TOML.

    >>> net_problems("conv_pool", {"dropuot": 0.5, "kernel_size": "big"})[1]
    "net.kernel_size: must be a whole number, got 'big'"
    """
    try:
        function = checked.find("net.name", name, registry)
        arguments = checked.current("net", function, arguments)
    except ConfigError as error:
        return [str(error)]
    lines = checked.problems("net", name, function, arguments, FROM_DATA)
    return lines or [f"net.{key}: {problem}" for key, value in arguments.items() if (problem := _too_large(value))]


def _too_large(value: Any) -> str:
    """The problem of an int beyond int32, or of a list with one; empty if there is none."""
    if isinstance(value, list):
        return next(filter(None, map(_too_large, value)), "")
    return f"must be at most {LARGEST_INT:,}, got {value}" if type(value) is int and value > LARGEST_INT else ""


def with_defaults(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments completed by the function's defaults, as far as TOML can represent them.

    Args:
      name: a key of `jaxconv.models.registry`, or "module:function".
      arguments: those given. The number of classes is left out: it follows from the dataset.
    """
    function = checked.find("net.name", name, registry)
    return checked.with_defaults(function, checked.current("net", function, arguments), FROM_DATA)
