"""Runs beside each other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from jaxconv import config
from jaxconv.errors import ConfigError, DataError
from jaxconv.run.folder import lines, read_json

__all__ = ["compare"]


def compare(folder: str | Path) -> list[dict[str, str]]:
    """One row a run: what differs in their configs, how far each is, and what it reached.

    Args:
      folder: runs lie directly in it, or one level down as a sweep leaves them.

    Returns:
      Rows by name of the column, the best accuracy first; runs that are not finished are last.

    Raises:
      ConfigError: there are no runs.
    """
    folder = Path(folder)
    found = sorted({path.parent for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}config.toml")})
    if not found:
        raise ConfigError(f"there are no runs in {folder}: a run's folder holds config.toml")
    settings = {}
    for path in found:
        try:
            settings[path] = _flat(config.read(path / "config.toml"))
        except ConfigError as error:
            settings[path] = {"problem": str(error).splitlines()[0]}
    keys = sorted({key for table in settings.values() for key in table})
    differing = [key for key in keys if len({repr(table.get(key)) for table in settings.values()}) > 1]
    rows = [(_outcome(path), path) for path in found]
    rows.sort(key=lambda row: (-row[0][0], row[1]))
    return [
        {"run": str(path.relative_to(folder)) if path != folder else path.name}
        | outcome
        | {key.replace(".arguments", ""): _text(settings[path].get(key)) for key in differing}
        for (_, outcome), path in rows
    ]


def _outcome(path: Path) -> tuple[float, dict[str, str]]:
    """The accuracy to sort by, and the columns."""
    if (path / "result.json").is_file():
        try:
            result = read_json(path / "result.json")
            accuracy, loss, total = result["test_accuracy"], result["test_loss"], result["seconds"]["total"]
        except (DataError, KeyError, TypeError):
            return -2.0, {"accuracy": "damaged", "loss": "", "step": "", "seconds": ""}
        columns = {"accuracy": f"{accuracy:.2%}", "loss": f"{loss:.4f}", "step": f"{result['steps']:,}"}
        return accuracy, columns | {"seconds": f"{total:.0f}"}
    measured = lines(path)
    tests = [line for line in measured if "test_accuracy" in line or "validation_accuracy" in line]
    at = f"{measured[-1]['step']:,}, not finished" if measured else "not begun"
    if not tests:
        return -1.0, {"accuracy": "", "loss": "", "step": at, "seconds": ""}
    last = {key.partition("_")[2]: value for key, value in tests[-1].items()}
    return last["accuracy"] - 1, {
        "accuracy": f"{last['accuracy']:.2%}",
        "loss": f"{last['loss']:.4f}",
        "step": at,
        "seconds": "",
    }


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _flat(settings: config.Config) -> dict[str, Any]:
    """A config's values by their whole path: "train.seed"."""

    def walk(table: dict[str, Any], path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in table.items():
            found |= walk(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
        return found

    return walk(dataclasses.asdict(settings), "")
