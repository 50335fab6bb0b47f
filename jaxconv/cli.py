"""The command `jaxconv`: train, evaluate, predict, tune, doctor."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from jaxconv import config, display, run
from jaxconv.analysis.doctor import main as examine
from jaxconv.data.picture import read_picture
from jaxconv.errors import ConfigError, DataError, ShapeError
from jaxconv.ops.engine.form import Form
from jaxconv.ops.engine.tune import Measured, cache_file
from jaxconv.train import DivergedError

__all__ = ["app"]

BAD_INPUT, INTERRUPTED = 2, 130

app = typer.Typer(
    name="jaxconv",
    help="Convolutional networks as pure functions on JAX: train them from config files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="A config file, configs/digits.toml for example.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Changes to it: train.epochs=3")
]
Out = Annotated[Path | None, typer.Option(help="Folder of this run; runs/<config>-<time> if not given.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")]
Root = Annotated[str | None, typer.Option(help="Where the data lies, if not where the run found it.")]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures of any size and format.")]
Invert = Annotated[
    bool | None,
    typer.Option("--invert/--no-invert", help="Exchange light and dark; by default where the border is light."),
]


@app.command()
def train(config_path: ConfigPath, overrides: Overrides = None, out: Out = None) -> None:
    """Train a net and leave its parameters and results in a run folder."""
    with _errors():
        settings = config.read(config_path, overrides or [])
        folder = out or run.new_folder(config_path.stem)
        console = Console()
        try:
            with display.progress(console) as report:
                result = run.train(settings, folder, report)
        except KeyboardInterrupt:
            _fail(_left_behind(folder), INTERRUPTED)
        display.table(console, _summary(result) | {"run": str(folder)})


@app.command()
def evaluate(folder: RunFolder, root: Root = None) -> None:
    """Test a finished run again on its data set's test images."""
    with _errors():
        finished = run.load(folder)
        loss, accuracy = finished.test(root)
        then = finished.result["test_accuracy"]
        rows = {"test accuracy": f"{accuracy:.2%}", "test loss": f"{loss:.4f}", "when trained": f"{then:.2%}"}
        display.table(Console(), rows)


@app.command()
def predict(folder: RunFolder, images: Images, invert: Invert = None) -> None:
    """Say which class each picture shows, and how probable that is."""
    with _errors():
        finished = run.load(folder)
        wanted = finished.result["input"]
        pictures = [read_picture(path, tuple(wanted["shape"]), wanted["peak"], invert) for path in images]
        chances = np.asarray(finished.probabilities(np.stack([picture.pixels for picture in pictures])))
        for path, picture, chance in zip(images, pictures, chances, strict=True):
            best = int(chance.argmax())
            note = "  (light background: inverted)" if picture.inverted and invert is None else ""
            typer.echo(f"{path}: {wanted['classes'][best]}  {chance[best]:.1%}{note}")


@app.command()
def tune(config_path: ConfigPath, overrides: Overrides = None) -> None:
    """Measure the formulations of a net's own convolutions on this device and keep the choices."""
    with _errors():
        measured = run.tune(config.read(config_path, overrides or []))
        if not measured:
            typer.echo("no convolution in this net's step leaves its formulation open: there is nothing to measure")
            return
        display.table(Console(), {_words(form): _choice(found) for form, found in measured.items()})
        typer.echo(f"kept in {cache_file()}; to train by them: JAXCONV_IMPL=tune jaxconv train {config_path}")


@app.command()
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="A third of the cases.")] = False,
) -> None:
    """Hold the convolutions on this device, jaxconv's and plain XLA's, to NumPy: 1 if jaxconv's are wrong."""
    with _errors():
        raise typer.Exit(examine(quick))


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """What the user can put right is told in a line or a few, without a traceback."""
    try:
        yield
    except (ConfigError, DataError, ShapeError, DivergedError) as error:
        _fail(f"error: {error}", BAD_INPUT)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)


def _fail(message: str, code: int) -> Any:
    sys.stdout.flush()
    typer.echo(message, err=True)
    raise typer.Exit(code)


def _left_behind(folder: Path) -> str:
    if not folder.is_dir():
        return "interrupted before the first step; nothing was written"
    held = " and ".join(sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")))
    return f"interrupted: {folder} holds {held}, no finished result (no result.json)"


def _summary(result: dict[str, Any]) -> dict[str, str]:
    seconds, device = result["seconds"], result["device"]
    cores = f", {device['cpu_cores']} cores" if device["platform"] == "cpu" else ""
    return {
        "test accuracy": f"{result['test_accuracy']:.2%}",
        "test loss": f"{result['test_loss']:.4f}",
        "training": f"{seconds['training']:.1f} s, {result['images_per_second']:,.0f} images/s",
        "compiling": f"{seconds['compiling']:.1f} s",
        "in all": f"{seconds['total']:.1f} s",
        "parameters": f"{result['parameters']:,}",
        "device": f"{device['kind']}{cores}",
    }


def _words(form: Form) -> str:
    """What a form computes: "kernel gradient 64×8×8×1, 3×3×1×8, padding 1 1, stride 2"."""
    what = {"y": "result", "x": "input gradient", "k": "kernel gradient"}[form.slot]
    x, k = ("×".join(map(str, shape)) for shape in (form.x, form.k))
    pads = [str(lo) if lo == hi else f"{lo}:{hi}" for lo, hi in form.padding]
    settings = {"padding": (pads, "0"), "stride": (form.stride, "1"), "dilation": (form.dilation, "1")} | {
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


def _choice(found: Measured) -> str:
    time = {name: f"{name} {ms:.3f} ms" for name, ms in found.ms.items()}
    if found.impl == found.auto:
        return f"{time.get(found.impl, found.impl)}, auto the same"
    return f"{time.get(found.impl, found.impl)}, auto {time.get(found.auto, found.auto)}"
