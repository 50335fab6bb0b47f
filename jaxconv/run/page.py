"""`report.html`: the content of the page of a run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from jaxconv._base.errors import ShapeError
from jaxconv.analysis.columns import window
from jaxconv.analysis.rows import Row
from jaxconv.analysis.summary import summary
from jaxconv.data import Dataset
from jaxconv.layers.layer import Layer
from jaxconv.run.attributions import attributions
from jaxconv.run.build import load_dataset
from jaxconv.run.config import Config
from jaxconv.run.config.schema import TABLES, table
from jaxconv.run.finished import Member, first_member, load
from jaxconv.run.records import LayerRecord, Line, Manifest, read_lines, read_manifest, read_result
from jaxconv.run.settings import flat, given_settings
from jaxconv.run.tasks import Outputs, find_task
from jaxconv.run.timing import layers_of
from jaxconv.viz.page import data_uri, draw_page, kernel_picture, picture

__all__ = ["network_content", "page", "page_of_finished", "run_content", "trained_content"]

LINES = 10_000
"""The most lines of metrics on a page."""
KERNELS = 60
"""The most layers whose kernels are drawn."""
_IMPL = {"lax": "XLA", "canonical": "XLA"}


def page(*contents: Mapping[str, Any]) -> bytes:
    """The HTML file of one run, or of several beside each other.

    Args:
      contents: of each, see `run_content`.
    """
    return draw_page(contents).encode()


def page_of_finished(folder: Path, root: str | None = None) -> dict[str, Any]:
    """The content of the page of a finished run, whose test images are evaluated again.

    Args:
      folder: the run's.
      root: data directory; the run's if None.

    Raises:
      DataError, ConfigError: as `jaxconv.run.load`.
    """
    finished = load(folder)
    dataset = load_dataset(finished.settings, root)
    found, own = finished.test_on(dataset), first_member(finished)

    def outputs(images: np.ndarray) -> np.ndarray:
        return np.asarray(finished.outputs(images))

    return trained_content(folder, finished.settings, finished.result, found, dataset, own, outputs)


def trained_content(
    folder: Path,
    settings: Config,
    result: Mapping[str, Any],
    found: Any,
    dataset: Dataset[Any],
    member: Member,
    outputs: Outputs,
) -> dict[str, Any]:
    """What the page shows of a run that has been trained.

    Args:
      folder: the run's.
      settings: its config.
      result: its `result.json`.
      found: what the task collected of the test images.
      dataset: with these images.
      member: the net in float32; of an ensemble, the first member.
      outputs: the trained net's.
    """
    image = dataset.test[0][0] if len(dataset.test) else None
    task = find_task(result.get("task", "classification"))
    return {
        **run_content(folder, settings, result),
        **task.page(found, dataset),
        **attributions(task.cases(found, dataset, outputs), dataset, member),
        **network_content(member.net, member.params, image, dataset.peak, *layers_of(folder)),
    }


def run_content(
    folder: Path, settings: Config | None = None, result: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the page shows of a run from its records alone, finished or not.

    Args:
      folder: the run's.
      settings: its config; read if None.
      result: its `result.json`; read if None and there is one.

    Raises:
      DataError: if a file was altered.
      ConfigError: if the folder is no run's.
    """
    settings = settings or given_settings(folder)
    if result is None and (folder / "result.json").is_file():
        result = read_result(folder)
    lines = read_lines(folder)
    manifest = read_manifest(folder) if (folder / "manifest.json").is_file() else None
    metric = find_task((result or {}).get("task", "classification")).metric
    return {
        "name": folder.resolve().name,
        "metric": metric,
        "live": None,
        "facts": _facts(metric, result or {}, lines),
        "lines": [_numbers(line) for line in _thinned(lines)],
        "settings": _settings(settings),
        "machine": _machine(manifest, result or {}),
        "command": f"jaxconv train {shlex.quote(str(folder / 'config.toml'))}",
        "pictures": _pictures(folder),
        "layers": [],
        "measured": "",
        "totals": {"parameters": (result or {}).get("parameters", 0), "macs": 0},
    }


def _thinned(lines: list[Line]) -> list[Line]:
    """Evaluations, and of the other lines so many that there are at most `LINES`."""
    step = -(-len(lines) // LINES)
    return [line for i, line in enumerate(lines) if i % step == 0 or any(k.startswith(("test_", "val")) for k in line)]


def _numbers(line: Line) -> dict[str, float]:
    return {k: v for k, v in line.items() if isinstance(v, int | float) and np.isfinite(v)}


def _facts(metric: str, result: Mapping[str, Any], lines: list[Line]) -> list[tuple[str, str]]:
    if not result:
        last = lines[-1]["step"] if lines else 0
        return [("not finished", f"step {last:,}")]
    facts = [(f"test {metric}", f"{result[f'test_{metric}']:.2%}"), ("test loss", f"{result['test_loss']:.4f}")]
    if f"validation_{metric}" in result:
        facts.append((f"validation {metric}", f"{result[f'validation_{metric}']:.2%}"))
    return [*facts, ("steps", f"{result['steps']:,}"), ("time", f"{result['seconds']['total']:,.0f} s")]


def _settings(settings: Config) -> list[dict[str, Any]]:
    """Each key with its value and its default; those that were set have no default or another one."""
    defaults = {
        f"{section}.{key}": entry.get("default")
        for section in TABLES
        for key, entry in table(section)["properties"].items()
    }
    rows = []
    for key, value in flat(settings).items():
        value = list(value) if isinstance(value, tuple) else value
        known = key in defaults
        differs = value is not None and not (known and repr(value) == repr(defaults[key]))
        rows.append({"key": key, "value": _plain(value), "default": _plain(defaults.get(key)), "differs": differs})
    return rows


def _plain(value: Any) -> Any:
    """A value of a config as JSON has it."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    finite = isinstance(value, float) and np.isfinite(value)
    return value if finite or isinstance(value, bool | int | str | None) else str(value)


def _machine(manifest: Manifest | None, result: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: Any = manifest or {}
    rows = [(f"{name}", f"{seconds:,.1f} s") for name, seconds in result.get("seconds", {}).items()]
    if "images_per_second" in result:
        rows.append(("images per second", f"{result['images_per_second']:,.0f}"))
    device = found.get("device", {})
    rows += [(name.replace("_", " "), str(value)) for name, value in device.items()]
    rows += [(name, str(value)) for name, value in found.get("versions", {}).items()]
    given = {name: found.get(name) for name in ("started", "seed", "revision", "code")}
    rows += [(name, str(value)) for name, value in given.items() if value is not None]
    parts = found.get("data", {}).items()
    return rows + [(f"{part} data", f"{of.get('images', '')} images, {of.get('sha256', '')}") for part, of in parts]


def _pictures(folder: Path) -> list[dict[str, str]]:
    """The pictures of tasks that the page does not draw itself."""
    names = {
        "worst": "Test images of the worst predictions",
        "reconstructions": "Test images and their reconstructions",
    }
    found = {words: folder / f"{name}.png" for name, words in names.items()}
    return [{"name": words, "src": data_uri(path.read_bytes())} for words, path in found.items() if path.is_file()]


# ---------------------------------------------------------------- network


def network_content(
    net: Layer,
    params: Any,
    image: np.ndarray | None,
    peak: float,
    measured: str = "",
    times: Mapping[str, LayerRecord] = MappingProxyType({}),
) -> dict[str, Any]:
    """The layers of a net, with their kernels, and an image to draw their receptive fields on.

    Args:
      net: the net.
      params: its parameters, of a single net.
      image: [H, W, C] in 0..peak; None for no image.
      peak: the value of white.
      measured: words on the times of the layers.
      times: formulations and times by path, see `jaxconv.run.timing`.
    """
    if image is None:
        return {}
    try:
        found = summary(net, (1, *image.shape))
    except ShapeError:  # of nets for other inputs than images
        return {}
    left = [KERNELS]
    return {
        "layers": [_layer(row, params, left) | _speed(times.get(row.path)) for row in found.rows],
        "measured": measured,
        "totals": {"parameters": found.parameters, "macs": found.macs},
        "image": picture(image, peak) if image.shape[-1] in (1, 3) else None,
    }


def _layer(row: Row, params: Any, left: list[int]) -> dict[str, Any]:
    fields = [(field.unclipped, field.effective_stride, field.center) for field in row.field]
    placed = len(fields) == 2 and all(None not in field for field in fields)
    kernel = _kernel(params, row.path)
    drawn = kernel is not None and kernel.ndim == 4 and left[0] > 0
    left[0] -= drawn
    return {
        "path": row.path,
        "output": "×".join(map(str, row.output[1:])),
        "window": window(row),
        "parameters": row.parameters,
        "macs": row.macs,
        "field_size": "×".join(str(field.size) for field in row.field),
        "formula": _formula(row),
        "units": list(row.output[1:-1]) if placed else None,
        "field": [{"size": n, "stride": float(s or 0), "center": float(c or 0)} for n, s, c in fields if placed],
        "kernel": kernel_picture(kernel) if drawn else None,
    }


def _speed(found: LayerRecord | None) -> dict[str, Any]:
    """The formulations of a layer in words, forward first, and its milliseconds; empty if it was not measured."""
    if found is None:
        return {"formulation": "", "formulations": [], "forward": None, "backward": None}
    slots = {"y": "forward", "x": "input gradient", "k": "kernel gradient"}
    chosen = {slot: _IMPL.get(name, name) for slot, name in found["formulations"].items()}
    return {
        "formulation": chosen.get("y", "XLA"),
        "formulations": [f"{words} {chosen[slot]}" for slot, words in slots.items() if slot in chosen],
        "forward": found.get("forward_ms"),
        "backward": found.get("backward_ms"),
    }


def _kernel(params: Any, path: str) -> np.ndarray | None:
    for part in path.split("#")[0].split("/"):
        params = params.get(part) if isinstance(params, Mapping) else None
    kernel = params.get("kernel") if isinstance(params, Mapping) else None
    return None if kernel is None else np.asarray(kernel, np.float32)


def _formula(row: Row) -> list[str]:
    """The output-size formula with the layer's numbers, a line for each different axis."""
    if row.transposed or not row.size:
        return [f"output {'×'.join(map(str, row.output[1:]))}"]
    lines = [
        f"out = floor((n + {lo} + {hi} - {d}*({k} - 1) - 1) / {s}) + 1 = {out}"
        for k, s, (lo, hi), d, out in zip(row.size, row.stride, row.padding, row.dilation, row.output[1:], strict=False)
    ]
    return list(dict.fromkeys(lines))
