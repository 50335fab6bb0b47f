"""TOML to records and back, with all errors of a config in one message."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from jaxconv._base.errors import ConfigError, did_you_mean
from jaxconv._base.files import read_text
from jaxconv.data.registry import with_defaults as data_defaults
from jaxconv.models._registry import with_defaults
from jaxconv.run.config.problems import argument_problems, by_key, is_misspelt, line_of
from jaxconv.run.config.records import (
    SECTIONS,
    Config,
    DataConfig,
    GroupConfig,
    LossConfig,
    NetConfig,
    OptimConfig,
    ScheduleConfig,
)
from jaxconv.run.config.renamed import current_key, current_table
from jaxconv.training.named import with_defaults as loss_defaults

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["parse", "read", "to_toml", "with_changes"]

T = TypeVar("T", bound="DataclassInstance")
Tables = tuple[Mapping[str, Any], Mapping[str, Any]]


def read(path: str | Path, overrides: Sequence[str] = (), *, schedule: Tables | None = None) -> Config:
    """Read a config file.

    Args:
      path: the file.
      overrides: `section.key=value` each; the value is TOML, a Python number or boolean (`.1`, `1.`, `True`), or
        else a bare string; `none` unsets the key.
      schedule: of a run: its `[optim.schedule]` as it was given, and as it was resolved. If the file has the resolved
        one, the given one takes its place before the overrides.

    Returns:
      The config, with the defaults of its sections and of its net filled in.

    Raises:
      ConfigError: if there is no such file, it is not TOML, or keys are unknown, missing or of the wrong type; one
        line for each.
    """
    path = Path(path)
    try:
        table = tomllib.loads(read_text(path))
    except FileNotFoundError:
        raise ConfigError(f"there is no config file {path}{_near(path)}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}{_near(path)}") from None
    except RecursionError:
        raise ConfigError(f"{path} is not TOML: it is nested too deeply") from None
    except ValueError as error:  # TOML's, UTF-8's, and Python's where a number has thousands of digits
        raise ConfigError(f"{path} is not TOML: {error}") from None
    table = current_table(table, str(path))
    if schedule is not None and isinstance(table.get("optim"), dict) and table["optim"].get("schedule") == schedule[1]:
        table["optim"]["schedule"] = dict(schedule[0])
    for override in overrides:
        _set(table, override)
    return parse(table, " ".join([f"{path} with", *overrides]) if overrides else str(path))


def parse(table: Mapping[str, Any], source: str = "config") -> Config:
    """Validate a table and convert it to a record.

    Args:
      table: as returned by `tomllib`.
      source: name of the config in messages.

    Raises:
      ConfigError: if keys are unknown, missing or of the wrong type; one line for each.

    >>> config = parse(tomllib.loads('''
    ... data.name = "digits"
    ... net.name = "conv_pool"
    ... optim = {name = "adam", learning_rate = 1e-3}
    ... train = {epochs = 1, batch_size = 32}
    ... '''))
    >>> config.net.arguments["features"], config.train.seed
    ([20, 40], 0)
    """
    table = current_table(table, source)
    problems: list[str] = []
    missing: list[str] = []
    config = None
    nested = _nest(table)
    try:
        # In strict JSON mode a string is not a number, yet a table may be a dataclass.
        config = _adapter().validate_json(json.dumps(nested, default=str), strict=True)
    except ValidationError as error:
        for found in by_key(error, nested):
            (missing if is_misspelt(found[0], table) else problems).append(line_of(*found))
    problems += argument_problems(nested)
    problems = problems or missing
    if problems or config is None:
        count = f"{len(problems)} error" + ("s" if len(problems) > 1 else "")
        raise ConfigError("\n  ".join([f"{source}: {count}", *problems]))
    net = dataclasses.replace(config.net, arguments=with_defaults(config.net.name, config.net.arguments))
    images = dataclasses.replace(config.data, arguments=data_defaults(config.data.name, config.data.arguments))
    loss = dataclasses.replace(config.loss, arguments=loss_defaults(config.loss.name, config.loss.arguments))
    return dataclasses.replace(config, net=net, data=images, loss=loss)


@functools.cache
def _adapter() -> TypeAdapter[Config]:
    return TypeAdapter(Config)


def to_toml(config: Config) -> str:
    """The config as TOML, which `parse` converts to the same record.

    Args:
      config: the record.
    """
    import tomli_w

    return tomli_w.dumps(_flatten(dataclasses.asdict(config)))


def with_changes(section: str, record: T, changes: Sequence[str]) -> T:
    """The record of a section with other values.

    Args:
      section: its name.
      record: the section.
      changes: `key=value` each, see `read`.

    Raises:
      ConfigError: if a key is unknown or a value is of the wrong type; one line for each.

    >>> from jaxconv.run.config.records import TtaConfig
    >>> with_changes("tta", TtaConfig(flip=True), ["shift=1"]).shift
    1
    """
    table = _flatten({section: dataclasses.asdict(record)})
    for change in changes:
        _set(table, f"{section}.{change}")
    try:
        return TypeAdapter(type(record)).validate_json(json.dumps(_nest(table)[section], default=str), strict=True)
    except ValidationError as error:
        raise ConfigError("\n".join(line_of(*found) for found in by_key(error, table[section], section))) from None


def _flatten(table: dict[str, Any]) -> dict[str, Any]:
    """Move arguments back to the keys of their section, and drop None, which TOML lacks."""
    inner = {key: _flatten(value) if isinstance(value, dict) else value for key, value in table.items()}
    inner |= inner.pop("arguments", {})
    return {key: value for key, value in inner.items() if value is not None}


def _nest(table: Mapping[str, Any]) -> dict[str, Any]:
    """Move keys that are not fields of a section into its `arguments`."""
    nested = dict(table)
    for section, record in (("data", DataConfig), ("net", NetConfig), ("loss", LossConfig), ("optim", OptimConfig)):
        if isinstance(nested.get(section), dict):
            nested[section] = _split(nested[section], record)
    return nested


def _split(table: Mapping[str, Any], record: type) -> dict[str, Any]:
    own = {field.name for field in dataclasses.fields(record)} - {"arguments"}
    split = {key: value for key, value in table.items() if key in own}
    if isinstance(split.get("schedule"), dict):
        split["schedule"] = _split(split["schedule"], ScheduleConfig)
    if isinstance(split.get("groups"), dict):
        groups = split["groups"].items()
        split["groups"] = {key: _split(each, GroupConfig) if isinstance(each, dict) else each for key, each in groups}
    return split | {"arguments": {key: value for key, value in table.items() if key not in own}}


def _set(table: dict[str, Any], override: str) -> None:
    """Set one `section.key=value` in a table."""
    path, equals, text = override.partition("=")
    keys = _full_path(current_key(path.strip(), table, override)).split(".")
    if not equals or not all(keys):
        raise ConfigError(f"expected KEY=VALUE, for example train.epochs=3, got {override!r}")
    if len(keys) < 2:
        sections = _bare_keys().get(keys[0], [])
        if sections:
            several = " or ".join(f"{section}.{override}" for section in sections)
            raise ConfigError(f"{keys[0]} is a key of several sections; did you mean {several}?")
        hint = did_you_mean(keys[0], _bare_keys()) or "; expected SECTION.KEY=VALUE, for example train.epochs=3"
        raise ConfigError(f"unknown key {keys[0]!r}{hint}")
    if text in ("None", "null", "nil"):
        raise ConfigError(f"{path} is unset by {path}=none; the word itself is {path}='\"{text}\"'; got {override!r}")
    for key in keys[:-1]:
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"cannot set {path}: {key} is {inner!r}, not a table")
        table = inner
    if text == "none":
        table.pop(keys[-1], None)
    else:
        table[keys[-1]] = _value(text)


def _value(text: str) -> Any:
    """An override's value."""
    if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?", text):
        return float(text)  # TOML requires digits on both sides of the point
    if text in ("True", "False"):
        return text == "True"
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _full_path(path: str) -> str:
    """A key with its section, if only one section has it: "seed" is "train.seed"."""
    found = _bare_keys().get(path, [])
    return f"{found[0]}.{path}" if len(found) == 1 else path


def _bare_keys() -> dict[str, list[str]]:
    """{key: sections that have it}."""
    keys: dict[str, list[str]] = {}
    for section, record in SECTIONS.items():
        for field in dataclasses.fields(record):
            keys.setdefault(field.name, []).append(section)
    return {key: sections for key, sections in keys.items() if key not in SECTIONS and key != "arguments"}


def _near(path: Path) -> str:
    """Suggest config files with names similar to a missing path."""
    folders = {path.parent, path.parent / "configs", Path("configs"), path}
    files = {str(file): file for folder in folders if folder.is_dir() for file in sorted(folder.glob("*.toml"))}
    files.pop(str(path), None)
    same_name = [name for name, file in files.items() if path.stem in (file.stem, file.parent.name)]
    if same_name:
        return f"; did you mean {' or '.join(repr(name) for name in same_name[:3])}?"
    return did_you_mean(path, files)
