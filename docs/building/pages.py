"""Pages of the documentation that are made from the package: reference, config, command line, models."""

import functools
import importlib
import inspect
import json
import math
import pathlib
import re
import tomllib
import types
from collections.abc import Iterator
from typing import Any

import jaxconv as jc
from jaxconv.run.config.reference import reference as config_reference
from jaxconv.run.config.schema import FUNCTIONS, TABLES

ROOT = pathlib.Path(__file__).parents[2]
PUBLISHED = tomllib.loads((pathlib.Path(__file__).parent / "published.toml").read_text("utf-8"))
"""ImageNet top-1 accuracies of torchvision's weights."""

ROOT_PAGES = ("README", "CONTRIBUTING", "CHANGELOG")
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)((?:#[^)]*)?)\)")

GROUPS = {
    "Array functions": "jaxconv.ops", "Layers": "jaxconv.layers", "Models": "jaxconv.models", "Data": "jaxconv.data",
    "Augmentation": "jaxconv.augment", "Training": "jaxconv.training", "Optimizers": "jaxconv.training.optim",
    "Losses": "jaxconv.training.losses", "Metrics": "jaxconv.training.metrics",
    "Initializers": "jaxconv.layers.initializers", "Geometry": "jaxconv.geometry", "Weights": "jaxconv.port",
    "Export": "jaxconv.export", "Explanations": "jaxconv.explain", "Types": "jaxconv.typing",
}  # fmt: skip
WHOLE = ("accelerate", "plain", "summary", "compose", "Layer", "ShapeError", "ConfigError", "DataError")


def generated() -> Iterator[tuple[str, str]]:
    """The path and the text of each page."""
    yield from reference()
    yield "reference/config.md", config()
    yield "reference/command-line.md", commands()
    yield "reference/models-table.md", models_table()
    yield "assets/receptive_fields.js", receptive_fields()
    for name in ROOT_PAGES:
        yield f"{name.lower()}.md", LINK.sub(_from_docs, (ROOT / f"{name}.md").read_text("utf-8"))


def _from_docs(link: re.Match[str]) -> str:
    """A link of a page in the root of the repository, as a page in docs/ has it."""
    path, anchor = link[1], link[2]
    if path.removesuffix(".md") in ROOT_PAGES:
        return f"]({path.lower()}{anchor})"
    inside = path.startswith("docs/") and not path.endswith(".py")
    return f"]({path.removeprefix('docs/') if inside else f'../{path}'}{anchor})"


# ---------------------------------------------------------------- names


def reference() -> Iterator[tuple[str, str]]:
    """The index, and a page for each module with all its public names."""
    yield "reference/index.md", _index()
    yield "reference/jaxconv.md", _module("Programs and errors", "jaxconv", WHOLE)
    for title, name in GROUPS.items():
        yield f"reference/{_file(name)}.md", _module(title, name, importlib.import_module(name).__all__)


def _file(module: str) -> str:
    return module.removeprefix("jaxconv.").replace(".", "-")


def _shown(module: str) -> str:
    """The prefix under which users write the names of a module."""
    short = module.split(".")[-1]
    return "jc" if module in ("jaxconv", "jaxconv.ops", "jaxconv.layers") else f"jc.{short}"


def _module(title: str, name: str, names: Any) -> str:
    module = importlib.import_module(name)
    about = "" if name == "jaxconv" else f"{inspect.getdoc(module)}\n"
    lines = [f"# {title}", "", about]
    for each in sorted(names, key=str.lower):
        lines += _entry(f"{_shown(name)}.{each}", getattr(module, each))
    return "\n".join(lines)


def _entry(shown: str, value: Any) -> list[str]:
    """One name: its documentation if it has any of its own, else its value."""
    if isinstance(value, types.ModuleType):
        return []
    home, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if not home or not home.startswith("jaxconv") or "<" in qualname or not qualname:
        return [f"## {shown}", "", f"`{type(value).__name__}`", ""]
    return [f"::: {home}.{qualname}", "    options:", f'      heading: "{shown}"', f'      toc_label: "{shown}"', ""]


def _index() -> str:
    lines = ["# Reference", "", "| names | of |", "|---|---|", "| [`jc`](jaxconv.md) | programs, `Layer`, errors |"]
    for title, name in GROUPS.items():
        count = len(importlib.import_module(name).__all__)
        lines.append(f"| [`{_shown(name)}`: {title.lower()}]({_file(name)}.md) | {count} names |")
    lines += [
        "| [config files](config.md) | every key, with type, default and an example |",
        "| [command line](command-line.md) | every command and option |",
        "| [table of models](models-table.md) | parameters, MACs, receptive fields, accuracies |",
    ]
    return "\n".join(lines)


# ---------------------------------------------------------------- config, command line


def config() -> str:
    """Every section and every function that a section can name."""
    lines = ["# Config files", "", "`jaxconv config SECTION.KEY` prints the same in a terminal.", ""]
    for section in TABLES:
        lines += [f"## [{section}]", "", "```toml", config_reference(section, 90), "```", ""]
        for name in FUNCTIONS.get(section, {}):
            lines += [f'??? note "{section}: {name}"', "", "    ```toml"]
            lines += [f"    {line}" for line in config_reference(f"{section}.{name}", 86).splitlines()]
            lines += ["    ```", ""]
    return "\n".join(lines)


def commands() -> str:
    """Every command with its options."""
    import click
    import typer

    from jaxconv.cli.commands import app

    lines = ["# Command line", ""]

    def add(command: Any, path: str, depth: int) -> None:
        context = click.Context(command, info_name=path)
        lines.extend([f"{'#' * depth} `{path}`", "", inspect.cleandoc(command.help or ""), ""])
        if getattr(command, "commands", None):
            for name, inner in command.commands.items():
                add(inner, f"{path} {name}", min(depth + 1, 4))
            return
        usage = " ".join(command.collect_usage_pieces(context))
        lines.extend(["```", f"{path} {usage}", "```", "", "| argument | meaning | default |", "|---|---|---|"])
        for parameter in command.params:
            lines.append(_parameter(parameter))
        lines.append("")

    add(typer.main.get_command(app), "jaxconv", 2)
    return "\n".join(lines)


def _parameter(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts) if name)
    if parameter.param_type_name == "argument":
        names = f"`{parameter.metavar or parameter.name.upper()}`"
    default = parameter.default
    shown = "" if callable(default) or default in (None, (), [], False) or "UNSET" in str(default) else f"`{default}`"
    return (
        f"| {names} | {_cell(getattr(parameter, 'help', '') or '')} | {'required' if parameter.required else shown} |"
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("[", "\\[").replace("<", "&lt;")


# ---------------------------------------------------------------- models

SMALL = {
    (32, 32, 1): ("lenet5",),
    (28, 28, 1): ("conv_pool", "autoencoder"),
    (32, 32, 3): (
        "airbench", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "wide_resnet16_8", "wide_resnet28_10",
        "wide_resnet40_4",
    ),
}  # fmt: skip
SIDES = {
    "inception_v3": 299, "efficientnet_b1": 240, "efficientnet_b2": 260, "efficientnet_b3": 300, "efficientnet_b4": 380,
    "efficientnet_b5": 456, "efficientnet_b6": 528, "efficientnet_b7": 600,
}  # fmt: skip
SHAPES = {name: shape for shape, names in SMALL.items() for name in names}
SHAPES |= {name: (SIDES.get(name, 224), SIDES.get(name, 224), 3) for name in PUBLISHED}
"""Model -> shape [H, W, C] of its images."""


@functools.cache
def summary_of(name: str) -> Any:
    """The summary of a model of the table, for one image."""
    return jc.summary(jc.models.registry[name](), (1, *SHAPES[name]))


def receptive_fields() -> str:
    """A script with the receptive fields of layers along an axis: path, units, size, effective stride and center."""
    models = {}
    for name, shape in SHAPES.items():
        rows = [
            row for row in summary_of(name).rows if row.size and len(row.field) == 2 and row.field[0].effective_stride
        ]
        layers = [
            [row.path, row.output[1], f.unclipped, float(f.effective_stride), f.center]
            for row in rows
            for f in row.field[:1]
        ]
        models[name] = {"size": shape[0], "layers": layers}
    return f"window.RECEPTIVE_FIELDS = {json.dumps(models, separators=(',', ':'))};\n"


def models_table() -> str:
    """Models with their default arguments: parameters, MACs, receptive field, published accuracy."""
    lines = [
        "# Table of models", "",
        "Of one image, with default arguments. MACs include those on padding. The receptive field is that of a unit of",
        "the last feature map, before global pooling, not clipped to the image. Top-1 is the accuracy on ImageNet that",
        "[torchvision](https://docs.pytorch.org/vision/stable/models.html) publishes for its weights, which",
        '`jc.port.load(net, FILE, source="torchvision")` loads.', "",
        "| `jc.models` | input | parameters | MACs | receptive field | top-1 | weights |",
        "|---|---|---:|---:|---:|---:|---|",
    ]  # fmt: skip
    return "\n".join([*lines, *map(model_row, SHAPES)])


def model_row(name: str) -> str:
    """The row of a model."""
    found, shape = summary_of(name), SHAPES[name]
    accuracy, weights = PUBLISHED.get(name, (None, None))
    cells = [f"`{name}`", "×".join(map(str, shape)), f"{found.parameters:,}", f"{found.macs:,}", _field(found)]
    cells += [f"{accuracy:.2f} %", f"`{weights}`"] if weights else ["", ""]
    return f"| {' | '.join(cells)} |"


def _field(found: Any) -> str:
    """The receptive field of the last map with more than one unit; "all" behind a dense layer."""
    maps = [row for row in found.rows if len(row.output) == 4 and math.prod(row.output[1:3]) > 1 and row.field]
    sides = [field.unclipped for field in maps[-1].field]
    return "all" if None in sides else "×".join(map(str, sides))
