"""Augmentations as a config file names them."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from jaxconv._base.arguments import current
from jaxconv._base.errors import ConfigError, did_you_mean, no_argument
from jaxconv.augment.color import color_jitter
from jaxconv.augment.combine import compose, sometimes
from jaxconv.augment.contract import Augment, chance, refuse
from jaxconv.augment.erase import cutout, random_erasing
from jaxconv.augment.mix import cutmix, mixup
from jaxconv.augment.move import expand, flip, shift
from jaxconv.augment.resample import affine, elastic, random_resized_crop, rotate

# What a config file may name in [augment]; in the usual order: places, colors, holes, mixtures.
registry: dict[str, Callable[..., Augment]] = {
    function.__name__: function
    for function in (
        flip, shift, expand, random_resized_crop, rotate, affine, elastic,
        color_jitter, cutout, random_erasing, mixup, cutmix,
    )
}  # fmt: skip
_FROM_DATA = ("num_classes", "peak")
OLD_NAMES = {"colour_jitter": "color_jitter"}


def from_config(table: Mapping[str, Any], num_classes: int, peak: float = 255) -> Augment:
    """Make what a config's table names, one after the other in the table's order.

    Args:
      table: name -> a number or word, the first argument; a table of arguments; true for the
        defaults; false for none of it. Beside its own arguments each takes `probability`: that an
        image is changed.
      num_classes: of the data.
      peak: of the data: the brightest value that a pixel can have.

    Returns:
      `(key, batch) -> batch`.

    Raises:
      ConfigError: a line for each mistake, as `augment_problems` gives them.

    >>> augment = from_config({"shift": 2, "flip": True, "mixup": {"alpha": 0.2}, "cutout": False}, num_classes=10)
    """
    augments, problems = _make(table, num_classes, peak)
    if problems:
        raise ConfigError("\n".join(problems))
    return compose(*augments)


def augment_problems(table: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with a config's table, one line each.

    Args:
      table: see `from_config`.

    >>> augment_problems({"flip": 2, "shift": {"pixel": 1, "pixels": 1}})[1]
    "augment.shift.pixel: shift takes pixels, padding_mode, probability; did you mean 'pixels'?"
    """
    return _make(table, num_classes=1, peak=math.inf)[1]


def _make(table: Mapping[str, Any], num_classes: int, peak: float) -> tuple[list[Augment], list[str]]:
    if not isinstance(table, Mapping):
        return [], [f"augment: must be a table of augmentations, got {table!r}"]
    augments, problems = [], []
    for name, value in table.items():
        if name in OLD_NAMES:
            warnings.warn(f"augment: {name} is now called {OLD_NAMES[name]}", DeprecationWarning, stacklevel=3)
            name = OLD_NAMES[name]
        if name not in registry:
            near = did_you_mean(name, registry)
            problems.append(f"augment.{name}: there is no such augmentation; known are {', '.join(registry)}{near}")
            continue
        parameters = inspect.signature(registry[name]).parameters
        known = [word for word in parameters if word not in _FROM_DATA]
        arguments = _arguments(known[0], value)
        if arguments is None:
            continue
        try:
            arguments = current(f"augment.{name}", registry[name], arguments)
        except ConfigError as error:
            problems.append(str(error))
            continue
        wrong = _unfit(name, arguments, parameters, known)
        if not wrong:
            try:
                data = {"num_classes": num_classes, "peak": peak}
                given = {word: data[word] for word in _FROM_DATA if word in parameters}
                augments.append(_one(name, arguments, given, own_probability="probability" in known))
            except ConfigError as error:
                wrong = [f"augment.{line}" for line in str(error).splitlines()]
        problems += wrong
    return augments, problems


def _arguments(first: str, value: Any) -> dict[str, Any] | None:
    """The arguments that a table's value stands for; None for no augmentation."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bool):
        return {} if value else None
    return {first: value}


def _unfit(name: str, arguments: Mapping[str, Any], parameters: Mapping[str, Any], known: list[str]) -> list[str]:
    """Arguments that there are not, and those that are missing."""
    takes = known if "probability" in known else [*known, "probability"]
    lines = [no_argument(f"augment.{name}", name, word, takes) for word in arguments if word not in takes]
    needed = [word for word in known if parameters[word].default is inspect.Parameter.empty and word not in arguments]
    return lines + [f"augment.{name}.{word}: must be given; {name} has no default for it" for word in needed]


def _one(name: str, arguments: dict[str, Any], given: Mapping[str, Any], *, own_probability: bool) -> Augment:
    if own_probability or "probability" not in arguments:
        return registry[name](**arguments, **given)
    probability = arguments.pop("probability")
    refuse(name, chance(probability))
    return sometimes(registry[name](**arguments, **given), probability)
