"""JSON schema of a config: keys from the records, and the arguments of the functions that a section can name.

These come from their signatures, annotations and docstrings.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

from docstring_parser import Docstring, DocstringStyle, parse
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from jaxconv import augment, models
from jaxconv.augment.named import FROM_DATA
from jaxconv.data.registry import SHARED
from jaxconv.data.registry import registry as datasets
from jaxconv.models._registry import FROM_DATA as NET_FROM_DATA
from jaxconv.run.config.records import NESTED, SECTIONS, Config, GroupConfig
from jaxconv.training import optim
from jaxconv.training.named import GIVEN, losses
from jaxconv.training.optim.names import IN_PYTHON
from jaxconv.training.optim.rate import UNITS

__all__ = ["FUNCTIONS", "TABLES", "Entry", "schema", "signature", "summary", "table"]

Entry = dict[str, Any]
"""A JSON schema, or a part of one."""
FUNCTIONS: dict[str, Mapping[str, Callable[..., Any]]] = {
    "data": datasets,
    "net": models.registry,
    "augment": augment.registry,
    "loss": losses,
    "optim": optim.optimizers(),
    "optim.schedule": optim.schedules(),
}
"""The functions that a section can name."""
TABLES: dict[str, type | None] = {}
for section in dict.fromkeys(["data", "net", "pretrained", "augment", "task", "loss", "distill", *SECTIONS]):
    TABLES[section] = SECTIONS.get(section)
    TABLES |= {path: record for path, record in NESTED.items() if path.startswith(f"{section}.")}
"""The sections in the order of a config, with their records; `augment` has functions alone."""
_SET_ELSEWHERE = {
    "data": SHARED,
    "net": NET_FROM_DATA,
    "augment": FROM_DATA,
    "loss": GIVEN,
    "optim": ("learning_rate", *IN_PYTHON),
}
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1, "default": 1, "description": "Share of the images."}
_WEIGHT_DECAY = {"type": "number", "default": 0.0, "description": "Rate of decoupled weight decay."}


def schema() -> Entry:
    """The JSON schema of a config, for editors.

    >>> schema()["properties"]["train"]["$ref"]
    '#/$defs/TrainConfig'
    """
    found = TypeAdapter(Config).json_schema()
    for section, record in TABLES.items():
        if record is not None:
            found["$defs"][record.__name__] |= table(section) | (
                _cases(section, record) if section in FUNCTIONS else {}
            )
    found["$defs"][GroupConfig.__name__] |= _cases("optim", GroupConfig)
    one = {name: _augmentation(name) for name in augment.registry}
    some = {"type": "object", "properties": one | {"probability": _PROBABILITY}, "additionalProperties": False}
    choice = {"description": "Apply one of these to each image.", "anyOf": [{"type": "boolean"}, some]}
    found["properties"]["augment"] |= {"properties": one | {"random_choice": choice}, "additionalProperties": False}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | found


@functools.cache
def table(section: str) -> Entry:
    """The schema of a section's own keys, with their defaults.

    Args:
      section: a key of `TABLES`.
    """
    record = TABLES[section]
    if record is None:
        about = TypeAdapter(Config).json_schema()["properties"][section]["description"]
        return {"description": about, "properties": {}, "required": []}
    found = TypeAdapter(record).json_schema()
    for field in dataclasses.fields(record):
        if field.default_factory is not dataclasses.MISSING:  # which pydantic leaves out
            found["properties"][field.name]["default"] = field.default_factory()
    entries = {key: each for key, each in found["properties"].items() if key != "arguments"}
    if section in FUNCTIONS:
        custom = [{"type": "string", "pattern": ":"}] if section in ("data", "net", "loss") else []  # "module:function"
        entries["name"] |= {"anyOf": [{"enum": list(FUNCTIONS[section])}, *custom]}
    return {"description": found["description"], "properties": entries, "required": found.get("required", [])}


def signature(section: str, name: str) -> Entry:
    """The schema of the arguments that a config may give to a function.

    Args:
      section: a key of `FUNCTIONS`.
      name: one of its functions.

    >>> signature("augment", "shift")["required"]
    ['pixels']
    """
    function = FUNCTIONS[section][name]
    peak = (optim.peak_argument(function),) if section == "optim.schedule" else ()
    hidden = {*peak, *_SET_ELSEWHERE.get(section, ()), *table(section)["properties"]}
    meanings = {each.arg_name: each.description or "" for each in _docstring(function).params}
    entries = {"probability": _PROBABILITY} if section == "augment" else {}
    entries |= {"weight_decay": _WEIGHT_DECAY} if section == "optim" else {}
    required = []
    own = {}
    for key, parameter in inspect.signature(function).parameters.items():
        if key in hidden or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        own[key] = _annotated(function, parameter) | {"description": " ".join(meanings.get(key, "").split())}
        if parameter.default is parameter.empty:
            required.append(key)
        elif isinstance(parameter.default, bool | int | float | str | tuple | None):
            own[key]["default"] = parameter.default
    required = [] if section == "optim.schedule" else required  # each has a default that follows from the run
    return {"description": summary(function), "properties": own | entries | own, "required": required}


def summary(function: Callable[..., Any]) -> str:
    """The first sentence on a function.

    >>> summary(augment.flip)
    'Flip images left to right.'
    """
    sentence = (_docstring(function).short_description or "").partition("Arguments as in")[0]
    return " ".join(sentence.split())


def _annotated(function: Callable[..., Any], parameter: inspect.Parameter) -> Entry:
    """The schema of a parameter's annotation, or of its default; empty if neither says what it takes."""
    if function.__module__.startswith("jaxconv"):
        try:
            found: Entry = TypeAdapter(typing.get_type_hints(function)[parameter.name]).json_schema()
            return found
        except (KeyError, NameError, TypeError, PydanticUserError):
            return {}
    kinds = {bool: "boolean", str: "string", tuple: "array"}  # optax's annotations are of arrays, which TOML lacks
    return {"type": "string" if "dtype" in parameter.name else kinds.get(type(parameter.default), "number")}


def _cases(section: str, record: type) -> Entry:
    """The keys of a table that depend on the function it names.

    Args:
      section: a key of `FUNCTIONS`.
      record: of the table, whose own keys do not depend on the function.
    """
    own = [field.name for field in dataclasses.fields(record) if field.name != "arguments"]
    cases = []
    for name in FUNCTIONS[section]:
        entries = signature(section, name)["properties"]
        durations = [key.removesuffix("steps") + unit for key in entries if key.endswith("_steps") for unit in UNITS]
        names = [*own, *entries, *(durations if section == "optim.schedule" else [])]
        then = {"properties": entries, "propertyNames": {"enum": names}}
        cases.append({"if": {"properties": {"name": {"const": name}}}, "then": then})
    return {"additionalProperties": True, "allOf": cases}


def _augmentation(name: str) -> Entry:
    """The schema of an augmentation: a table of its arguments, its first argument, true or false."""
    entries = signature("augment", name)
    first = next(iter(entries["properties"].values()))
    arguments = {"type": "object", "additionalProperties": False} | entries
    return {"description": entries["description"], "anyOf": [{"type": "boolean"}, first, arguments]}


def _docstring(function: Callable[..., Any]) -> Docstring:
    """A function's docstring; of one with "Arguments as in `other`", with the other's arguments."""
    found = parse(function.__doc__ or "", DocstringStyle.GOOGLE)
    for other in re.findall(r"as in `(\w+)`", function.__doc__ or "") if not found.params else []:
        found.meta += next((_docstring(named[other]).params for named in FUNCTIONS.values() if other in named), [])
    return found
