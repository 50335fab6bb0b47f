"""The commands `jaxconv predict`, `summary` and `tune`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxconv._base.files import user_path, write_atomically, writing
from jaxconv.analysis.columns import COLUMNS
from jaxconv.cli.errors import user_errors
from jaxconv.cli.options import ConfigPath, Invert, Overrides, Tta, examples
from jaxconv.cli.pictures import Pictures, beside, kind_of
from jaxconv.cli.predictor import Entry, Filter, Names, Net, Paths, Shorter, Size, Source, Weights, find_predictor

if TYPE_CHECKING:
    from jaxconv.engine.form import Form
    from jaxconv.engine.tune import Measurement

__all__ = ["add_to"]

_TOP = 5


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(epilog=examples("jaxconv predict runs/digits-20261129-170000 three.png --top 3"))(predict)
    meanings = "\n\n".join(["Columns:", *(f"{column.head}: {column.meaning}" for column in COLUMNS)])
    app.command(epilog=f"{examples('jaxconv summary configs/digits.toml --html net.html')}\n\n{meanings}")(summary)
    app.command(epilog=examples("jaxconv tune configs/digits.toml"))(tune)


def predict(
    paths: Paths,
    net: Net = None,
    weights: Weights = None,
    names: Names = None,
    source: Source = "torchvision",
    entry: Entry = None,
    size: Size = 224,
    shorter: Shorter = 256,
    interpolation: Filter = "lanczos",
    top: Annotated[int, typer.Option(help="Number of classes to print.", min=1)] = _TOP,
    invert: Invert = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=user_path, metavar="DIR", help="Folder of masks and overlays (default: RUN/predictions)."),
    ] = None,
    tta: Tta = None,
    pictures: Pictures = "auto",
) -> None:
    """Print the most probable classes of images, or write what else a net predicts: masks, with overlays."""
    with user_errors():
        import numpy as np
        from PIL import Image
        from rich.console import Console

        from jaxconv._base.errors import ConfigError
        from jaxconv.cli.programs import keep_programs
        from jaxconv.viz.style import rgb

        keep_programs()
        finished, images = find_predictor(
            "predict", paths, net, weights, names, source, entry, size, shorter, interpolation, tta or ()
        )
        read = [finished.picture(path, invert) for path in images]
        pixels = [picture.pixels for picture in read]
        stacks = [np.stack(pixels)] if len({each.shape for each in pixels}) == 1 else [each[None] for each in pixels]
        outputs = [each for stack in stacks for each in np.asarray(finished.outputs(stack))]
        target = out or (Path("predictions") if net else paths[0] / "predictions")
        console = Console()
        kind = kind_of(pictures, console)
        for path, picture, output in zip(images, read, outputs, strict=True):
            note = "  (light background: inverted)" if picture.inverted and invert is None else ""
            image = finished.shown(path, picture)
            shown = finished.task.show(output, image, finished.input, top)
            if kind == "none":
                typer.echo(_answer(str(path), shown.lines, note, console.is_terminal))
            else:
                drawn = rgb(image, finished.input.peak)
                if shown.files:  # an overlay, a reconstruction
                    drawn = Image.open(io.BytesIO([*shown.files.values()][-1]))
                head, *lines = _answer(str(path), shown.lines, note, True).split("\n")
                typer.echo(f"{head}\n{beside(drawn, lines, kind, console)}", color=True)
            if shown.files and [each.stem for each in images].count(path.stem) > 1:
                raise ConfigError(f"files are named after their images, whose names must differ; got {path.stem} twice")
            for ending, content in shown.files.items():
                with writing(target):
                    target.mkdir(parents=True, exist_ok=True)
                write_atomically(target / f"{path.stem}{ending}", content)
                typer.echo(f"wrote {target / path.stem}{ending}")


def _answer(path: str, found: list[tuple[str, str]], note: str, terminal: bool) -> str:
    """One class a line on a terminal, else one image a line."""
    if not terminal:
        return f"{path}: {', '.join(f'{name}  {chance}' for name, chance in found)}{note}"
    width = max(len(name) for name, _ in found)
    return "\n".join([f"{path}{note}", *(f"  {name:<{width}}  {chance:>6}" for name, chance in found)])


def summary(
    config_path: ConfigPath,
    overrides: Overrides = None,
    markdown: Annotated[
        Path | None, typer.Option(parser=user_path, metavar="FILE", help="Write the table as Markdown.")
    ] = None,
    json: Annotated[Path | None, typer.Option(parser=user_path, metavar="FILE", help="Write all numbers.")] = None,
    html: Annotated[Path | None, typer.Option(parser=user_path, metavar="FILE", help="Write an HTML page.")] = None,
) -> None:
    """Summarize a config's net for one image: parameters, MACs, memory, receptive fields."""
    with user_errors():
        from rich.console import Console

        from jaxconv.analysis.summary import summary as summarize
        from jaxconv.run.build import build_model, load_dataset
        from jaxconv.run.settings import read_settings

        settings = read_settings(config_path, overrides or [])
        model = build_model(settings, load_dataset(settings))
        with model.explained():
            found = summarize(model.net, model.shape)
        files = {markdown: found.markdown, json: found.json, html: found.html}
        for path, write in files.items():
            if path is not None:
                write_atomically(path, write().encode())
                typer.echo(f"wrote {path}")
        if not any(files):
            console = Console()
            typer.echo(found.text(console.width if console.is_terminal else 80))


def tune(config_path: ConfigPath, overrides: Overrides = None) -> None:
    """Time the formulations of a net's convolutions on this device."""
    with user_errors():
        from jaxconv import run
        from jaxconv.engine.tune import cache_file
        from jaxconv.run.settings import read_settings

        measured = run.tune(read_settings(config_path, overrides or []), _report_choice)
        if not measured:
            typer.echo("nothing to time: each convolution in this net's step has one formulation")
            return
        typer.echo(f"wrote {cache_file()}; to train with it: JAXCONV_IMPL=tune jaxconv train {config_path}")


def _report_choice(form: Form, found: Measurement) -> None:
    typer.echo(f"{_words(form)}: {_choice(found)}")


def _words(form: Form) -> str:
    """The computation of a form: "kernel gradient 64×8×8×1, 3×3×1×8, padding 1 1, stride 2"."""
    what = {"y": "output", "x": "input gradient", "k": "kernel gradient"}[form.slot]
    x, k = ("×".join(map(str, shape)) for shape in (form.x, form.k))
    pads = [str(lo) if lo == hi else f"{lo}:{hi}" for lo, hi in form.padding]
    settings: dict[str, tuple[Any, str]] = {
        "padding": (pads, "0"),
        "stride": (form.stride, "1"),
        "dilation": (form.dilation, "1"),
        "groups": ([form.groups], "1"),
        "dtype": ([form.dtype], "float32"),
        "precision": ([form.precision], "None"),
    }
    rest = [
        f"{name} {' '.join(map(str, values))}"
        for name, (values, usual) in settings.items()
        if {str(value) for value in values} != {usual}
    ]
    return ", ".join([f"{what} {x}, {k}", *rest])


def _choice(found: Measurement) -> str:
    time = {name: f"{name} {ms:.3f} ms" for name, ms in found.ms.items()}
    if found.impl == found.auto:
        return f"{time.get(found.impl, found.impl)}, auto the same"
    return f"{time.get(found.impl, found.impl)}, auto {time.get(found.auto, found.auto)}"
