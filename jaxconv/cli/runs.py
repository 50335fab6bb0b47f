"""The commands `jaxconv sweep`, `runs`, `evaluate`, `report`, `watch` and `average`."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from jaxconv._base.files import user_path
from jaxconv.cli.errors import user_errors
from jaxconv.cli.options import ConfigPath, Root, RunFolder, SweepValues, Tta, examples
from jaxconv.cli.pictures import Pictures, kind_of

__all__ = ["add_to"]

_CURVES = (10, 6)  # characters, which a table does not fold; with less room there are no curves

RunsFolder = Annotated[Path, typer.Argument(parser=user_path, metavar="DIR", help="A folder of runs.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(
        epilog=examples(
            "jaxconv sweep configs/digits.toml optim.learning_rate=0.1,0.03 seed=0,1,2",
            "jaxconv sweep configs/digits.toml learning_rate=1e-3..0.1:log --method tpe --trials 30",
        )
    )(sweep)
    app.command(epilog=examples("jaxconv runs runs"))(runs)
    app.command(epilog=examples("jaxconv evaluate runs/digits-20261129-170000 --tta shift=1"))(evaluate)
    app.command(epilog=examples("jaxconv report runs/a", "jaxconv report runs/a runs/b --out compared.html"))(report)
    app.command(epilog=examples("jaxconv watch runs/digits-20261129-170000"))(watch)
    app.command(epilog=examples("jaxconv average runs/a runs/b runs/c --greedy"))(average)


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


def runs(folder: RunsFolder = Path("runs"), pictures: Pictures = "auto") -> None:
    """Compare the runs in a folder and their configs; in a terminal with curves of loss and metric over the steps."""
    with user_errors():
        from rich.console import Console

        from jaxconv import run
        from jaxconv.cli import display

        console = Console()
        rows = run.compare(folder)
        if kind_of(pictures, console) != "none":
            drawn = (run.compare(folder, curves) for curves in _CURVES)
            rows = next((each for each in drawn if display.fits(console, each)), rows)
        display.columns(console, rows)


def evaluate(folder: RunFolder, root: Root = None, tta: Tta = None) -> None:
    """Evaluate a finished run on its dataset's test images."""
    with user_errors():
        from rich.console import Console

        from jaxconv import run
        from jaxconv.cli import display
        from jaxconv.cli.programs import keep_programs

        keep_programs()
        finished = run.load(folder, tta or ())
        task = finished.task
        found = task.score(finished.test(root), finished.input.classes)
        rows = {f"test {task.metric}": f"{found.value:.2%}", "test loss": f"{found.loss:.4f}"}
        then: Any = finished.result.get(f"test_{task.metric}")
        display.table(Console(), rows | task.details(found.more) | {"when trained": f"{then:.2%}"})


def report(
    folders: Annotated[list[Path], typer.Argument(parser=user_path, metavar="RUNS", help="Folders of runs.")],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=user_path, metavar="FILE", help="The page (default: RUN/report.html; of several, report.html)."
        ),
    ] = None,
    root: Root = None,
) -> None:
    """Write the page of a run, evaluated again, or one that compares several: curves, results and configs."""
    with user_errors():
        from jaxconv._base.files import write_atomically
        from jaxconv.cli.programs import keep_programs
        from jaxconv.run.page import page, page_of_finished, run_content

        keep_programs()
        one = len(folders) == 1
        contents = [page_of_finished(folders[0], root)] if one else [run_content(folder) for folder in folders]
        path = out or (folders[0] / "report.html" if one else Path("report.html"))
        write_atomically(path, page(*contents))
        typer.echo(f"wrote {path}")


def watch(
    folder: RunFolder,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 for a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the default browser.")] = True,
) -> None:
    """Show the page of a run while it trains; its curves follow."""
    with user_errors():
        import webbrowser

        from jaxconv.run.live import open_page, serve

        server, address = serve(folder, port)
        typer.echo(f"{folder} at {address} (Ctrl-C to stop)")
        if browser:
            with contextlib.suppress(webbrowser.Error):
                open_page(address)
        with server, contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


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
        from jaxconv.run.tasks import find_task

        keep_programs()
        console = Console()
        folder = out or stack.enter_context(run.reserved("average"))
        found = run.average(folders, folder, greedy=greedy, root=root)
        metric = find_task(found.result["task"]).metric
        part = "validation" if f"validation_{metric}" in found.result else "test"
        whole = found.result[f"{part}_{metric}"]
        rows = zip([*map(str, folders), "average"], [*found.accuracies, whole], strict=True)
        used = [*("yes" if each else "no" for each in found.chosen), ""]
        columns = [{"run": name, f"{part} {metric}": f"{value:.2%}"} for name, value in rows]
        display.columns(console, [row | {"averaged": word} for row, word in zip(columns, used, strict=True)])
        console.print()
        numbers = {f"test {metric}": f"{found.result[f'test_{metric}']:.2%}"}
        display.table(console, numbers | {"test loss": f"{found.result['test_loss']:.4f}", "run": str(folder)})
