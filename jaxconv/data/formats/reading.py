"""Optional dependencies of formats, and errors of damaged files."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import read_text

__all__ = ["json_value", "package", "readable"]


def package(module: str, what: str, fix: str = "") -> Any:
    """Import a module of a package that may be missing.

    Args:
      module: its name.
      what: what needs it, in the plural.
      fix: a package to install; the extra `data` if empty.

    Raises:
      ConfigError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        extra = "" if fix else ', the "data" extra'
        install = fix or '"jaxconv[data]"'
        raise ConfigError(f"{what} need {name}{extra}: python -m pip install {install}") from None


@contextlib.contextmanager
def readable(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Raise OSErrors of the block, and errors of some other types, as DataErrors that name a file.

    Args:
      path: the file that the block reads.
      *errors: the other types.

    Raises:
      DataError: if one of them is raised.
    """
    kinds: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        yield
    except (ConfigError, DataError):
        raise
    except kinds as error:
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0].rstrip(".")
        raise DataError(f"cannot read {path}, which is truncated, damaged or of another format: {reason}") from None


def json_value(path: Path, key: str, writer: str, default: Any = None) -> Any:
    """A value of the object in a JSON file.

    Args:
      path: the file.
      key: key of the value.
      writer: package that writes such files, for messages.
      default: the value if the object has no such key; None if it must have it.

    Raises:
      DataError: if the file is missing, damaged or has no such key.
    """
    try:
        found = json.loads(read_text(path))
        return found[key] if default is None else found.get(key, default)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} must be JSON with {key!r}, as {writer} writes it: {error!r}") from None
