"""Config of a run: as it was given, and as it was resolved."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxconv._base.errors import ConfigError
from jaxconv.run import config
from jaxconv.run.config import Config
from jaxconv.run.records import read_manifest

__all__ = ["changed", "flat", "given_settings", "read_settings", "schedule_record", "settings_of"]


def settings_of(folder: Path, changes: Sequence[str] = ()) -> Config:
    """The config of a run to resume.

    Without changes every value is the one that the run was started with. With changes the schedule is the one that
    was given, so that durations that follow from other values follow from the changed ones.

    Args:
      folder: the run's.
      changes: overrides, see `jaxconv.run.config.read`.

    Raises:
      ConfigError: if there is no run, or an override is invalid.
      DataError: if its manifest is damaged.
    """
    if not (folder / "config.toml").is_file():
        raise ConfigError(f"no run to resume in {folder}: it must contain config.toml")
    return given_settings(folder, changes) if changes else config.read(folder / "config.toml")


def given_settings(folder: Path, changes: Sequence[str] = ()) -> Config:
    """The config that a run was started with, before its schedule was resolved.

    Args:
      folder: the run's.
      changes: overrides, see `jaxconv.run.config.read`.
    """
    schedule = read_manifest(folder).get("schedule") if (folder / "manifest.json").exists() else None
    pair = None if schedule is None else (schedule["given"], schedule["resolved"])
    return config.read(folder / "config.toml", list(changes), schedule=pair)


def read_settings(path: Path, changes: Sequence[str] = ()) -> Config:
    """Read a config file; with changes, one in a run's folder has the schedule as it was given.

    Args:
      path: the file.
      changes: overrides, see `jaxconv.run.config.read`.
    """
    if changes and path.name == "config.toml" and (path.parent / "manifest.json").exists():
        return given_settings(path.parent, changes)
    return config.read(path, list(changes))


def schedule_record(given: Config, resolved: Config) -> dict[str, Any]:
    """Manifest entry that `given_settings` reads; empty without a schedule."""
    pair = given.optim.schedule, resolved.optim.schedule
    tables = [{} if each is None else {"name": each.name, **each.arguments} for each in pair]
    return {"schedule": dict(zip(("given", "resolved"), tables, strict=True))} if all(tables) else {}


def flat(settings: Config) -> dict[str, Any]:
    """A config's values by full key, as "train.seed"."""

    def walk(table: dict[str, Any], path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in table.items():
            inner = path if key == "arguments" and isinstance(value, dict) else f"{path}{key}."
            found |= walk(value, inner) if isinstance(value, dict) else {path + key: value}
        return found

    return walk(dataclasses.asdict(settings), "")


def changed(before: Config, now: Config) -> dict[str, dict[str, Any]]:
    """{key: {"before": value, "now": value}} of the values that differ."""
    old, new = flat(before), flat(now)
    keys = [key for key in sorted({*old, *new}) if repr(old.get(key)) != repr(new.get(key))]
    return {key: {"before": old.get(key), "now": new.get(key)} for key in keys}
