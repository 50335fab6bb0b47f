"""Recorder of a run's events: `metrics.jsonl` and the config's writers."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxconv._base.files import WriteError, write_atomically, writing
from jaxconv.run.config import Config
from jaxconv.run.records import json_text, read_lines
from jaxconv.run.writers import open_writers
from jaxconv.training.progress import Evaluation, Progress

__all__ = ["Recorder", "Report"]

Report = Callable[[Any], None]


class Recorder:
    """Write events to `metrics.jsonl` and the config's writers at once, and pass them on.

    Args:
      folder: the run's.
      report: called with each event after it is written.
      rate: `step -> learning rate`.
      since: step that the run resumes from, or 0; metrics of later steps are dropped.
      part: "validation" or "test", the images of evaluations.
      settings: the config.
    """

    def __init__(
        self, folder: Path, report: Report, rate: Callable[[int], float], since: int, part: str, settings: Config
    ) -> None:
        before = [line for line in read_lines(folder) if line["step"] <= since]
        self._path = folder / "metrics.jsonl"
        write_atomically(self._path, "".join(json_text(line) + "\n" for line in before).encode())
        with writing(self._path):
            self._metrics = open(self._path, "a", encoding="utf-8")  # noqa: SIM115
        self._writers = open_writers(settings, folder, since, report)
        self._report, self._rate, self._part = report, rate, part

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            with writing(self._path):
                self._metrics.close()
            for writer in self._writers:
                writer.close(finished=error is None)
        except WriteError:  # the first error says more
            if error is None:
                raise

    def __call__(self, event: Any) -> None:
        if isinstance(event, Progress):
            line = dataclasses.asdict(event)
            del line["steps"], line["seconds_left"]
            for name in ("gradient_norm", "weight_norms"):
                if not line[name]:
                    del line[name]
            if event.accuracy is None:
                del line["accuracy"]
            self._write(line | {"learning_rate": float(self._rate(event.step - 1))}, "train")
        elif isinstance(event, Evaluation):
            found = {"loss": event.found.loss, event.found.metric: event.found.value, **event.found.more}
            self._write(
                {"step": event.step} | {f"{self._part}_{name}": value for name, value in found.items()}, self._part
            )
        self._report(event)

    def _write(self, line: dict[str, Any], part: str) -> None:
        with writing(self._path):
            # Fail now if the folder was deleted or moved, not at the end of the run.
            if not os.path.samestat(os.stat(self._path), os.fstat(self._metrics.fileno())):
                raise FileNotFoundError(errno.ENOENT, "it was replaced during the run")
            self._metrics.write(json_text(line) + "\n")
            self._metrics.flush()  # for readers of the file, and in case of a kill
        numbers = {name.removeprefix(f"{part}_"): value for name, value in line.items() if isinstance(value, float)}
        norms = {f"weight_norm/{name}": value for name, value in line.get("weight_norms", {}).items()}
        scalars = {f"{part}/{name}": value for name, value in numbers.items()} | norms
        for writer in self._writers:
            writer.scalars(line["step"], scalars)
