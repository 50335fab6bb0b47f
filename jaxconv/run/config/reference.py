"""The keys of a config in its own language: an example of each below its meaning, kind and default."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from jaxconv._base.errors import ConfigError, did_you_mean, either
from jaxconv.run.config.schema import FUNCTIONS, TABLES, Entry, signature, summary, table

__all__ = ["reference"]

_SECTIONS = tuple(TABLES)


def reference(path: str = "", width: int = 100) -> str:
    """Keys of a config as TOML, each with an example below its meaning, kind and default.

    Args:
      path: a section ("train"), a key ("train.epochs"), a function that a section can name ("net.resnet18",
        "augment.flip"); "" for all sections.
      width: columns of the text; longer examples stay on one line.

    Raises:
      ConfigError: if there is no such section, key or function.

    >>> print(reference("train.batch_size"))
    [train]
    # Images per step, over all devices. (integer > 0; required)
    batch_size = 256
    """
    section, _, name = path.rpartition(".")
    if not path:
        return "\n\n".join(_text(each, table(each), width) for each in TABLES)
    if path in TABLES:
        return _text(path, table(path), width) + "".join(_names(path, width))
    if name in FUNCTIONS.get(section, {}):
        named = [] if section == "augment" else [f"name = {json.dumps(name)}"]
        return _text(path if section == "augment" else section, signature(section, name), width, named)
    if section in TABLES and name in (found := table(section))["properties"]:
        return _text(section, {**found, "description": "", "properties": {name: found["properties"][name]}}, width)
    keys = [f"{each}.{key}" for each in TABLES for key in table(each)["properties"]]
    named = [f"{each}.{function}" for each in FUNCTIONS for function in FUNCTIONS[each]]
    raise ConfigError(
        f"there is no {path!r} in a config; expected one of {', '.join(TABLES)}, or a key or function of these"
        f"{did_you_mean(path, [*TABLES, *keys, *named])}"
    )


def _text(section: str, found: Entry, width: int, given: Sequence[str] = ()) -> str:
    """A section as TOML."""
    about = _comment(found["description"], width)
    lines = [*about, f"[{section}]", *given]
    for key, entry in found["properties"].items():
        if f"{section}.{key}" in TABLES:
            continue
        default = entry.get("default")
        if key in found["required"]:
            said = "required"
        else:
            said = "unset by default" if default is None else f"default {_toml(default)}"
        lines += _comment(f"{_sentence(entry.get('description', ''))} ({_kind(entry)}; {said})", width)
        examples = entry.get("examples", [] if default is None else [default])
        lines.append(f"{key} = {_toml(examples[0])}" if examples else f"# {key} =")
    return "\n".join(lines)


def _names(section: str, width: int) -> list[str]:
    """The functions that a section can name."""
    functions = FUNCTIONS.get(section, {})
    indent = max((len(name) for name in functions), default=0)
    found = [f"{name:{indent}}  {summary(function)}" for name, function in functions.items()]
    title = _comment(f"Functions, whose arguments `jaxconv config {section}.NAME` prints:", width)
    lines = [line for text in found for line in _comment(text, width, " " * (indent + 2))]
    return ["\n\n", "\n".join([*title, *lines])] if found else []


def _comment(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of a comment."""
    return textwrap.wrap(text, width, initial_indent="# ", subsequent_indent=f"# {indent}", break_on_hyphens=False)


def _sentence(text: str) -> str:
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}".removesuffix(".") + "." if text else ""


def _kind(entry: Entry) -> str:
    """The values that a schema takes, in words.

    >>> _kind({"anyOf": [{"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, {"type": "null"}]})
    'number > 0, < 1'
    """
    kind = entry.get("type")
    if "anyOf" in entry and kind is None:
        return " or ".join(dict.fromkeys(_kind(each) for each in entry["anyOf"] if each.get("type") != "null"))
    if "enum" in entry or "const" in entry:
        return either(*map(json.dumps, entry.get("enum", [entry.get("const")])))
    if kind in ("array", "object"):
        what, inner = ("list", entry.get("items")) if kind == "array" else ("table", entry.get("additionalProperties"))
        return f"{what} of {_plural(_kind(inner))}" if isinstance(inner, dict) and inner else what
    if kind is None:
        return "table" if "$ref" in entry else "value"
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    limits = ", ".join(f"{sign} {entry[word]:,}" for word, sign in signs.items() if word in entry)
    return f"{ {'boolean': 'true or false'}.get(kind, kind) } {limits}".strip()


def _plural(kind: str) -> str:
    return re.sub("^(string|number|integer)", r"\1s", kind)


def _toml(value: Any) -> str:
    """A value as TOML, on one line.

    >>> _toml({"*": 0.5, "head": [True, "a"]})
    '{ "*" = 0.5, head = [true, "a"] }'
    """
    if isinstance(value, Mapping):
        named = ((key if re.fullmatch(r"[\w-]+", key) else json.dumps(key), _toml(each)) for key, each in value.items())
        return f"{{ {', '.join(f'{key} = {each}' for key, each in named)} }}" if value else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)
