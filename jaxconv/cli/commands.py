"""Commands: train, config, predict, explain, export, summary, tune, doctor, plot and more."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxconv._base import interrupt
from jaxconv._base.files import user_path
from jaxconv._base.processes import first, joined
from jaxconv.cli import nets, runs
from jaxconv.cli.data import DATA, data
from jaxconv.cli.errors import INTERRUPTED, fail, user_errors
from jaxconv.cli.explain import EXPLAIN, explain
from jaxconv.cli.export import EXPORT, export
from jaxconv.cli.launch import LAUNCH, end_with_launcher, launch
from jaxconv.cli.options import Overrides, examples
from jaxconv.cli.pack import PACK, pack
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
_WAITED = 0.1  # fraction of training that waits for data, above which there is advice
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
    page: Annotated[
        bool, typer.Option("--open", help="Show the run's page in the browser while it trains, as jaxconv watch does.")
    ] = False,
    coordinator: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Address of process 0, where JAX finds no cluster.")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, metavar="N", help="Number of processes.")] = None,
    process: Annotated[int | None, typer.Option(min=0, metavar="I", help="Number of this process, from 0.")] = None,
) -> None:
    """Train a net from a config file into a run folder, or resume a run."""
    with user_errors(), contextlib.ExitStack() as stack:
        from rich.console import Console
        from rich.text import Text

        from jaxconv import run
        from jaxconv._base.errors import ConfigError
        from jaxconv.cli import display
        from jaxconv.cli.programs import keep_programs
        from jaxconv.run.build import make_deterministic
        from jaxconv.run.live import open_page, serving
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
        if page and dry_run:
            raise ConfigError("--open shows a run while it trains; leave out --dry-run")
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
                follow = stack.enter_context(serving(folder, report, open_page)) if page and first() else report
                result = go(report=follow)
        except KeyboardInterrupt:
            fail(_left_behind(folder), INTERRUPTED)
        if first():
            display.table(console, _summary(result) | {"run": str(folder)})
            if advice := _advice(result):
                console.print(Text(advice), soft_wrap=True)
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


runs.add_to(app)
nets.add_to(app)
app.command(epilog=DATA)(data)
app.command(epilog=EXPLAIN)(explain)
app.command(epilog=EXPORT)(export)
app.command(epilog=PACK)(pack)


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
    from jaxconv.run.tasks import find_task, headline

    seconds, device = result["seconds"], result["device"]
    cores = f", {device['cpu_cores']} cores" if device["platform"] == "cpu" else ""
    more = {name.removeprefix("test_"): value for name, value in result.items() if name.startswith("test_")}
    (metric, share), validation = headline(result) or ("", 0.0), headline(result, "validation")
    waited = f", {_waiting(result):.1%} of it waiting for data" if seconds["waiting"] else ""
    return {
        f"test {metric}": f"{share:.2%}",
        **find_task(result["task"]).details(more),
        **({"validation": f"{validation[1]:.2%}"} if validation else {}),
        "test loss": f"{result['test_loss']:.4f}",
        "training": f"{seconds['training']:.1f} s, {result['images_per_second']:,.0f} images/s{waited}",
        "compiling": f"{seconds['compiling']:.1f} s",
        "total": f"{seconds['total']:.1f} s",
        "parameters": f"{result['parameters']:,}",
        "device": f"{device['kind']}{cores}",
    }


def _waiting(result: dict[str, Any]) -> float:
    """Fraction of its time that training waited for data."""
    seconds = result["seconds"]
    return seconds["waiting"] / seconds["training"] if seconds["training"] else 0.0


def _advice(result: dict[str, Any]) -> str:
    """How to read images faster, if training waited for them."""
    if _waiting(result) <= _WAITED:
        return ""
    return (
        "to wait less for data: jaxconv pack, which decodes and resizes the images once; data.in_memory=true, if they "
        "fit into memory; or data.workers=N, processes beside the threads that read"
    )
