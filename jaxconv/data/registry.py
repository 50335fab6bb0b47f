"""Datasets by name, and custom ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

from jaxconv._base import arguments as checked
from jaxconv._base.errors import ConfigError, raise_problems
from jaxconv.data.cifar import cifar10, cifar100
from jaxconv.data.coco import coco
from jaxconv.data.dataset import Arrays, Dataset, Source
from jaxconv.data.images import images
from jaxconv.data.masks import masks
from jaxconv.data.npz import npz
from jaxconv.data.shapes import shapes
from jaxconv.data.sources import digits, fashion_mnist, mnist

__all__ = ["SHARED", "data_problems", "load", "names", "registry", "with_defaults"]

registry: dict[str, Callable[..., Dataset[Source]]] = {
    "digits": digits,
    "shapes": shapes,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "images": images,
    "folder": images,  # its name before it read other formats
    "masks": masks,
    "coco": coco,
    "npz": npz,
}
SHARED = ("root", "corrupt")  # arguments of a dataset that are keys of every [data] section


InMemory: TypeAlias = Literal["digits", "shapes", "mnist", "fashion_mnist", "cifar10", "cifar100", "npz"]


@overload
def load(
    name: InMemory, root: str | Path | None = None, corrupt: str | None = None, **arguments: Any
) -> Dataset[Arrays]: ...
@overload
def load(
    name: str, root: str | Path | None = None, corrupt: str | None = None, **arguments: Any
) -> Dataset[Source]: ...
def load(name: str, root: str | Path | None = None, corrupt: str | None = None, **arguments: Any) -> Dataset[Source]:
    """Load a dataset by name.

    `digits` is part of scikit-learn, and `shapes` is generated. `mnist`, `fashion_mnist`, `cifar10` and `cifar100` are
    read from their published files in `root`, `$JAXCONV_DATA` (each directly or in a subfolder named after the dataset)
    or the user's cache, to which they are downloaded if missing. `images`, `masks`, `coco` and `npz` read
    `root`.

    Args:
      name: one of `names()`, or "module:function", a custom function that returns a `Dataset`.
      root: folder or file to read; not used by `digits` and `shapes`.
      corrupt: "fail" or "skip" at damaged images, for datasets that read them one by one.
      **arguments: further arguments of the dataset's function.

    Returns:
      The dataset.

    Raises:
      ConfigError: if there is no dataset of that name, or the arguments are invalid.
      DataError: if a file is missing, truncated or altered, or cannot be downloaded.

    >>> load("digits").train.images.shape
    (1438, 8, 8, 1)
    """
    function = checked.find("data.name", name, registry)
    given = _with_shared(function, {"root": root, "corrupt": corrupt}, arguments)
    raise_problems(checked.problems("data", name, function, given))
    dataset = function(**checked.typed(function, given))
    if not isinstance(dataset, Dataset):
        raise ConfigError(f"data.name: {name} must return a jaxconv Dataset, it returned {type(dataset).__name__}")
    return dataset


def names() -> list[str]:
    """The names that `load` knows.

    >>> names()
    ['digits', 'shapes', 'mnist', 'fashion_mnist', 'cifar10', 'cifar100', 'images', 'folder', 'masks', 'coco', 'npz']
    """
    return list(registry)


def data_problems(name: str, root: str | None, arguments: Mapping[str, Any]) -> list[str]:
    """Check a dataset's name and arguments without reading it; returns one line for each problem.

    Args:
      name: one of `names()`, or "module:function".
      root: folder or file, if given.
      arguments: the function's other arguments, as parsed from TOML.

    >>> data_problems("images", None, {"sise": 32})[0].rpartition("; ")[2]
    "did you mean 'size'?"
    """
    try:
        function = checked.find("data.name", name, registry)
    except ConfigError as error:
        return [str(error)]
    return checked.problems("data", name, function, _with_shared(function, {"root": root}, arguments))


def with_defaults(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments completed by the function's defaults, as far as TOML can represent them.

    Args:
      name: one of `names()`, or "module:function".
      arguments: those given, without `root` and `corrupt`.
    """
    return checked.with_defaults(checked.find("data.name", name, registry), arguments, elsewhere=SHARED)


def _with_shared(
    function: Callable[..., Any], shared: Mapping[str, Any], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments with those of the shared ones that the function takes."""
    takes = inspect.signature(function).parameters
    given = {key: str(value) for key, value in shared.items() if value is not None and key in takes}
    return dict(arguments) | given
