"""Typed records of a run's files: `result.json`, `manifest.json` and `metrics.jsonl`, validated when they are read."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from jaxconv._base.arguments import must
from jaxconv._base.errors import DataError

__all__ = ["Inputs", "Line", "Manifest", "Result", "check_folders", "read_lines", "read_manifest", "read_result"]

_OPEN = ConfigDict(extra="allow")
Count = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(gt=0, lt=2**63)]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[FiniteFloat, Field(ge=0)]


class Line(TypedDict):
    """A line of `metrics.jsonl`: training metrics since the last line, or an evaluation. Other keys are kept."""

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
    """Seconds that a run took."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    total: Seconds
    training: NotRequired[Seconds]
    waiting: NotRequired[Seconds]
    compiling: NotRequired[Seconds]


class Inputs(TypedDict):
    """Preprocessing and classes of the images that a net was trained on, as `jaxconv.run.predict.Input` has them."""

    shape: Annotated[list[Positive], Field(min_length=3, max_length=3)]
    peak: Annotated[FiniteFloat, Field(gt=0)]
    mean: list[FiniteFloat]
    std: list[Annotated[FiniteFloat, Field(gt=0)]]
    classes: Annotated[list[str], Field(min_length=1)]
    photographs: NotRequired[bool]
    shorter: NotRequired[Positive | None]


def _by_channel(found: Inputs) -> Inputs:
    channels = found["shape"][2]
    if not len(found["mean"]) == len(found["std"]) == channels:
        raise ValueError(f"mean and std must have {channels} entries, one for each channel")
    return found


class Result(TypedDict):
    """`result.json`. Other keys are kept."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    test_accuracy: Share
    test_loss: FiniteFloat
    steps: Positive
    seconds: Times
    input: Annotated[Inputs, AfterValidator(_by_channel)]
    test_vote_accuracy: NotRequired[Share]
    test_member_accuracies: NotRequired[list[Share]]
    validation_accuracy: NotRequired[Share]


class Resumed(TypedDict):
    """An entry of a manifest for each time that the run was resumed, with what had changed since it started."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    step: Count
    versions: NotRequired[dict[str, str]]
    code: NotRequired[str]


class Manifest(TypedDict):
    """`manifest.json`. Other keys are kept."""

    __pydantic_config__ = _OPEN  # type: ignore[misc]
    data: dict[str, dict[str, Any]]
    versions: dict[str, str]
    code: NotRequired[str]
    resumed: NotRequired[list[Resumed]]


_LINE, _MANIFEST, _RESULT = TypeAdapter(Line), TypeAdapter(Manifest), TypeAdapter(Result)


def read_result(folder: Path) -> Result:
    """Read a run's `result.json`.

    Raises:
      DataError: it is no such record.
      OSError: it cannot be read.
    """
    path = folder / "result.json"
    return _parsed(_RESULT, path.read_bytes(), f"{path} was altered")


def read_manifest(folder: Path) -> Manifest:
    """Read a run's `manifest.json`.

    Raises:
      DataError: it is no such record.
      OSError: it cannot be read.
    """
    path = folder / "manifest.json"
    return _parsed(_MANIFEST, path.read_bytes(), f"{path} was altered")


def read_lines(folder: Path) -> list[Line]:
    """Read a run's `metrics.jsonl`; a last line that was cut off by a kill is left out. Empty if there is no file.

    Raises:
      DataError: a line is no such record.
      OSError: it cannot be read.
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
            # The beginning of an object is not JSON.
            if number < len(lines) or not _is_cut_off(error):
                raise
    return found


def check_folders(folder: Path) -> None:
    """Raise DataError if something else is where a run has its folders."""
    for name in ("checkpoints", "events"):
        path = folder / name
        if path.exists() and not path.is_dir():
            raise DataError(f"{path} must be a folder, and is a file; move it away, and resume the run again")


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


def _is_cut_off(error: DataError) -> bool:
    cause = error.__cause__
    return isinstance(cause, ValidationError) and cause.errors()[0]["type"] == "json_invalid"
