"""Augmentations by name, as the [augment] section of a config gives them."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from jaxconv._base.arguments import current, find, given_problems, missing
from jaxconv._base.errors import ConfigError, raise_problems
from jaxconv.augment.color import color_jitter, grayscale
from jaxconv.augment.combine import compose, random_choice, sometimes
from jaxconv.augment.contract import Augment, check_arguments, probability_problem
from jaxconv.augment.crop import random_resized_crop
from jaxconv.augment.deform import elastic
from jaxconv.augment.erase import cutout, random_erasing
from jaxconv.augment.filter import gaussian_blur, gaussian_noise, sharpness
from jaxconv.augment.mix import cutmix, mixup
from jaxconv.augment.move import expand, flip, shift
from jaxconv.augment.policy import augmix, rand_augment, trivial_augment
from jaxconv.augment.repeated import repeat
from jaxconv.augment.tone import autocontrast, equalize, invert, posterize, solarize
from jaxconv.augment.warp import affine, perspective, rotate

# In the usual order: repetition, geometry, color, filters, policies, erasing, mixing.
registry: dict[str, Callable[..., Augment]] = {
    function.__name__: function
    for function in (
        repeat, flip, shift, expand, random_resized_crop, rotate, affine, perspective, elastic,
        color_jitter, grayscale, invert, posterize, solarize, autocontrast, equalize,
        sharpness, gaussian_blur, gaussian_noise,
        trivial_augment, rand_augment, augmix, cutout, random_erasing, mixup, cutmix,
    )
}  # fmt: skip
_CHOICE = random_choice.__name__  # not in the registry: its table names other augmentations
FROM_DATA = ("num_classes", "peak")  # arguments that a config does not set
OLD_NAMES = {"colour_jitter": "color_jitter"}


def from_config(table: Mapping[str, Any], num_classes: int, peak: float = 255) -> Augment:
    """Compose the augmentations of a config's table, in its order.

    Args:
      table: name -> a number or string, the first argument; a table of arguments; true for the defaults; false to leave
        it out. Beside its own arguments each takes `probability`, that of changing an image. `random_choice` is a table
        of augmentations, one of which is applied to each image.
      num_classes: number of classes of the dataset.
      peak: maximum pixel value of the dataset.

    Returns:
      `(key, batch) -> batch`.

    Raises:
      ConfigError: if the table is invalid, with the lines of `augment_problems`.

    >>> table = {"shift": 2, "flip": True, "mixup": {"alpha": 0.2}, "cutout": False}
    >>> augment = from_config(table | {"random_choice": {"rotate": 15, "elastic": True}}, num_classes=10)
    """
    augments, problems = _make(table, num_classes, peak)
    raise_problems(problems)
    return compose(*augments)


def augment_problems(table: Mapping[str, Any]) -> list[str]:
    """Check a config's table; returns one line for each problem.

    Args:
      table: as in `from_config`.

    >>> augment_problems({"flip": 2, "shift": {"pixel": 1, "pixels": 1}})[1]
    "augment.shift.pixel: shift takes pixels, padding_mode, probability; did you mean 'pixels'?"
    """
    return _make(table, num_classes=1, peak=math.inf)[1]


def _make(
    table: Mapping[str, Any], num_classes: int, peak: float, path: str = "augment"
) -> tuple[list[Augment], list[str]]:
    """The augmentations of a table, and its problems."""
    if not isinstance(table, Mapping):
        return [], [f"{path}: must be a table of augmentations, got {table!r}"]
    augments, problems = [], []
    for name, value in table.items():
        if name in OLD_NAMES:
            warnings.warn(f"augment: {name} is now called {OLD_NAMES[name]}", DeprecationWarning, stacklevel=3)
            name = OLD_NAMES[name]
        if value is False and name in (*registry, _CHOICE):
            continue
        try:
            if name == _CHOICE:
                augments.append(_choice(value, num_classes, peak, f"{path}.{name}"))
            else:
                augments.append(_one(name, value, {"num_classes": num_classes, "peak": peak}, path))
        except ConfigError as error:
            problems += str(error).splitlines()
    return augments, problems


def _one(name: str, value: Any, data: Mapping[str, Any], path: str) -> Augment:
    """An augmentation of the registry; raises ConfigError with a line for each problem."""
    function = find(path, name, {**registry, _CHOICE: random_choice}, custom=False)
    parameters = inspect.signature(function).parameters
    arguments = current(f"{path}.{name}", function, _arguments(next(iter(parameters)), value))
    extra = () if "probability" in parameters else ("probability",)
    problems = given_problems(f"{path}.{name}", name, function, arguments, hidden=FROM_DATA, extra=extra, check=None)
    raise_problems(problems + missing(f"{path}.{name}", name, function, arguments, elsewhere=FROM_DATA))
    given = {key: data[key] for key in FROM_DATA if key in parameters}
    probability = arguments.pop("probability") if extra and "probability" in arguments else None
    return _blamed(path, lambda: _sometimes(name, function(**arguments, **given), probability))


def _choice(value: Any, num_classes: int, peak: float, path: str) -> Augment:
    """`random_choice` among the augmentations of a table."""
    rest = dict(value) if isinstance(value, Mapping) else value
    probability = rest.pop("probability", None) if isinstance(value, Mapping) else None
    augments, problems = _make(rest, num_classes, peak, path)
    raise_problems(problems)
    return _blamed(path.rpartition(".")[0], lambda: _sometimes(_CHOICE, random_choice(*augments), probability))


def _sometimes(name: str, augment: Augment, probability: Any) -> Augment:
    if probability is None:
        return augment
    check_arguments(name, probability_problem(probability))
    return sometimes(augment, probability)


def _blamed(path: str, make: Callable[[], Augment]) -> Augment:
    """Call `make`; its problems start with the function's name, which is put below `path`."""
    try:
        return make()
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}.{line}" for line in str(error).splitlines())) from None


def _arguments(first: str, value: Any) -> dict[str, Any]:
    """The arguments that a table's value means."""
    if isinstance(value, Mapping):
        return dict(value)
    return {} if value is True else {first: value}
