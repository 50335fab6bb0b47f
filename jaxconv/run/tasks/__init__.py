"""Tasks that a net can be trained for, by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxconv._base.errors import ConfigError, not_one_of
from jaxconv.data import Dataset
from jaxconv.run.config import SECTIONS, Config
from jaxconv.run.tasks.classification import classification
from jaxconv.run.tasks.multilabel import multilabel
from jaxconv.run.tasks.record import Case, Output, Outputs, Shown, Task
from jaxconv.run.tasks.regression import reconstruction, regression
from jaxconv.run.tasks.segmentation import segmentation

__all__ = [
    "Case",
    "Output",
    "Outputs",
    "Shown",
    "Task",
    "check_task",
    "find_task",
    "headline",
    "task_name",
    "tasks",
]

tasks: dict[str, Task] = {
    "classification": classification,
    "multilabel": multilabel,
    "segmentation": segmentation,
    "regression": regression,
    "reconstruction": reconstruction,
}
"""The tasks by the names that a config gives them."""


def task_name(settings: Config, dataset: Dataset[Any]) -> str:
    """Name of a run's task: the config's, else the one that the dataset's labels are for."""
    return settings.task.name or dataset.task


def find_task(name: str) -> Task:
    """The task of a name.

    Raises:
      ConfigError: if there is none.
    """
    if name not in tasks:
        raise ConfigError(not_one_of("task.name", name, tasks))
    return tasks[name]


def check_task(settings: Config, name: str) -> None:
    """Raise ConfigError if a config sets a key that its task has no use for."""
    for key, reason in find_task(name).refuses.items():
        section, _, own = key.partition(".")
        if section in SECTIONS:
            value = getattr(getattr(settings, section), own)
            fields = {field.name: field for field in dataclasses.fields(SECTIONS[section])}
            unset = value == fields[own].default
        else:
            value = getattr(settings, section).get(own, False)
            unset = value is False
        if not unset:
            raise ConfigError(f"{key} must be unset for the task {name}, {reason}; got {value!r}")


def headline(record: Mapping[str, Any], part: str = "test") -> tuple[str, float] | None:
    """Name and value of the metric by which runs are compared; None if it was not measured.

    Args:
      record: the content of a `result.json`, or a line of a `metrics.jsonl`.
      part: "test" or "validation".
    """
    names = [task.metric for name, task in tasks.items() if name == record.get("task", name)]
    return next(((name, record[f"{part}_{name}"]) for name in names if f"{part}_{name}" in record), None)
