"""Old names of config keys, accepted for one release under a DeprecationWarning."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from typing import Any

from jaxconv import models
from jaxconv._base.arguments import find
from jaxconv._base.errors import ConfigError
from jaxconv.augment import named

__all__ = ["current_key", "current_table"]

_SECTIONS = {"start": "pretrained"}
_OPTIM = {"average": "ema", "rates": "lr_multipliers", "clip_norm": "max_grad_norm"}


def current_table(table: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A config's table with the current names of sections and keys.

    Args:
      table: as in the file.
      source: name of the config in messages.

    Raises:
      ConfigError: if an old and a new name are both given.
    """
    return _renamed(table, "", _names(table), source)


def current_key(path: str, table: Mapping[str, Any], source: str) -> str:
    """The current name of a key: "optim.average", or "average" alone, is "optim.ema".

    Args:
      path: of the key, as in an override.
      table: that the override changes.
      source: name of the config in messages.
    """
    if path in _OPTIM:
        new = f"optim.{_OPTIM[path]}"
    else:
        names, keys = _names(table), list[str]()
        for key in path.split("."):
            keys.append(names.get(".".join(keys), {}).get(key, key))
        new = ".".join(keys)
    if new != path:
        _warn(source, path, new)
    return new


def _names(table: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """{section: {old name: new name}}; those of a net and of augmentations are their functions'."""
    functions = {f"augment.{name}": function for name, function in named.registry.items()}
    net = table.get("net")
    if isinstance(net, Mapping) and isinstance(net.get("name"), str):
        with contextlib.suppress(ConfigError):  # reported with the config's other errors
            functions["net"] = find("net.name", net["name"], models.registry)
    own = {section: dict(getattr(function, "renamed", {})) for section, function in functions.items()}
    return own | {"": _SECTIONS, "optim": _OPTIM, "augment": named.OLD_NAMES}


def _renamed(
    table: Mapping[str, Any], path: str, names: Mapping[str, Mapping[str, str]], source: str
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        new = names.get(path, {}).get(key, key)
        if new != key:
            old = _join(path, key)
            if new in table:
                raise ConfigError(f"{source}: {old} is now called {_join(path, new)}, got both; leave out {old}")
            _warn(source, old, _join(path, new))
        found[new] = _renamed(value, _join(path, new), names, source) if isinstance(value, Mapping) else value
    return found


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _warn(source: str, old: str, new: str) -> None:
    warnings.warn(f"{source}: {old} is now called {new}", DeprecationWarning, stacklevel=4)
