"""The data sets that are known by name, and those of the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

from jaxconv._base import arguments as checked
from jaxconv._base.errors import ConfigError
from jaxconv.data.cifar import cifar10, cifar100
from jaxconv.data.dataset import Arrays, Dataset, Source
from jaxconv.data.folder import folder
from jaxconv.data.npz import npz
from jaxconv.data.sources import digits, fashion_mnist, mnist

__all__ = ["data_problems", "load", "names", "registry", "with_defaults"]

registry: dict[str, Callable[..., Dataset[Source]]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "folder": folder,
    "npz": npz,
}


InMemory: TypeAlias = Literal["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "npz"]


@overload
def load(
    name: InMemory, root: str | Path | None = None, corrupt: str | None = None, **arguments: Any
) -> Dataset[Arrays]: ...
@overload
def load(
    name: str, root: str | Path | None = None, corrupt: str | None = None, **arguments: Any
) -> Dataset[Source]: ...
def load(name: str, root: str | Path | None = None, corrupt: str | None = None, **arguments: Any) -> Dataset[Source]:
    """Load a data set by name.

    `digits` comes with scikit-learn. `mnist`, `fashion_mnist`, `cifar10` and `cifar100` are read
    from the files that they were published in: in `root`, else in the folder that `$JAXCONV_DATA`
    names (each directly or in a sub-folder of the set's name), else in the user's cache, where
    they are downloaded if missing. `folder` and `npz` read what lies at `root`.

    Args:
      name: one of `names()`, or "module:function" of the user's own, which returns a `Dataset`.
      root: the folder or file to look in first; `digits` needs none.
      corrupt: "fail" or "skip", for a set that reads images one by one.
      **arguments: the other arguments of the set's function.

    Returns:
      The data set.

    Raises:
      ConfigError: there is no data set of that name, or it does not take the arguments; one line for each.
      DataError: a file is missing, truncated or altered, or cannot be downloaded.

    >>> load("digits").train.images.shape
    (1438, 8, 8, 1)
    """
    function = checked.find("data.name", name, registry)
    given = _with_shared(function, {"root": root, "corrupt": corrupt}, arguments)
    if problems := checked.problems("data", name, function, given):
        raise ConfigError("\n".join(problems))
    dataset = function(**checked.typed(function, given))
    if not isinstance(dataset, Dataset):
        raise ConfigError(f"data.name: {name} must return a jaxconv Dataset, it returned {type(dataset).__name__}")
    return dataset


def names() -> list[str]:
    """The names that `load` knows.

    >>> names()
    ['digits', 'mnist', 'fashion_mnist', 'cifar10', 'cifar100', 'folder', 'npz']
    """
    return list(registry)


def data_problems(name: str, root: str | None, arguments: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with a data set's name and arguments, one line each; nothing is read.

    Args:
      name: one of `names()`, or "module:function".
      root: the folder or file, if given.
      arguments: the function's other arguments as TOML gives them.

    >>> data_problems("folder", None, {"sise": 32})[0].rpartition("; ")[2]
    "did you mean 'size'?"
    """
    try:
        function = checked.find("data.name", name, registry)
    except ConfigError as error:
        return [str(error)]
    return checked.problems("data", name, function, _with_shared(function, {"root": root}, arguments))


def with_defaults(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, and the function's defaults for those not given, as TOML can write them.

    Args:
      name: one of `names()`, or "module:function".
      arguments: those given, without `root` and `corrupt`.
    """
    return checked.with_defaults(checked.find("data.name", name, registry), arguments, elsewhere=("root", "corrupt"))


def _with_shared(
    function: Callable[..., Any], shared: Mapping[str, Any], arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """What every set may be given beside its own arguments; one that lies in no folder has no use for a root."""
    takes = inspect.signature(function).parameters
    given = {key: str(value) for key, value in shared.items() if value is not None and key in takes}
    return dict(arguments) | given
