"""Arguments and options that several commands share, with their help and completion."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from jaxconv._base.files import user_path

__all__ = ["ConfigPath", "Invert", "Overrides", "Root", "RunFolder", "Tta", "examples"]


def examples(*lines: str) -> str:
    """Epilog of a command's help: one example a line."""
    return "\n\n".join(["Example:" if len(lines) == 1 else "Examples:", *lines])


def _keys(incomplete: str) -> list[str]:
    """Config keys that start as the text does, for shell completion."""
    from jaxconv.run.config import SECTIONS

    found = [f"{section}.{field.name}" for section, record in SECTIONS.items() for field in dataclasses.fields(record)]
    return [f"{key}=" for key in found if key.startswith(incomplete) and not key.endswith(".arguments")]


ConfigPath = Annotated[
    Path, typer.Argument(parser=user_path, metavar="CONFIG", help="Config file, for example configs/digits.toml.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE", help="Changes to the config, for example train.epochs=3.", autocompletion=_keys
    ),
]
SweepValues = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUES",
        help="Comma-separated values of a config's key, or a range LOW..HIGH or LOW..HIGH:log.",
        autocompletion=_keys,
    ),
]
RunFolder = Annotated[Path, typer.Argument(parser=user_path, metavar="RUN", help="Folder of a finished run.")]
Invert = Annotated[
    bool | None, typer.Option("--invert/--no-invert", help="Exchange light and dark (default: if the border is light).")
]
Root = Annotated[str | None, typer.Option(metavar="DIR", help="Data directory (default: the run's).")]
Tta = Annotated[
    list[str] | None,
    typer.Option(
        "--tta",
        metavar="KEY=VALUE",
        help="Change of the test-time augmentation: flip=true, shift=1, five_crop=0.9, ….",
    ),
]
