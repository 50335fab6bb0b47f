"""The command `jaxconv explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jaxconv._base.files import user_path, writing
from jaxconv.cli.errors import user_errors
from jaxconv.cli.options import Invert, examples
from jaxconv.cli.predictor import Entry, Filter, Names, Net, Paths, Shorter, Size, Source, Weights, find_predictor

__all__ = ["EXPLAIN", "explain"]

EXPLAIN = examples(
    "jaxconv explain runs/digits-20261129-170000 three.png --method gradcam",
    "jaxconv explain RUN photo.jpg --method gradcam,pgd --layer layer3 --class dog",
    "jaxconv explain runs/shapes photo.png --class circle --pixels 10:40,20:60",
    "jaxconv explain photo.jpg --net resnet50 --weights resnet50.pth --names imagenet.txt",
)
_METHODS = "gradcam, gradcam++, saliency, smoothgrad, integrated-gradients, guided-backprop, occlusion, fgsm, pgd"


def explain(
    paths: Paths,
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"One or several, separated by commas: {_METHODS} (default: gradcam)."),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="Layer of gradcam (default: the last with feature maps; of a segmentation, with the most channels).",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="CLASS",
            help="Class, label or target to explain, or attack towards (default: what is predicted, or away).",
        ),
    ] = None,
    pixels: Annotated[
        str | None,
        typer.Option(
            metavar="ROW,COLUMN",
            help="Pixels of a segmentation to explain, or ranges: 10:40,20:60 (default: the predicted mask).",
        ),
    ] = None,
    epsilon: Annotated[
        float,
        typer.Option(show_default="8/255", help="Largest change of a pixel by fgsm and pgd, a fraction of its range."),
    ] = 8 / 255,
    net: Net = None,
    weights: Weights = None,
    names: Names = None,
    source: Source = "torchvision",
    entry: Entry = None,
    size: Size = 224,
    shorter: Shorter = 256,
    interpolation: Filter = "lanczos",
    invert: Invert = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=user_path, metavar="DIR", help="Folder of the pictures (default: RUN/explanations)."),
    ] = None,
) -> None:
    """Draw what a prediction depends on: maps over the image, with the prediction; a picture for each image."""
    with user_errors():
        from jaxconv._base.errors import ConfigError
        from jaxconv.cli.programs import keep_programs
        from jaxconv.run.explanations import explainer
        from jaxconv.run.regions import parse_region, region_mask
        from jaxconv.viz.training import save

        keep_programs()
        methods = [name.strip() for names in method or ["gradcam"] for name in names.split(",")]
        region = None if pixels is None else parse_region(pixels)
        found, images = find_predictor(
            "explain", paths, net, weights, names, source, entry, size, shorter, interpolation
        )
        stems = [path.stem for path in images]
        if twice := [stem for stem in stems if stems.count(stem) > 1]:
            raise ConfigError(f"pictures are named after their images, whose names must differ; got {twice[0]} twice")
        if region is not None and not found.task.dense:
            raise ConfigError(f"--pixels is of a net for segmentation; got one for {found.task_name}")
        explained = explainer(found, methods, layer=layer, label=label, epsilon=epsilon, title=net or "")
        pictures = [found.picture(path, invert) for path in images]
        masks = [
            region and region_mask(region, found.shown(path, picture).shape[:2], picture.pixels.shape[:2], path.name)
            for path, picture in zip(images, pictures, strict=True)
        ]
        target = out or (Path("explanations") if net else paths[0] / "explanations")
        for path, picture, where in zip(images, pictures, masks, strict=True):
            drawn = explained(picture.pixels, path.name, where)
            with writing(target):
                target.mkdir(parents=True, exist_ok=True)
            save(drawn.figure, target / f"{path.stem}.png")
            note = "  (light background: inverted)" if picture.inverted and invert is None else ""
            typer.echo(f"{path}: {', '.join(f'{name}  {value}' for name, value in drawn.lines)}{note}")
            typer.echo(f"wrote {target / path.stem}.png")
