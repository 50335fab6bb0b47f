"""One config at many settings."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jaxconv import config
from jaxconv.errors import ConfigError
from jaxconv.run.folder import Report, read_json
from jaxconv.run.train import resume, train

__all__ = ["points", "sweep"]


def points(overrides: Sequence[str]) -> list[list[str]]:
    """Every combination of the values that are given with commas.

    Args:
      overrides: `section.key=value,value,…` each; a comma within brackets or quotes divides nothing.

    >>> points(["seed=0,1", "net.hidden=[100],[100, 100]"])[1]
    ['seed=0', 'net.hidden=[100, 100]']
    """
    choices = []
    for override in overrides:
        key, _, text = override.partition("=")
        choices.append([f"{key}={value}" for value in _values(text)])
    return [list(point) for point in itertools.product(*choices)]


def _values(text: str) -> list[str]:
    values, depth, quote, start = [], 0, "", 0
    for position, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and depth == 0:
            values.append(text[start:position].strip())
            start = position + 1
    return [*values, text[start:].strip()]


def sweep(
    path: str | Path,
    overrides: Sequence[str],
    folder: str | Path,
    report: Report = lambda event: None,
    begin: Callable[[str, int, int], None] = lambda name, number, total: None,
) -> list[dict[str, Any]]:
    """Train a config once for each combination of values, one run after the other.

    Called again with the same folder it leaves finished runs as they are and goes on with the others.

    Args:
      path: the config file.
      overrides: as for `points`.
      folder: holds a run's folder for each combination, named after its values.
      report: called with each event of each run.
      begin: called with name, number and count before each run.

    Returns:
      The result of each run, in the order of `points`.

    Raises:
      ConfigError: one of the combinations cannot be; found before the first is trained. Then as `train`.
    """
    combinations = points(overrides)
    settings = [config.read(path, point) for point in combinations]
    names = [_name(point) for point in combinations]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigError(f"a sweep's values must differ; given twice: {', '.join(twice)}")
    results = []
    for number, (name, settled) in enumerate(zip(names, settings, strict=True), 1):
        own = Path(folder) / name
        begin(name, number, len(names))
        if (own / "result.json").is_file():
            results.append(read_json(own / "result.json"))
        elif (own / "config.toml").is_file():
            results.append(resume(own, settled, report))
        else:
            results.append(train(settled, own, report))
    return results


def _name(point: Sequence[str]) -> str:
    """Values as a folder's name: "learning_rate=0.1,seed=0"."""
    short = [override.partition("=") for override in point]
    names = [(key.strip().rpartition(".")[2], re.sub(r"[^\w.+-]+", "_", value.strip())) for key, _, value in short]
    return ",".join(f"{key}={value}" for key, value in names) or "run"
