"""The command `jaxconv explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jaxconv._base.files import user_path, writing
from jaxconv.cli.errors import user_errors
from jaxconv.cli.options import Invert, examples

__all__ = ["EXPLAIN", "explain"]

EXPLAIN = examples(
    "jaxconv explain runs/digits-20261129-170000 three.png --method gradcam",
    "jaxconv explain RUN photo.jpg --method gradcam,pgd --layer layer3 --class dog",
)
_METHODS = "gradcam, gradcam++, saliency, smoothgrad, integrated-gradients, guided-backprop, occlusion, fgsm, pgd"


def explain(
    folder: Annotated[Path, typer.Argument(parser=user_path, metavar="RUN", help="Folder of a finished run.")],
    images: Annotated[
        list[Path],
        typer.Argument(parser=user_path, metavar="IMAGE", help="Images of any size, resized as by predict."),
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"One or several, separated by commas: {_METHODS} (default: gradcam)."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="PATH", help="Layer of gradcam (default: the last with feature maps).")
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="CLASS", help="Class to explain, or attack towards (default: the predicted, or away)."
        ),
    ] = None,
    epsilon: Annotated[
        float,
        typer.Option(show_default="8/255", help="Largest change of a pixel by fgsm and pgd, a fraction of its range."),
    ] = 8 / 255,
    invert: Invert = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=user_path, metavar="DIR", help="Folder of the pictures (default: RUN/explanations)."),
    ] = None,
) -> None:
    """Draw what a prediction depends on: maps over the image, with class and probability; a picture for each image."""
    with user_errors():
        from jaxconv import run
        from jaxconv._base.errors import ConfigError
        from jaxconv.cli.programs import keep_programs
        from jaxconv.run.explanations import explainer
        from jaxconv.viz.training import save

        keep_programs()
        names = [name.strip() for names in method or ["gradcam"] for name in names.split(",")]
        target = folder / "explanations" if out is None else out
        stems = [path.stem for path in images]
        if twice := [stem for stem in stems if stems.count(stem) > 1]:
            raise ConfigError(f"pictures are named after their images, whose names must differ; got {twice[0]} twice")
        finished = run.load(folder)
        explained = explainer(finished, names, layer=layer, label=label, epsilon=epsilon)
        pictures = [finished.picture(path, invert) for path in images]
        for path, picture in zip(images, pictures, strict=True):
            found = explained(picture.pixels, path.name)
            with writing(target):
                target.mkdir(parents=True, exist_ok=True)
            save(found.figure, target / f"{path.stem}.png")
            note = "  (light background: inverted)" if picture.inverted and invert is None else ""
            typer.echo(f"{path}: {found.name}  {found.probability:.1%}{note}")
            typer.echo(f"wrote {target / path.stem}.png")
