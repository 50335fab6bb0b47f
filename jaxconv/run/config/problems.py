"""Mistakes in a config, one line for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, cast

from pydantic import ValidationError

from jaxconv._base.arguments import must, must_all
from jaxconv._base.errors import ConfigError, did_you_mean, nearest, not_one_of
from jaxconv.augment import augment_problems
from jaxconv.data.registry import data_problems
from jaxconv.models._registry import net_problems
from jaxconv.run.config.records import NESTED, SECTIONS, Config
from jaxconv.run.config.training_records import LossConfig
from jaxconv.training import optim
from jaxconv.training.named import loss_problems, term_problems

__all__ = ["argument_problems", "by_key", "is_misspelt", "line_of"]


def argument_problems(nested: Mapping[str, Any]) -> list[str]:
    """Errors in names and arguments of the net, the optimizer, the schedule and the data.

    Args:
      nested: a config's table, with the arguments of each function in `arguments`.
    """
    lines = []
    if found := _named(nested.get("data")):
        root = nested["data"].get("root")
        lines += data_problems(found[0], root if isinstance(root, str) else None, found[1])
    if found := _named(nested.get("net")):
        lines += net_problems(*found)
    if isinstance(nested.get("loss"), dict) and (found := _named({"name": LossConfig.name} | nested["loss"])):
        lines += loss_problems(*found)
        lines += term_problems(terms) if isinstance(terms := nested["loss"].get("terms"), dict) else []
    if isinstance(nested.get("optim"), dict):
        lines += _optim_problems("optim", nested["optim"])
    if isinstance(nested.get("augment"), dict):
        lines += augment_problems(nested["augment"])
    return lines


def _named(section: Any) -> tuple[str, dict[str, Any]] | None:
    """Name and arguments of a section; None if pydantic reports its error."""
    if isinstance(section, dict) and isinstance(section.get("name"), str):
        return section["name"], section.get("arguments", {})
    return None


def _optim_problems(path: str, section: Mapping[str, Any]) -> list[str]:
    """Errors in names and arguments of an optimizer, its schedule and its groups."""
    lines = []
    if found := _named(section):
        lines += _optax_problems(path, found, optim.optimizers(), lambda make: "learning_rate", ("weight_decay",))
    if found := _named(section.get("schedule")):
        try:
            found = found[0], optim.in_steps(found[1], 1, 1, 1, path=f"{path}.schedule")
            lines += _optax_problems(f"{path}.schedule", found, optim.schedules(), optim.peak_argument)
        except ConfigError as error:
            lines += str(error).splitlines()
    groups = section.get("groups")
    for pattern, group in groups.items() if isinstance(groups, dict) else ():
        lines += _optim_problems(f"{path}.groups.{pattern}", group) if isinstance(group, dict) else []
    return lines


def _optax_problems(
    path: str, found: tuple[str, dict[str, Any]], known: Any, rate: Any, also: tuple[str, ...] = ()
) -> list[str]:
    name, arguments = found
    if name not in known:
        return [not_one_of(f"{path}.name", name, known)]
    return optim.argument_problems(path, known[name], arguments, (rate(known[name]),), also)


def is_misspelt(problem: Any, table: Mapping[str, Any]) -> bool:
    """Whether one of pydantic's errors is a missing key that is likely there, misspelt: an error of its own."""
    if problem["type"] != "missing":
        return False
    *parents, name = problem["loc"]
    section: Any = table.get(parents[0]) if parents else table
    if len(parents) > 1 or not isinstance(section, Mapping):
        return False
    known = [field.name for field in dataclasses.fields(SECTIONS[parents[0]] if parents else Config)]
    return any(nearest(key, known) == name for key in section if key not in known)


def by_key(error: ValidationError, table: Mapping[str, Any], *section: str) -> list[list[Any]]:
    """Pydantic's errors of a table below a section; those of the members of a union together.

    In the path of such an error the member's type follows the key: "class_weights", "list[float]", 1.
    """
    found: dict[tuple[Any, ...], list[Any]] = {}
    for problem in error.errors():
        path, length, value = problem["loc"], 0, cast(Any, table)
        while length < len(path) and path[length] in _keys(value):
            value, length = value[path[length]], length + 1
        length = len(path) if problem["type"] == "missing" else length
        key = (*section, *path[:length])
        found.setdefault(key, []).append(problem | {"loc": key, "inner": path[length:]})
    return list(found.values())


def _keys(value: Any) -> Collection[Any]:
    """The keys of a table, the indices of a list."""
    return value if isinstance(value, Mapping) else range(len(value)) if isinstance(value, list) else ()


def line_of(problem: Any, *others: Any) -> str:
    """Pydantic's errors of one key as "path: must be X or Y, got Z"."""
    path = ".".join(map(str, problem["loc"]))
    if problem["type"] == "missing":
        return f"{path}: must be given"
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        *parents, key = problem["loc"]
        record = NESTED.get(".".join(parents), SECTIONS[parents[0]]) if parents else Config
        known = [field.name for field in dataclasses.fields(record)]
        kind = "key" if parents else "section"
        return f"{path}: unknown {kind}; expected one of {', '.join(known)}{did_you_mean(key, known)}"
    if others:
        members = [each | {"loc": each["inner"]} for each in (problem, *others)]
        return f"{path}: {must_all(members, union=True)}, got {others[-1]['input']!r}"
    return f"{path}: {must(problem)}, got {problem['input']!r}"
