"""The command `jaxconv`: train, runs, sweep, evaluate, predict, summary, plot, tune, doctor."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from jaxconv import run
from jaxconv._base import interrupt
from jaxconv._base.errors import ConfigError
from jaxconv._base.files import user_path, write_atomically
from jaxconv.analysis.summary import summary as summarize
from jaxconv.cli import display
from jaxconv.cli.errors import INTERRUPTED, fail, user_errors
from jaxconv.cli.plot import plot
from jaxconv.doctor.report import main as examine
from jaxconv.engine.form import Form
from jaxconv.engine.tune import Measured, cache_file
from jaxconv.run import config
from jaxconv.run.build import build_model, load_dataset
from jaxconv.run.predict import Predictor, class_names, pretrained

__all__ = ["app"]

app = typer.Typer(
    name="jaxconv",
    help="Convolutional networks as pure functions on JAX: train them from config files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(plot)

ConfigPath = Annotated[
    Path, typer.Argument(parser=user_path, metavar="CONFIG", help="A config file, configs/digits.toml for example.")
]
MaybeConfig = Annotated[
    Path | None,
    typer.Argument(parser=user_path, metavar="[CONFIG]", help="A config file, configs/digits.toml for example."),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[SECTION.KEY=VALUE]...", help="Changes to it: train.epochs=3")
]
Out = Annotated[
    Path | None,
    typer.Option(parser=user_path, metavar="PATH", help="Folder of this run; runs/<config>-<time> if not given."),
]
Resume = Annotated[
    Path | None, typer.Option(parser=user_path, metavar="RUN", help="Go on with a run that was stopped or killed.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be trained, and what memory it takes.")]
RunsFolder = Annotated[Path, typer.Argument(parser=user_path, metavar="DIR", help="A folder of runs.")]
RunFolder = Annotated[Path, typer.Argument(parser=user_path, metavar="RUN", help="The folder of a finished run.")]
Root = Annotated[str | None, typer.Option(help="Where the data lies, if not where the run found it.")]
Paths = Annotated[
    list[Path],
    typer.Argument(
        parser=user_path, metavar="RUN IMAGE...", help="A finished run, and pictures of any size: JPEG, PNG, TIFF, …."
    ),
]
Invert = Annotated[
    bool | None,
    typer.Option("--invert/--no-invert", help="Exchange light and dark; by default where the border is light."),
]


@app.command()
def train(
    config_path: MaybeConfig = None,
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = None,
    dry_run: DryRun = False,
) -> None:
    """Train a net and leave its parameters and results in a run folder; or go on with a run."""
    with user_errors(), contextlib.ExitStack() as stack:
        console = Console()
        if resume is None:
            if config_path is None:
                raise ConfigError("train needs a config file, or --resume RUN: jaxconv train configs/digits.toml")
            settings = config.read(config_path, overrides or [])
        else:
            if out is not None:
                raise ConfigError("--resume goes on in the run's own folder; leave --out away")
            settings = _changed(resume, config_path, overrides or [])
        if dry_run:
            display.described(console, run.describe(settings))
            return
        if resume is not None:
            folder, go = resume, functools.partial(run.resume, resume, settings)
        else:
            folder = out or stack.enter_context(run.reserved(Path(config_path or "").stem))
            go = functools.partial(run.train, settings, folder)
        try:
            with interrupt.saying(lambda: _left_behind(folder)), display.progress(console) as report:
                result = go(report=report)
        except KeyboardInterrupt:
            fail(_left_behind(folder), INTERRUPTED)
        display.table(console, _summary(result) | {"run": str(folder)})


def _changed(folder: Path, path: Path | None, changes: list[str]) -> config.Config:
    """The settings that a run goes on with."""
    if path is not None and "=" in str(path):  # no config but the first of the changes
        path, changes = None, [str(path), *changes]
    return run.settings_of(folder, changes) if path is None else config.read(path, changes)


@app.command()
def sweep(config_path: ConfigPath, overrides: Overrides = None, out: Out = None) -> None:
    """Train once for each combination of values: optim.learning_rate=0.1,0.03 seed=0,1,2"""
    with user_errors(), contextlib.ExitStack() as stack:
        console = Console()
        folder = out or stack.enter_context(run.reserved(f"{config_path.stem}-sweep"))

        def begin(name: str, number: int, total: int) -> None:
            console.print(f"[{number}/{total}] {name}", markup=False, highlight=False)

        with display.progress(console) as report:
            run.sweep(config_path, overrides or [], folder, report, begin)
        display.columns(console, run.compare(folder))


@app.command()
def runs(folder: RunsFolder = Path("runs")) -> None:
    """Compare the runs in a folder: accuracy, loss, time, and where their configs differ."""
    with user_errors():
        display.columns(Console(), run.compare(folder))


@app.command()
def evaluate(folder: RunFolder, root: Root = None) -> None:
    """Test a finished run again on its data set's test images."""
    with user_errors():
        finished = run.load(folder)
        found = finished.test(root)
        whole = found.together
        then = finished.result["test_accuracy"]
        rows = {"test accuracy": f"{whole.accuracy:.2%}", "test loss": f"{whole.mean_loss:.4f}"}
        if found.vote_accuracy is not None:
            rows["by vote"] = f"{found.vote_accuracy:.2%}"
        display.table(Console(), rows | {"when trained": f"{then:.2%}"})


@app.command()
def predict(
    paths: Paths,
    net: Annotated[str | None, typer.Option(help="Instead of RUN: a net of the registry, as resnet50.")] = None,
    weights: Annotated[str | None, typer.Option(metavar="FILE", help="Its weights, .safetensors or .pth.")] = None,
    names: Annotated[
        Path | None, typer.Option(parser=user_path, metavar="FILE", help="Its classes, one a line.")
    ] = None,
    source: Annotated[str, typer.Option(help="Whose names the weights have.")] = "torchvision",
    size: Annotated[int, typer.Option(help="Side of the square that is cut out of a photograph.", min=1)] = 224,
    shorter: Annotated[int, typer.Option(help="What its shorter side becomes before that.", min=1)] = 256,
    top: Annotated[int | None, typer.Option(help="How many classes to name; 5 of a photograph, else 1.", min=1)] = None,
    invert: Invert = None,
) -> None:
    """Say which classes each picture shows, and how probable they are."""
    with user_errors():
        if net is None:
            if weights or names:
                raise ConfigError("--weights and --names go with --net, the net that they are of")
            finished: Predictor = run.load(paths[0])
            images = paths[1:]
        else:
            if weights is None or names is None:
                raise ConfigError("--net needs --weights FILE and --names FILE")
            finished = pretrained(net, weights, class_names(names), source, size=size, shorter=shorter)
            images = paths
        if not images:
            raise ConfigError("predict needs at least one picture: jaxconv predict RUN photo.jpg")
        pictures = [finished.picture(path, invert) for path in images]
        chances = np.asarray(finished.probabilities(np.stack([picture.pixels for picture in pictures])))
        classes = finished.input.classes
        count = min(top or (5 if finished.input.photographs else 1), len(classes))
        for path, picture, chance in zip(images, pictures, chances, strict=True):
            best = np.argsort(-chance, kind="stable")[:count]
            note = "  (light background: inverted)" if picture.inverted and invert is None else ""
            typer.echo(f"{path}: {', '.join(f'{classes[i]}  {chance[i]:.1%}' for i in best)}{note}")


@app.command()
def summary(
    config_path: ConfigPath,
    overrides: Overrides = None,
    markdown: Annotated[
        Path | None, typer.Option(parser=user_path, metavar="FILE", help="Write a Markdown table there.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(parser=user_path, metavar="FILE", help="Write every number there.")
    ] = None,
    html: Annotated[Path | None, typer.Option(parser=user_path, metavar="FILE", help="Write a page there.")] = None,
) -> None:
    """Say what a config's net is for one image: parameters, multiplications, memory, receptive fields."""
    with user_errors():
        settings = config.read(config_path, overrides or [])
        model = build_model(settings, load_dataset(settings))
        found = summarize(model.net, model.shape)
        files = {markdown: found.markdown, json: found.json, html: found.html}
        for path, write in files.items():
            if path is not None:
                write_atomically(path, write().encode())
        if not any(files):
            console = Console()
            typer.echo(found.text(console.width if console.is_terminal else 80))


@app.command()
def tune(config_path: ConfigPath, overrides: Overrides = None) -> None:
    """Measure the formulations of a net's own convolutions on this device and keep the choices."""
    with user_errors():
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
    with user_errors():
        raise typer.Exit(examine(quick))


def _left_behind(folder: Path) -> str:
    if not (folder / "config.toml").is_file():
        return "interrupted before the first step; nothing was written"
    saved = any((folder / "checkpoints").glob("[0-9]*"))
    what = (
        "interrupted; to go on from what was saved last"
        if saved
        else "interrupted before anything was saved; to begin again there"
    )
    return f"{what}:\n  jaxconv train --resume {folder}"


def _summary(result: dict[str, Any]) -> dict[str, str]:
    seconds, device = result["seconds"], result["device"]
    cores = f", {device['cpu_cores']} cores" if device["platform"] == "cpu" else ""
    shares = result.get("test_member_accuracies", [])
    ensemble = {
        "by vote": f"{result.get('test_vote_accuracy', 0):.2%}",
        "members": " ".join(f"{share:.2%}" for share in shares),
    }
    kept_back = {"validation": f"{result.get('validation_accuracy', 0):.2%}"}
    waiting = seconds["waiting"] / seconds["training"] if seconds["training"] else 0.0
    waited = f", {waiting:.1%} of it waiting for data" if seconds["waiting"] else ""
    return {
        "test accuracy": f"{result['test_accuracy']:.2%}",
        **(ensemble if shares else {}),
        **(kept_back if "validation_accuracy" in result else {}),
        "test loss": f"{result['test_loss']:.4f}",
        "training": f"{seconds['training']:.1f} s, {result['images_per_second']:,.0f} images/s{waited}",
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
