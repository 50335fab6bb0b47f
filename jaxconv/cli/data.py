"""The command `jaxconv data`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxconv._base.errors import ConfigError, count
from jaxconv._base.files import user_path
from jaxconv.cli.errors import user_errors
from jaxconv.cli.options import ConfigPath, Overrides, examples

if TYPE_CHECKING:
    from jaxconv.data import Dataset
    from jaxconv.data.inspection import Copies, Inspection
    from jaxconv.run.suspects import Suspect

__all__ = ["DATA", "data"]

DATA = examples(
    "jaxconv data configs/photos.toml",
    "jaxconv data configs/photos.toml --near --samples samples.png",
    "jaxconv data configs/photos.toml --run runs/photos-20261129-170000",
)
_ENDS = 10  # classes that are listed from each end of the order of their sizes


def data(
    config_path: ConfigPath,
    overrides: Overrides = None,
    near: Annotated[
        bool, typer.Option("--near", help="Look for nearly equal images, too: all pairs of thumbnails are compared.")
    ] = False,
    run_folder: Annotated[
        Path | None,
        typer.Option(
            "--run",
            parser=user_path,
            metavar="RUN",
            help="List possible label errors: labels that this finished run contradicts.",
        ),
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option(parser=user_path, metavar="FILE", help="Draw images as the net sees them in training, to a .png."),
    ] = None,
    most: Annotated[int, typer.Option(min=0, metavar="N", help="Most lines of each list.")] = 10,
) -> None:
    """Inspect a config's dataset: sizes, class balance, damaged images, copies within and across its parts."""
    with user_errors():
        from rich.console import Console

        from jaxconv import run
        from jaxconv.cli import display
        from jaxconv.cli.programs import keep_programs
        from jaxconv.data.inspection import inspect
        from jaxconv.run.build import load_unread
        from jaxconv.run.samples import sample
        from jaxconv.run.settings import read_settings
        from jaxconv.run.suspects import suspects
        from jaxconv.viz.training import save

        if samples is not None and samples.suffix.lower() != ".png":
            raise ConfigError(f"--samples must end in .png; got {samples}")
        settings = read_settings(config_path, overrides or [])
        keep_programs()
        finished = None if run_folder is None else run.load(run_folder)
        dataset = load_unread(settings)
        found = inspect(dataset, near=near, workers=settings.data.workers)
        console = Console()
        size = "×".join(map(str, dataset.image_shape))
        typer.echo(f"{dataset.name}: images of {size}, {len(dataset.classes)} classes, {dataset.task}\n")
        display.columns(console, _parts(found))
        for part, report in found.parts.items():
            _list(f"{part}: cannot be read", list(report.damaged), most)
        if found.parts["train"].counts is not None:
            typer.echo()
            display.columns(console, _classes(found, dataset, console.is_terminal))
        typer.echo()
        _print_copies(found.copies, dataset.classes, near, most)
        if finished is not None:
            found_errors = suspects(finished, dataset)
            typer.echo()
            _list("possible label errors", [_suspect(each) for each in found_errors], most)
            if not found_errors:
                typer.echo("no possible label errors")
        if samples is not None:
            drawn = sample(settings, dataset)
            save(drawn.figure, samples)
            typer.echo()
            shape = "×".join(map(str, drawn.shape))
            typer.echo(
                f"the net's input: {shape}, from {drawn.low:.2f} to {drawn.high:.2f}, mean {drawn.mean:.2f}, "
                f"standard deviation {drawn.std:.2f}\nwrote {samples}"
            )


def _parts(found: Inspection) -> list[dict[str, str]]:
    return [
        {
            "part": part,
            "images": f"{report.images:,}",
            "cannot be read": f"{len(report.damaged):,}",
            "mean": " ".join(f"{value:.1f}" for value in report.mean),
            "standard deviation": " ".join(f"{value:.1f}" for value in report.std),
        }
        for part, report in found.parts.items()
    ]


def _classes(found: Inspection, dataset: Dataset[Any], short: bool) -> list[dict[str, str]]:
    """Counts of each class, the largest first; on a terminal only those at both ends if there are many."""
    train, test = (found.parts[part].counts for part in ("train", "test"))
    assert train is not None
    assert test is not None
    several = dataset.task == "multilabel"
    totals = [
        found.parts[part].images if several else counts.sum() for part, counts in (("train", train), ("test", test))
    ]
    order = sorted(range(len(train)), key=lambda k: (-train[k], k))
    cut = short and len(order) > 2 * _ENDS
    listed = [*order[:_ENDS], None, *order[-_ENDS:]] if cut else order
    rest = {"class": f"… {len(order) - 2 * _ENDS:,} more", "train": "", "share": "", "test": "", "share of test": ""}
    return [rest if k is None else _class(dataset.classes[k], [train[k], test[k]], totals) for k in listed]


def _class(name: str, counts: Sequence[int], totals: Sequence[int]) -> dict[str, str]:
    shares = [count / max(total, 1) for count, total in zip(counts, totals, strict=True)]
    return {
        "class": name,
        "train": f"{counts[0]:,}",
        "share": f"{shares[0]:.1%}",
        "test": f"{counts[1]:,}",
        "share of test": f"{shares[1]:.1%}",
    }


def _print_copies(copies: tuple[Copies, ...], classes: tuple[str, ...], near: bool, most: int) -> None:
    for exact in (True, False) if near else (True,):
        groups = [group for group in copies if group.exact == exact]
        what = "equal images" if exact else "nearly equal images"
        if not groups:
            typer.echo(f"no {what}")
            continue
        leaked = len(
            {image for group in groups if "and" in group.parts for image in group.images if image[0] == "test"}
        )
        differ = sum(group.conflicting for group in groups)
        typer.echo(
            f"{what}: {count(len(groups), 'group')}, {sum(len(group.images) for group in groups):,} images; "
            f"test images with a copy in training: {leaked:,}; groups with different labels: {differ:,}"
        )
        groups.sort(key=lambda group: (not group.conflicting, "and" not in group.parts))
        _list("", [_group(group, classes) for group in groups], most)


def _group(group: Copies, classes: tuple[str, ...]) -> str:
    shown = [
        f"{name} ({classes[label]})" if group.conflicting else name
        for name, label in zip(group.names, group.labels, strict=True)
    ]
    more = f" and {len(shown) - 6} more" if len(shown) > 6 else ""
    return ", ".join(shown[:6]) + more


def _suspect(each: Suspect) -> str:
    return f"{each.name}: {each.label} ({each.probability:.1%}), or {each.answer} ({each.confidence:.1%})?"


def _list(title: str, lines: list[Any], most: int) -> None:
    if title and lines:
        typer.echo(f"{title}: {len(lines):,}")
    for line in lines[:most]:
        typer.echo(f"  {line}")
    if len(lines) > most:
        typer.echo(f"  … {len(lines) - most:,} more: --most {len(lines)}")
