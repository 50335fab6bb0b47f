"""Finished runs: their mark, and their trained parameters, read from their folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxconv._base import checksums
from jaxconv._base.errors import DataError
from jaxconv._base.files import write_atomically
from jaxconv.models._registry import make_net
from jaxconv.run import config
from jaxconv.run.build.model import make_views
from jaxconv.run.build.precision import in_precision
from jaxconv.run.predict import Input, Predictor, check_finite
from jaxconv.run.records import Result, json_bytes, read_result
from jaxconv.run.tasks import check_task
from jaxconv.training import checkpoint

__all__ = ["CHECKED", "read_trained", "trained", "write_result"]

CHECKED = ("config.toml", "params.safetensors", "result.json")
"""Files of a finished run listed in its `SHA256SUMS`."""


def trained(params: Any, state: Any) -> dict[str, Any]:
    """The tree in `params.safetensors`."""
    return {"params": params, "state": state}


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write `SHA256SUMS` and, last, `result.json`, which marks a run as finished.

    Args:
      folder: the run's, with all other files of `CHECKED`.
      result: the content of `result.json`.
    """
    content = json_bytes(result)
    checksums.write_sums(folder, [name for name in CHECKED if name != "result.json"], {"result.json": content})
    write_atomically(folder / "result.json", content)


def read_trained(folder: Path, tta: Sequence[str] = ()) -> tuple[Predictor, config.Config, Result]:
    """Read the trained net, config and result of a finished run.

    Args:
      folder: written by `train`.
      tta: changes of its test-time augmentation, such as "flip=true".

    Raises:
      DataError: if a file is missing or damaged; without `result.json` the run is not finished.
      ConfigError: if the parameters do not match the config's net, or a change is invalid.
    """
    if not folder.is_dir():
        problem = f"{folder} is a file, not a run's folder" if folder.exists() else f"there is no run {folder}"
        raise DataError(problem + _near_runs(folder))
    files = ("config.toml", "params.safetensors", "result.json")
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{folder} is not a finished run: {', '.join(missing)} missing; it is still running, or was interrupted; "
            f"to resume it: jaxconv train --resume {folder}"
            if (folder / "config.toml").is_file()
            else f"{folder} is not a run: {', '.join(missing)} missing"
        )
    checksums.verify(folder, CHECKED)
    settings = config.read(folder / "config.toml")
    settings = dataclasses.replace(settings, tta=config.with_changes("tta", settings.tta, tta))
    result = read_result(folder)
    name = result.get("task", "classification")
    check_task(settings, name)
    wanted = Input(**{key: _tuple(value) for key, value in result["input"].items()})
    shape, classes = wanted.shape, wanted.classes
    net = in_precision(make_net(settings.net.name, settings.net.arguments, len(classes)), settings.precision)
    like = jax.eval_shape(lambda: trained(*net.init(jax.random.key(0), (1, *shape))))
    size = settings.ensemble.size
    members = size > 1
    if members:
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape), leaf.dtype), like)
    found = checkpoint.load(folder / "params.safetensors", like)
    check_finite(folder / "params.safetensors", found["params"], found["state"])
    options: dict[str, Any] = {"views": make_views(settings.tta), "temperature": result.get("temperature", 1.0)}
    options["task_name"] = name
    return Predictor(net, found["params"], found["state"], wanted, members, **options), settings, result


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _near_runs(folder: Path) -> str:
    parent = folder.parent if folder.parent.is_dir() else Path("runs")
    found = sorted((path for path in parent.glob("*/result.json")), key=lambda path: path.stat().st_mtime)
    return f"; the latest finished one in {parent} is {found[-1].parent}" if found else ""
