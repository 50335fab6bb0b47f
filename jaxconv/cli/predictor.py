"""The net of `jaxconv predict` and `explain`: a finished run, or a net of the registry with pretrained weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxconv._base.files import user_path

if TYPE_CHECKING:
    from jaxconv.run.predict import Predictor

__all__ = ["Entry", "Filter", "Names", "Net", "Paths", "Shorter", "Size", "Source", "Weights", "find_predictor"]

Paths = Annotated[
    list[Path],
    typer.Argument(
        parser=user_path, metavar="RUN IMAGE", help="A finished run, and images of any size: JPEG, PNG, TIFF, …."
    ),
]
Net = Annotated[str | None, typer.Option(help="Instead of RUN: a net of the registry, as resnet50.")]
Weights = Annotated[str | None, typer.Option(metavar="FILE", help="Pretrained weights of --net, .safetensors or .pth.")]
Names = Annotated[
    Path | None,
    typer.Option(
        parser=user_path, metavar="FILE", help="Class names of --net, one a line (default: VOC's of 21, else indices)."
    ),
]
Source = Annotated[str, typer.Option(help="Library whose parameter names the weights have.")]
Entry = Annotated[str | None, typer.Option(help="State dict in a checkpoint of several: model_ema.")]
Size = Annotated[int, typer.Option(help="Side of the center crop of --net in pixels.", min=1)]
Shorter = Annotated[int, typer.Option(help="Size of the shorter side before the crop.", min=1)]
Filter = Annotated[str, typer.Option(help="Filter of the resizing for --net: lanczos, bicubic, bilinear, ….")]


def find_predictor(
    command: str,
    paths: Sequence[Path],
    net: str | None,
    weights: str | None,
    names: Path | None,
    source: str,
    entry: str | None,
    size: int,
    shorter: int,
    interpolation: str,
    tta: Sequence[str] = (),
) -> tuple[Predictor, list[Path]]:
    """The net that the options of a command name, and its images.

    Raises:
      ConfigError, DataError: if there is no such net or image, or the options contradict each other.
    """
    from jaxconv import run
    from jaxconv._base.errors import ConfigError
    from jaxconv.run.predict import class_names, pretrained

    found: Predictor
    if net is None:
        if weights or names:
            raise ConfigError("--weights and --names require --net, the net that they belong to")
        found, images = run.load(paths[0], tta), list(paths[1:])
    else:
        if weights is None:
            raise ConfigError("--net requires --weights FILE")
        words = None if names is None else class_names(names)
        options: dict[str, Any] = {"size": size, "shorter": shorter, "interpolation": interpolation}
        found = pretrained(net, weights, words, source, entry=entry, tta=tta, **options)
        images = list(paths)
    if not images:
        raise ConfigError(f"{command} needs at least one image: jaxconv {command} RUN photo.jpg")
    return found, images
