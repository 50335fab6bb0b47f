"""JSON files of a run: `result.json`, `manifest.json` and `metrics.jsonl`, validated when they are read."""

from __future__ import annotations

import json
import math
import reprlib
from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic accepts typing's from Python 3.12 on

from jaxconv._base.arguments import must
from jaxconv._base.errors import DataError, not_one_of
from jaxconv._base.files import write_atomically
from jaxconv.data.decode import Interpolation
from jaxconv.run.tasks import tasks

__all__ = [
    "Inputs",
    "LayerRecord",
    "LayerTimes",
    "Line",
    "Manifest",
    "Result",
    "check_folders",
    "json_bytes",
    "json_text",
    "read_ids",
    "read_layer_times",
    "read_lines",
    "read_manifest",
    "read_result",
    "write_json",
]

_OPEN = ConfigDict(extra="allow")
Count = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(gt=0, lt=2**63)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[FiniteFloat, Field(ge=0)]


class Line(TypedDict):
    """A line of `metrics.jsonl`: training metrics since the last line, or an evaluation. Other keys are allowed."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    step: Positive
    loss: NotRequired[FiniteFloat | None]
    accuracy: NotRequired[Share | None]
    images_per_second: NotRequired[FiniteFloat | None]
    waiting: NotRequired[FiniteFloat | None]
    learning_rate: NotRequired[FiniteFloat | None]
    gradient_norm: NotRequired[float | None]
    weight_norms: NotRequired[dict[str, float | None]]
    test_loss: NotRequired[FiniteFloat | None]
    test_accuracy: NotRequired[Share]
    test_top5: NotRequired[Share]
    validation_loss: NotRequired[FiniteFloat | None]
    validation_accuracy: NotRequired[Share]


class Times(TypedDict):
    """Wall time of a run in seconds."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    total: Seconds
    training: NotRequired[Seconds]
    waiting: NotRequired[Seconds]
    compiling: NotRequired[Seconds]
    evaluating: NotRequired[Seconds]


class Inputs(TypedDict):
    """Preprocessing and classes of the images that a net was trained on, see `jaxconv.run.predict.Input`."""

    shape: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    peak: Annotated[FiniteFloat, Field(gt=0)]
    mean: list[FiniteFloat]
    std: list[Annotated[FiniteFloat, Field(gt=0)]]
    classes: Annotated[list[str], Field(min_length=1)]
    photographs: NotRequired[bool]
    shorter: NotRequired[Positive | None]
    interpolation: NotRequired[Interpolation]


def _by_channel(found: Inputs) -> Inputs:
    channels = found["shape"][2]
    if not len(found["mean"]) == len(found["std"]) == channels:
        raise ValueError(f"mean and std must have {channels} entries, one for each channel")
    return found


class Result(TypedDict):
    """`result.json`. Other keys are allowed."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    test_loss: FiniteFloat
    steps: Positive
    seconds: Times
    input: Annotated[Inputs, AfterValidator(_by_channel)]
    task: NotRequired[str]
    test_accuracy: NotRequired[Share]
    test_vote_accuracy: NotRequired[Share]
    test_member_accuracies: NotRequired[list[Share]]
    validation_accuracy: NotRequired[Share]
    temperature: NotRequired[Annotated[FiniteFloat, Field(gt=0)]]


class Resumed(TypedDict):
    """Manifest entry of one resumption: its step, and what differs from the start of the run."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    step: Count
    versions: NotRequired[dict[str, str]]
    code: NotRequired[str]


class Schedule(TypedDict):
    """`[optim.schedule]` of a run: as it was given, and with every value resolved."""

    given: dict[str, Any]
    resolved: dict[str, Any]


class Manifest(TypedDict):
    """`manifest.json`. Other keys are allowed."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    data: dict[str, dict[str, Any]]
    versions: dict[str, str]
    code: NotRequired[str]
    schedule: NotRequired[Schedule]
    resumed: NotRequired[list[Resumed]]


class LayerRecord(TypedDict):
    """Measurements of one layer, see `jaxconv.analysis.layer_times.LayerTime`."""

    path: str
    formulations: dict[str, str]
    forward_ms: NotRequired[Seconds]
    backward_ms: NotRequired[Seconds]


class LayerTimes(TypedDict):
    """`layers.json`: images of the batch, the device, and each layer in execution order."""

    batch: Positive
    device: str
    layers: list[LayerRecord]


_LINE, _MANIFEST, _RESULT = TypeAdapter(Line), TypeAdapter(Manifest), TypeAdapter(Result)
_NAMES = TypeAdapter(dict[str, str])
_LAYERS = TypeAdapter(LayerTimes)


def read_result(folder: Path) -> Result:
    """Read a run's `result.json`.

    Raises:
      DataError: if it is no such record.
      OSError: if it cannot be read.
    """
    path = folder / "result.json"
    found: Result = _read(path, _RESULT)
    task = found.get("task", "classification")
    if task not in tasks or f"test_{tasks[task].metric}" not in found:
        problem = f"test_{tasks[task].metric} is missing" if task in tasks else not_one_of("task", task, tasks)
        raise DataError(f"{path} was altered: {problem}")
    return found


def read_manifest(folder: Path) -> Manifest:
    """Read a run's `manifest.json`.

    Raises:
      DataError: if it is no such record.
      OSError: if it cannot be read.
    """
    return _read(folder / "manifest.json", _MANIFEST)


def _read(path: Path, adapter: TypeAdapter[Any]) -> Any:
    return _parsed(adapter, path.read_bytes(), f"{path} was altered")


def read_lines(folder: Path) -> list[Line]:
    """Read a run's `metrics.jsonl` without a last line that a kill truncated. Empty if there is no file.

    Raises:
      DataError: if a line is no such record.
      OSError: if the file cannot be read.
    """
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    found: list[Line] = []
    lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    for number, content in enumerate(lines if lines != [b""] else [], 1):
        try:
            found.append(_parsed(_LINE, content, f"{path} was altered: line {number}"))
        except DataError as error:
            # A truncated object is not JSON.
            if number < len(lines) or not _is_truncated(error):
                raise
    return found


def read_ids(path: Path) -> dict[str, str]:
    """Read the names of a run at its trackers; empty if there is no file."""
    return _read(path, _NAMES) if path.exists() else {}


def read_layer_times(path: Path) -> LayerTimes | None:
    """Read a run's `layers.json`; None if there is no file.

    Raises:
      DataError: if it is no such record.
    """
    return _read(path, _LAYERS) if path.exists() else None


def check_folders(folder: Path) -> None:
    """Raise DataError if a file has the name of one of a run's folders."""
    for name in ("checkpoints", "events"):
        path = folder / name
        if path.exists() and not path.is_dir():
            raise DataError(f"{path} must be a folder, got a file; move it away and resume the run again")


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON; NaN and infinity, which JSON lacks, become null.

    Args:
      value: of dicts, lists, strings and numbers, NumPy's included.
      indent: as in `json.dumps`.

    >>> json_text({"a": [float("nan"), 1.5], "b": np.float32(2)})
    '{"a": [null, 1.5], "b": 2.0}'
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Write an indented JSON file atomically."""
    write_atomically(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """Content of an indented JSON file."""
    return (json_text(value, indent=2) + "\n").encode()


def _parsed(adapter: TypeAdapter[Any], content: bytes, where: str) -> Any:
    try:
        return adapter.validate_json(content, strict=True)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise DataError(f"{where}: {_words(problem)}") from error


def _words(problem: Any) -> str:
    if problem["type"] == "json_invalid":
        return problem["msg"].replace("Invalid JSON", "is not JSON")
    if problem["type"] == "missing":
        return f"{'.'.join(map(str, problem['loc']))} is missing"
    place = f"{'.'.join(map(str, problem['loc']))} " if problem["loc"] else ""
    what = must(problem).removeprefix("Value error, ").replace("must be a table", "must be an object")
    what = what.replace("List should have", "must have")
    return f"{place}{what}, got {reprlib.repr(problem['input'])}"


def _is_truncated(error: DataError) -> bool:
    cause = error.__cause__
    return isinstance(cause, ValidationError) and cause.errors()[0]["type"] == "json_invalid"
