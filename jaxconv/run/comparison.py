"""Comparison of runs: one row for each."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxconv._base.errors import ConfigError, DataError
from jaxconv.run.records import Line, read_lines, read_manifest, read_result
from jaxconv.run.settings import flat, given_settings
from jaxconv.run.tasks import headline
from jaxconv.viz.terminal import sparkline

__all__ = ["compare"]

_METRIC = "metric"
_LAST = -math.inf  # sorts broken runs after those without an evaluation yet


def compare(folder: str | Path, curves: int = 0) -> list[dict[str, str]]:
    """Compare runs: their results, and the values that differ between their configs.

    Args:
      folder: has runs in it, directly or one level down as in a sweep.
      curves: characters of the curves of loss and metric over the steps; 0 for no curves.

    Returns:
      A row {column: text} for each run, best first; unfinished runs follow, then broken ones, whose `problem` describes
      the damage. The first column is named after the metric of the runs' task.

    Raises:
      ConfigError: if there are no runs.
    """
    folder = Path(folder)
    found = sorted({path.parent for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}config.toml")})
    if not found:
        raise ConfigError(f"there are no runs in {folder}: a run's folder contains config.toml")
    settings: dict[Path, dict[str, Any]] = {}
    problems: dict[Path, str] = {}
    rows = []
    for path in found:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # old runs are not edited
                settings[path] = flat(given_settings(path))
            rows.append((*_outcome(path), path))
        except OSError as error:
            problems[path] = f"cannot read {error.filename}: {error.strerror}"
        except (ConfigError, DataError) as error:
            problems[path] = "; ".join(line.strip() for line in str(error).splitlines())
        if path in problems:
            rows.append((_LAST, _columns(("", "broken")), path))
    keys = sorted({key for table in settings.values() for key in table})
    differing = [key for key in keys if len({repr(table.get(key)) for table in settings.values()}) > 1]
    rows.sort(key=lambda row: (-row[0], row[2]))
    metrics = {outcome[_METRIC][0] for _, outcome, _ in rows} - {""} or {"accuracy"}
    lines = {path: _lines(path) if curves and path not in problems else [] for *_, path in rows}
    drawn = _curves(lines, next(iter(metrics)) if len(metrics) == 1 else _METRIC, curves)
    return [
        {"run": str(path.relative_to(folder)) if path != folder else path.name}
        | _titled(outcome, metrics)
        | drawn[path]
        | {key: _text(settings.get(path, {}).get(key)) for key in differing}
        | ({"problem": problems.get(path, "")} if problems else {})
        for _, outcome, path in rows
    ]


def _curves(lines: Mapping[Path, Sequence[Line]], metric: str, width: int) -> dict[Path, dict[str, str]]:
    """Curves of each run by the name of their column; those of a column are on one scale."""
    found: dict[Path, dict[str, str]] = {path: {} for path in lines}
    if width:
        for name, read in {f"{metric} curve": _metrics, "loss curve": _losses}.items():
            series = {path: read(each) for path, each in lines.items()}
            known = [value for values in series.values() for value in values if math.isfinite(value)]
            low, high = min(known, default=0.0), max(known, default=0.0)
            found = {path: drawn | {name: sparkline(series[path], width, low, high)} for path, drawn in found.items()}
    return found


def _lines(path: Path) -> list[Line]:
    """The measurements of a run; none if they are damaged, which its result is not."""
    try:
        return read_lines(path)
    except (OSError, DataError):
        return []


def _losses(lines: Sequence[Line]) -> list[float]:
    """The training loss; of a step that was repeated, the last one."""
    return _by_step((line["step"], line["loss"]) for line in lines if "loss" in line)


def _metrics(lines: Sequence[Line]) -> list[float]:
    """The metric of the evaluations; with fewer than two, the training accuracy."""
    for part in ("validation", "test"):
        measured = ((line["step"], headline(line, part)) for line in lines)
        if len(values := _by_step((step, found[1]) for step, found in measured if found is not None)) > 1:
            return values
    return _by_step((line["step"], line["accuracy"]) for line in lines if "accuracy" in line)


def _by_step(pairs: Iterable[tuple[int, float | None]]) -> list[float]:
    return [math.nan if value is None else value for value in dict(pairs).values()]


def _outcome(path: Path) -> tuple[float, dict[str, Any]]:
    """Value to sort by, and columns."""
    if (path / "manifest.json").exists():
        read_manifest(path)  # with a broken one a run can be neither resumed nor trusted
    if (path / "result.json").exists():
        result = read_result(path)
        total = f"{result['seconds']['total']:.0f}"
        found = headline(result)
        assert found is not None
        return found[1], _columns(*_percent(found, result["test_loss"]), f"{result['steps']:,}", total)
    measured = read_lines(path)
    at = f"{measured[-1]['step']:,}, not finished" if measured else "not started"
    for line in reversed(measured):
        for part in ("test", "validation"):
            if (found := headline(line, part)) is not None:
                loss: Any = line.get(f"{part}_loss")
                return found[1] - 1, _columns(*_percent(found, loss), at)
    return -1.0, _columns(step=at)


def _percent(found: tuple[str, float], loss: float | None) -> tuple[tuple[str, str], str]:
    return (found[0], f"{found[1]:.2%}"), "" if loss is None else f"{loss:.4f}"


def _columns(value: tuple[str, str] = ("", ""), loss: str = "", step: str = "", seconds: str = "") -> dict[str, Any]:
    """A row of the table; of its metric with the name."""
    return {_METRIC: value, "loss": loss, "step": step, "seconds": seconds}


def _titled(outcome: dict[str, Any], metrics: set[str]) -> dict[str, str]:
    """A row with the metric's name as title; with the name beside the value, if runs have several."""
    name, text = outcome[_METRIC]
    rest = {key: value for key, value in outcome.items() if key != _METRIC}
    if len(metrics) == 1:
        return {next(iter(metrics)): text} | rest
    return {_METRIC: f"{text} {name}".strip()} | rest


def _text(value: Any) -> str:
    return "" if value is None else str(value)
