"""Old names of arguments, accepted for one release under a DeprecationWarning."""

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def renamed_arguments(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: accept `old=new` keyword arguments under their old names, too; type checkers see the new names alone.

    >>> @renamed_arguments(size="kernel_size")
    ... def pool(x, kernel_size): return kernel_size
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     pool(0, size=2), str(caught[0].message)
    (2, 'pool: size is now called kernel_size')
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if names.keys().isdisjoint(kwargs):  # the usual case costs a lookup
                return function(*args, **kwargs)
            return function(*args, **with_new_names(function.__name__, kwargs, names))

        call.renamed = names  # type: ignore[attr-defined]
        return call

    return decorate


def with_new_names(
    where: str, arguments: Mapping[str, Any], names: Mapping[str, str], *, stacklevel: int = 2
) -> dict[str, Any]:
    """Arguments under their new names, with a DeprecationWarning for each old one.

    Args:
      where: the function or config section, for the message.
      arguments: by name, old or new.
      names: new names by old ones.
      stacklevel: of the warning, as `warnings.warn` counts from the caller.

    Raises:
      TypeError: if an argument is given under both names.
    """
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        new = names.get(name, name)
        if new != name:
            warnings.warn(f"{where}: {name} is now called {new}", DeprecationWarning, stacklevel=stacklevel + 1)
            if new in arguments:
                raise TypeError(f"{where}: expected {new} once, got it as {name}, its old name, too")
        found[new] = value
    return found
