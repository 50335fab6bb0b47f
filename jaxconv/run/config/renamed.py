"""Old names of config keys, accepted for one release under a DeprecationWarning."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from jaxconv._base.errors import ConfigError

__all__ = ["current_key", "current_table"]

_SECTIONS = {"start": "pretrained"}
_KEYS = {"optim": {"average": "ema", "rates": "lr_multipliers", "clip_norm": "max_grad_norm"}}


def current_table(table: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A config's table with the current names of sections and keys.

    Args:
      table: as in the file.
      source: name of the config in messages.

    Raises:
      ConfigError: if an old and a new name are both given.
    """
    found = _renamed(table, _SECTIONS, "", source)
    for section, names in _KEYS.items():
        if isinstance(found.get(section), Mapping):
            found[section] = _renamed(found[section], names, f"{section}.", source)
    return found


def current_key(path: str, source: str) -> str:
    """The current name of a key: "optim.average", or "average" alone, is "optim.ema".

    Args:
      path: of the key, as in an override.
      source: name of the config in messages.
    """
    first, dot, rest = path.partition(".")
    if not dot:
        section = next((section for section, names in _KEYS.items() if first in names), "")
        new = f"{section}.{_KEYS[section][first]}" if section else path
    else:
        key, *deeper = rest.split(".")
        section = _SECTIONS.get(first, first)
        new = ".".join([section, _KEYS.get(section, {}).get(key, key), *deeper])
    if new != path:
        _warn(source, path, new)
    return new


def _renamed(table: Mapping[str, Any], names: Mapping[str, str], prefix: str, source: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        new = names.get(key, key)
        if new != key:
            if new in table:
                raise ConfigError(f"{source}: {prefix}{key} is now called {prefix}{new}, got both; leave out {key}")
            _warn(source, prefix + key, prefix + new)
        found[new] = value
    return found


def _warn(source: str, old: str, new: str) -> None:
    warnings.warn(f"{source}: {old} is now called {new}", DeprecationWarning, stacklevel=4)
