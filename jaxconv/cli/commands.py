"""Commands: train, launch, config, sweep, runs, average, evaluate, predict, summary, tune, doctor, plot."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jaxconv._base import interrupt
from jaxconv._base.files import user_path
from jaxconv._base.processes import first, joined
from jaxconv.cli import nets
from jaxconv.cli.errors import INTERRUPTED, fail, user_errors
from jaxconv.cli.launch import LAUNCH, end_with_launcher, launch
from jaxconv.cli.options import ConfigPath, Overrides, Root, RunFolder, SweepValues, Tta, examples
from jaxconv.cli.plot import plot

if TYPE_CHECKING:
    from jaxconv.run.config import Config

__all__ = ["app"]

app = typer.Typer(
    name="jaxconv",
    help="Convolutional networks as pure functions on JAX: train them from config files.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


MaybeConfig = Annotated[
    Path | None,
    typer.Argument(parser=user_path, metavar="CONFIG", help="Config file, for example configs/digits.toml."),
]
RunsFolder = Annotated[Path, typer.Argument(parser=user_path, metavar="DIR", help="A folder of runs.")]
_TRAIN = examples(
    "jaxconv train configs/digits.toml",
    "jaxconv train configs/digits.toml optim.learning_rate=1e-3 epochs=5 --out runs/slow",
    "jaxconv train --resume runs/slow",
    "jaxconv config",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        found = importlib.metadata.version
        typer.echo(f"jaxconv {found('jaxconv')} (jax {found('jax')}, Python {platform.python_version()})")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Convolutional networks as pure functions on JAX: train them from config files."""


@app.command(epilog=_TRAIN)
def train(
    config_path: MaybeConfig = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=user_path, metavar="DIR", help="Folder of the run (default: runs/<config>-<time>); must be empty."
        ),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(parser=user_path, metavar="RUN", help="Resume an interrupted run.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print layers, steps, memory and communication; train nothing.")
    ] = False,
    devices: Annotated[
        int | None, typer.Option(metavar="N", help="With --dry-run: for so many devices, instead of this machine's.")
    ] = None,
    profile: Annotated[
        int, typer.Option(metavar="STEPS", help="Trace so many steps into RUN/profile, and print where the time goes.")
    ] = 0,
    coordinator: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Address of process 0, where JAX finds no cluster.")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, metavar="N", help="Number of processes.")] = None,
    process: Annotated[int | None, typer.Option(min=0, metavar="I", help="Number of this process, from 0.")] = None,
) -> None:
    """Train a net from a config file into a run folder, or resume a run."""
    with user_errors(), contextlib.ExitStack() as stack:
        from rich.console import Console

        from jaxconv import run
        from jaxconv._base.errors import ConfigError
        from jaxconv.cli import display
        from jaxconv.cli.programs import keep_programs
        from jaxconv.run.build import make_deterministic
        from jaxconv.run.profiling import read_profile
        from jaxconv.run.settings import read_settings

        console = Console()
        if devices is not None and not dry_run:
            raise ConfigError(
                "--devices is for --dry-run; for a run, set devices.data, devices.fsdp and devices.model of its config"
            )
        if resume is None:
            if config_path is None:
                raise ConfigError("train needs a config file, or --resume RUN: jaxconv train configs/digits.toml")
            settings = read_settings(config_path, overrides or [])
        else:
            if out is not None:
                raise ConfigError("--resume continues in the run's own folder; leave out --out")
            settings = _changed(resume, config_path, overrides or [])
        keep_programs()
        if dry_run:
            display.described(console, run.describe(settings, devices))
            return
        end_with_launcher()
        make_deterministic(settings)  # before XLA starts
        stack.enter_context(joined(coordinator, processes, process))
        stack.enter_context(user_errors())  # before the others learn that this process ends
        if resume is not None:
            folder, go = resume, functools.partial(run.resume, resume, settings, profile=profile)
        else:
            folder = out or stack.enter_context(run.reserved(Path(config_path or "").stem))
            go = functools.partial(run.train, settings, folder, profile=profile)
        try:
            shown = display.progress(console) if first() else contextlib.nullcontext(lambda event: None)
            with interrupt.saying(lambda: _left_behind(folder)), shown as report:
                result = go(report=report)
        except KeyboardInterrupt:
            fail(_left_behind(folder), INTERRUPTED)
        if first():
            display.table(console, _summary(result) | {"run": str(folder)})
            if profile:
                console.print()
                display.table(console, read_profile(folder))


app.command(epilog=LAUNCH)(launch)


def _changed(folder: Path, path: Path | None, changes: list[str]) -> Config:
    """The config that a run is resumed with."""
    from jaxconv import run
    from jaxconv.run import config

    if path is not None and "=" in str(path):  # the first override, not a config file
        path, changes = None, [str(path), *changes]
    return run.settings_of(folder, changes) if path is None else config.read(path, changes)


@app.command(
    epilog=examples(
        "jaxconv config", "jaxconv config train", "jaxconv config optim.adamw", "jaxconv config --schema > schema.json"
    )
)
def config(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A section, key, or function that a section can name.")
    ] = "",
    schema: Annotated[
        bool, typer.Option("--schema", help="Print a JSON schema, for editors: #:schema schema.json in a config.")
    ] = False,
) -> None:
    """Print the keys of a config, each with meaning, type, default and an example."""
    with user_errors():
        from rich.console import Console
        from rich.text import Text

        from jaxconv.run.config.reference import reference
        from jaxconv.run.config.schema import schema as json_schema

        console = Console()
        if schema:
            typer.echo(json.dumps(json_schema(), indent=1))
        elif console.is_terminal:
            for line in reference(path, console.width).splitlines():
                console.print(Text(line, style="dim" if line.startswith("#") else ""), soft_wrap=True)
        else:
            typer.echo(reference(path))


@app.command(
    epilog=examples(
        "jaxconv sweep configs/digits.toml optim.learning_rate=0.1,0.03 seed=0,1,2",
        "jaxconv sweep configs/digits.toml learning_rate=1e-3..0.1:log --method tpe --trials 30",
    )
)
def sweep(
    config_path: ConfigPath,
    overrides: SweepValues = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=user_path,
            metavar="DIR",
            help="Folder of the sweep, with a run folder for each combination (default: runs/<config>-sweep-<time>); "
            "one that was interrupted is finished.",
        ),
    ] = None,
    method: Annotated[
        Literal["grid", "random", "tpe"],
        typer.Option(help="Every combination of values, random ones, or those of Optuna's TPE."),
    ] = "grid",
    trials: Annotated[int | None, typer.Option(metavar="N", help="Number of runs of random and tpe.")] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="With tpe: stop runs that do worse than half of the others.")
    ] = False,
    processes: Annotated[int, typer.Option(metavar="N", help="Runs at once, each in a process of its own.")] = 1,
) -> None:
    """Train once for each combination of values, or for values that a search chooses."""
    with user_errors(), contextlib.ExitStack() as stack:
        from rich.console import Console

        from jaxconv import run
        from jaxconv.cli import display
        from jaxconv.cli.programs import keep_programs

        keep_programs()
        console = Console()
        folder = out or stack.enter_context(run.reserved(f"{config_path.stem}-sweep"))

        def begin(name: str, number: int, total: int) -> None:
            console.print(f"[{number}/{total}] {name}", markup=False, highlight=False, soft_wrap=True)

        chosen = functools.partial(run.sweep, method=method, trials=trials, prune=prune, processes=processes)
        with display.progress(console, several=True) as report:
            chosen(config_path, overrides or [], folder, report, begin)
        display.columns(console, run.compare(folder))
        if (found := run.best(folder)) is not None:
            typer.echo(f"best on the validation images: {found[0]} with {found[1]:.2%}")
        typer.echo(f"wrote {folder}")


@app.command(epilog=examples("jaxconv runs runs"))
def runs(folder: RunsFolder = Path("runs")) -> None:
    """Compare the runs in a folder and their configs."""
    with user_errors():
        from rich.console import Console

        from jaxconv import run
        from jaxconv.cli import display

        display.columns(Console(), run.compare(folder))


@app.command(epilog=examples("jaxconv evaluate runs/digits-20261129-170000 --tta shift=1"))
def evaluate(folder: RunFolder, root: Root = None, tta: Tta = None) -> None:
    """Evaluate a finished run on its dataset's test images."""
    with user_errors():
        from rich.console import Console

        from jaxconv import run
        from jaxconv.cli import display
        from jaxconv.cli.programs import keep_programs

        keep_programs()
        finished = run.load(folder, tta or ())
        found = finished.test(root)
        together = found.together
        then = finished.result["test_accuracy"]
        rows = {"test accuracy": f"{together.accuracy:.2%}", "test loss": f"{together.mean_loss:.4f}"}
        if found.vote_accuracy is not None:
            rows["by vote"] = f"{found.vote_accuracy:.2%}"
        display.table(Console(), rows | {"when trained": f"{then:.2%}"})


@app.command(epilog=examples("jaxconv average runs/a runs/b runs/c --greedy"))
def average(
    folders: Annotated[
        list[Path], typer.Argument(parser=user_path, metavar="RUNS", help="Folders of finished runs of one net.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(parser=user_path, metavar="DIR", help="Folder of the average (default: runs/average-<time>)."),
    ] = None,
    greedy: Annotated[
        bool, typer.Option("--greedy", help="Leave out runs that make it less accurate on the validation images.")
    ] = False,
    root: Root = None,
) -> None:
    """Average the weights of finished runs with a common start (a model soup) into a finished run."""
    with user_errors(), contextlib.ExitStack() as stack:
        from rich.console import Console

        from jaxconv import run
        from jaxconv.cli import display
        from jaxconv.cli.programs import keep_programs

        keep_programs()
        console = Console()
        folder = out or stack.enter_context(run.reserved("average"))
        found = run.average(folders, folder, greedy=greedy, root=root)
        part = "validation" if "validation_accuracy" in found.result else "test"
        rows = zip([*map(str, folders), "average"], [*found.accuracies, found.result[f"{part}_accuracy"]], strict=True)
        used = [*("yes" if each else "no" for each in found.chosen), ""]
        columns = [{"run": name, f"{part} accuracy": f"{value:.2%}"} for name, value in rows]
        display.columns(console, [row | {"averaged": word} for row, word in zip(columns, used, strict=True)])
        console.print()
        accuracies = {"test accuracy": f"{found.result['test_accuracy']:.2%}"}
        display.table(console, accuracies | {"test loss": f"{found.result['test_loss']:.4f}", "run": str(folder)})


nets.add_to(app)


@app.command(epilog=examples("jaxconv doctor --quick"))
def doctor(
    quick: Annotated[bool, typer.Option("--quick", help="Check a third of the cases.")] = False,
) -> None:
    """Check convolutions on this device against NumPy; exits 1 if one of jaxconv's is wrong."""
    with user_errors():
        from jaxconv.doctor.report import main as examine

        raise typer.Exit(examine(quick))


app.add_typer(plot)


def _left_behind(folder: Path) -> str:
    if not (folder / "config.toml").is_file():
        return "interrupted before the first step; nothing was written"
    saved = any((folder / "checkpoints").glob("[0-9]*"))
    what = (
        "interrupted; to resume from the latest checkpoint"
        if saved
        else "interrupted before the first checkpoint; to start it again"
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
    validation = {"validation": f"{result.get('validation_accuracy', 0):.2%}"}
    waiting = seconds["waiting"] / seconds["training"] if seconds["training"] else 0.0
    waited = f", {waiting:.1%} of it waiting for data" if seconds["waiting"] else ""
    return {
        "test accuracy": f"{result['test_accuracy']:.2%}",
        **(ensemble if shares else {}),
        **(validation if "validation_accuracy" in result else {}),
        "test loss": f"{result['test_loss']:.4f}",
        "training": f"{seconds['training']:.1f} s, {result['images_per_second']:,.0f} images/s{waited}",
        "compiling": f"{seconds['compiling']:.1f} s",
        "total": f"{seconds['total']:.1f} s",
        "parameters": f"{result['parameters']:,}",
        "device": f"{device['kind']}{cores}",
    }
