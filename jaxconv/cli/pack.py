"""The command `jaxconv pack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jaxconv._base.files import user_path
from jaxconv.cli.errors import user_errors
from jaxconv.cli.options import Overrides, examples

__all__ = ["PACK", "pack"]

PACK = examples(
    "jaxconv pack configs/photos.toml packed data.root=photos",
    "jaxconv pack photos.zip packed size=224 --keep-encoded",
    "jaxconv pack --check packed",
)


def pack(
    source: Annotated[
        str, typer.Argument(metavar="CONFIG|SOURCE", help="Config file, or what its data.root can be: a path or a URL.")
    ],
    out: Annotated[Path | None, typer.Argument(parser=user_path, metavar="OUT", help="Folder to write.")] = None,
    overrides: Overrides = None,
    keep: Annotated[
        bool, typer.Option("--keep-encoded", help="Keep the files of the images, instead of pixels at data.size.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Verify the checksums of the packed dataset SOURCE.")] = False,
) -> None:
    """Pack a dataset of images into shards that are read fast: a folder for data.root. Resumes if interrupted."""
    with user_errors():
        from rich.console import Console

        from jaxconv import data
        from jaxconv._base.errors import ConfigError
        from jaxconv.cli import display
        from jaxconv.data.formats import packed
        from jaxconv.data.pack import pack as write
        from jaxconv.run.config import DataConfig, with_changes
        from jaxconv.run.settings import read_settings

        console = Console()
        if check:
            display.table(console, {name: f"{count:,}" for name, count in packed.check(user_path(source)).items()})
            return
        if out is None or "=" in out.name:  # the first override
            raise ConfigError("pack needs a folder to write: jaxconv pack CONFIG OUT")
        changes = overrides or []
        if source.endswith(".toml"):
            given = read_settings(user_path(source), changes).data
        else:
            given = with_changes("data", DataConfig("images", source), [c.removeprefix("data.") for c in changes])
        arguments = given.arguments | {"in_memory": False, "mean": None, "std": None}
        if given.name not in ("images", "folder"):
            raise ConfigError(f'jaxconv pack needs data.name = "images", got {given.name!r}')
        dataset = data.load(given.name, given.root, given.corrupt, **arguments)

        def report(done: int, total: int) -> None:
            console.print(f"{done:,} of {total:,} images")

        skipped = write(dataset, out, keep=keep, report=report)
        for message in skipped:
            console.print(f"left out: {message}", soft_wrap=True)
        console.print(f"wrote {out}", soft_wrap=True)
