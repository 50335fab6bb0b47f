"""The command `jaxconv export`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from jaxconv._base.errors import ConfigError
from jaxconv._base.files import user_path
from jaxconv.cli.errors import user_errors
from jaxconv.cli.options import RunFolder, Tta, examples

__all__ = ["EXPORT", "export"]

EXPORT = examples(
    "jaxconv export runs/digits-20261129-170000 digits.onnx",
    "jaxconv export runs/digits-20261129-170000 digits.jaxexport --no-preprocess",
    "jaxconv export runs/photos-20261129-170000 photos.onnx --image-size 375x500",
    "jaxconv export runs/digits-20261129-170000 --triton models",
)


def export(
    folder: RunFolder,
    out: Annotated[
        Path | None,
        typer.Argument(
            parser=user_path,
            metavar="OUT",
            help="File to write: .onnx, .jaxexport (for jax.export.deserialize), or .safetensors (weights by torch's "
            "names).",
        ),
    ] = None,
    triton: Annotated[
        Path | None,
        typer.Option(
            parser=user_path,
            metavar="DIR",
            help="Instead of OUT: model repository of Triton Inference Server, which gets a model of the run's name.",
        ),
    ] = None,
    fold: Annotated[
        bool | None,
        typer.Option(
            "--fold/--no-fold", help="Fold batch norms and parallel branches into convolutions (default: yes)."
        ),
    ] = None,
    preprocess: Annotated[
        bool | None,
        typer.Option(
            "--preprocess/--no-preprocess",
            help="Take uint8 images from 0 to 255 and normalize them (default), or take normalized float32 images.",
        ),
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHTxWIDTH",
            help="Take photographs of this size, and resize and crop them (default: take images of the run's size).",
        ),
    ] = None,
    tta: Tta = None,
) -> None:
    """Export a finished run for other runtimes: images in, the predictions of `jaxconv predict` out."""
    with user_errors():
        from rich.console import Console

        from jaxconv import run
        from jaxconv.cli import display
        from jaxconv.cli.programs import keep_programs

        where = triton if out is None else out
        if where is None or (out is not None and triton is not None):
            raise ConfigError("export needs a file or --triton DIR: jaxconv export RUN model.onnx")
        size = None if image_size is None else _size(image_size)
        keep_programs()
        finished = run.load(folder, tta or ())
        if triton is None:
            found = run.export(finished, where, fold=fold, preprocess=preprocess, image_size=size)
        else:
            given = {"fold": fold is not False, "preprocess": preprocess is not False}
            found = run.write_repository(finished, triton, **given, image_size=size)
            where = triton / finished.folder.resolve().name
        display.table(Console(), {**found, "wrote": str(where)})


def _size(text: str) -> tuple[int, int]:
    """Height and width in pixels."""
    found = re.fullmatch(r"(\d{1,5})[x×](\d{1,5})", text)
    if found is None:
        raise ConfigError(f"--image-size must be HEIGHTxWIDTH in pixels, such as 375x500; got {text}")
    return int(found[1]), int(found[2])
