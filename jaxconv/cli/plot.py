"""The commands `jaxconv plot`: of a finished run, a range of learning rates, a window on its input, an overlap."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxconv._base.errors import ConfigError, did_you_mean
from jaxconv._base.files import user_path, write_atomically, writing
from jaxconv.cli.errors import user_errors
from jaxconv.cli.options import ConfigPath, Overrides, Root, RunFolder, examples

__all__ = ["plot"]

_RUN = "run"
_KINDS = "kernels, features, field, activations, norms"


class _Runs(typer.core.TyperGroup):
    """Commands of which one may omit its name: `plot RUN` is `plot run RUN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = args[0] if args else "--help"
        known = first in self.commands or first in ("--help", "-h")
        if not known and (os.path.exists(user_path(first)) or not did_you_mean(first, self.commands)):
            args = [_RUN, *args]
        return super().parse_args(ctx, args)


plot = typer.Typer(
    name="plot",
    cls=_Runs,
    help="Plot a finished run (jaxconv plot RUN), a range of learning rates (plot lr), a window (plot window), or the "
    "overlap of a transposed convolution (plot overlap).",
    no_args_is_help=True,
)

_NUMBERS = "One number, or one for each axis: 7x9."


@plot.command(_RUN, epilog=examples("jaxconv plot runs/digits-20261129-170000 kernels features --image 3"))
def plot_run(
    folder: RunFolder,
    kinds: Annotated[list[str] | None, typer.Argument(metavar="KIND", help=f"{_KINDS} (default: all).")] = None,
    out: Annotated[
        Path | None, typer.Option(parser=user_path, metavar="DIR", help="Folder of the plots (default: RUN/plots).")
    ] = None,
    image: Annotated[int, typer.Option(help="Index of the test image for features and receptive fields.")] = 0,
    root: Root = None,
) -> None:
    """Plot a finished run's first kernels, features, receptive fields, activations and norms; print each file."""
    with user_errors():
        from jaxconv.cli.programs import keep_programs
        from jaxconv.run.plots import KINDS, drawings
        from jaxconv.viz.training import save

        keep_programs()
        target = folder / "plots" if out is None else out
        for kind, figure in drawings(folder, kinds or list(KINDS), image, root):
            if isinstance(figure, str):
                if kinds:
                    raise ConfigError(f"{kind}: {figure}")
                typer.echo(f"{kind} skipped: {figure}", err=True)
                continue
            with writing(target):
                target.mkdir(parents=True, exist_ok=True)
            save(figure, target / f"{kind}.png")
            typer.echo(target / f"{kind}.png")


@plot.command("lr", epilog=examples("jaxconv plot lr configs/digits.toml --high 1"))
def plot_lr(
    config_path: ConfigPath,
    overrides: Overrides = None,
    low: Annotated[float, typer.Option(help="Learning rate of the first step.")] = 1e-6,
    high: Annotated[float, typer.Option(help="Learning rate of the last step.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Number of steps.")] = 100,
    out: Annotated[Path, typer.Option(parser=user_path, metavar="FILE", help="The picture, a .png.")] = Path("lr.png"),
) -> None:
    """Train with a rising learning rate and draw the loss over it (a learning-rate range test); saves no run."""
    with user_errors():
        from rich.console import Console

        from jaxconv.cli import display
        from jaxconv.cli.programs import keep_programs
        from jaxconv.run.range_test import lr_range
        from jaxconv.run.settings import read_settings
        from jaxconv.viz.curves import draw_lr_range
        from jaxconv.viz.training import save

        if out.suffix.lower() != ".png":
            raise ConfigError(f"--out must end in .png; got {out}")
        settings = read_settings(config_path, overrides or [])
        keep_programs()
        console = Console()
        with display.progress(console) as report:
            found = lr_range(settings, low, high, steps, report if console.is_terminal else lambda event: None)
        steepest = {} if found.steepest is None else {"steepest descent": found.steepest}
        marks = steepest | {"lowest loss": found.lowest}
        save(draw_lr_range(found.rates, found.losses, found.smooth, marks, config_path.name), out)
        rows = {f"learning rate at the {name}": f"{rate:.2g}" for name, rate in marks.items()}
        display.table(console, rows | {"steps": f"{len(found.rates)} of {steps}"})
        typer.echo(f"wrote {out}")


@plot.command(
    "window", epilog=examples("jaxconv plot window --size 7 --kernel 3 --stride 2 --padding same --out w.gif")
)
def plot_window(
    size: Annotated[str, typer.Option(help="Input size: 7 for 7x7, or 7x9; with --signal one row of 7.")],
    kernel: Annotated[str, typer.Option(help=f"Kernel size. {_NUMBERS}")],
    stride: Annotated[str, typer.Option(help=_NUMBERS)] = "1",
    padding: Annotated[str, typer.Option(help='"same", "full" …, a number, or two: 0,1 for low and high.')] = "0",
    dilation: Annotated[str, typer.Option(help=_NUMBERS)] = "1",
    position: Annotated[str, typer.Option(help="Output unit of a .png: its index, or 1x2. A GIF shows all.")] = "0",
    signal: Annotated[bool, typer.Option("--signal", help="One axis instead of two.")] = False,
    out: Annotated[
        Path, typer.Option(parser=user_path, metavar="FILE", help="A .png of one position or a .gif of all.")
    ] = Path("window.png"),
) -> None:
    """Draw a window on its input and the output unit that it computes."""
    with user_errors():
        from jaxconv.viz.training import save
        from jaxconv.viz.window import animate_window, draw_window

        numbers = {"stride": stride, "dilation": dilation, "kernel": kernel}
        given: dict[str, Any] = {name: _numbers(name, text) for name, text in numbers.items()}
        cells = _numbers("size", size)
        given["size"] = (cells,) if signal and isinstance(cells, int) else cells
        given["padding"] = _padding(padding)
        if out.suffix.lower() == ".gif":
            write_atomically(out, animate_window(**given))
        elif out.suffix.lower() == ".png":
            save(draw_window(**given, position=_numbers("position", position)), out)
        else:
            raise ConfigError(f"--out must end in .png or .gif; got {out}")
        typer.echo(f"wrote {out}")


@plot.command("overlap", epilog=examples("jaxconv plot overlap --kernel 3 --stride 2 --out overlap.png"))
def plot_overlap(
    kernel: Annotated[str, typer.Option(help=f"Kernel size. {_NUMBERS}")],
    stride: Annotated[str, typer.Option(help=_NUMBERS)] = "2",
    dilation: Annotated[str, typer.Option(help=_NUMBERS)] = "1",
    out: Annotated[Path, typer.Option(parser=user_path, metavar="FILE", help="The picture, a .png.")] = Path(
        "overlap.png"
    ),
) -> None:
    """Draw how often the windows of a transposed convolution cover each output cell: unevenly, a checkerboard."""
    with user_errors():
        from jaxconv.viz.overlap import draw_overlap
        from jaxconv.viz.training import save

        if out.suffix.lower() != ".png":
            raise ConfigError(f"--out must end in .png; got {out}")
        numbers = {"stride": stride, "dilation": dilation, "kernel": kernel}
        save(draw_overlap(**{name: _numbers(name, text) for name, text in numbers.items()}), out)
        typer.echo(f"wrote {out}")


def _numbers(name: str, text: str) -> int | tuple[int, ...]:
    """3 or 3x5."""
    if not re.fullmatch(r"\d+([x×]\d+)?", text):
        raise ConfigError(f"--{name} must be a number like 3, or one for each axis like 3x5; got {text!r}")
    numbers = tuple(map(int, re.split("[x×]", text)))
    return numbers if len(numbers) > 1 else numbers[0]


def _padding(text: str) -> Any:
    """A word, 1, or 0,1."""
    if re.fullmatch(r"\d+(,\d+)?", text):
        numbers = tuple(map(int, text.split(",")))
        return numbers if len(numbers) > 1 else numbers[0]
    return text
