"""The record of a task: everything in a run that depends on what its net is trained for."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from jaxconv._base.types import Array, ParamsLike, State
from jaxconv.data import Batch, Dataset
from jaxconv.layers.layer import Layer
from jaxconv.training.ensemble import Members
from jaxconv.training.evaluation import EvalStep
from jaxconv.training.progress import Score
from jaxconv.training.step import Loss, Prepare, Sums
from jaxconv.training.tta import Views

__all__ = [
    "Case",
    "MakeEvalStep",
    "MakePredict",
    "Output",
    "Outputs",
    "Prediction",
    "Shown",
    "Task",
    "Units",
    "csv_table",
]

Outputs = Callable[[np.ndarray], np.ndarray]
"""The trained net: images [N, H, W, C] in the data's units -> predictions [N, …]."""
Results = Sequence[dict[str, np.ndarray]]


class Output(NamedTuple):
    """What a net must return.

    Args:
      words: what it is, for messages.
      shape: of one image.
      more: whether the last axis may be longer.
    """

    words: str
    shape: tuple[int, ...]
    more: bool = False


class Prediction(NamedTuple):
    """What a run predicts, for exported files.

    Args:
      name: of the array.
      meaning: of its numbers.
    """

    name: str
    meaning: str


@dataclasses.dataclass(frozen=True)
class Shown:
    """A prediction as `jaxconv predict` shows it.

    Args:
      lines: names and values to print.
      files: content of each PNG file to write, by the end of its name.
    """

    lines: list[tuple[str, str]]
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


class Case(NamedTuple):
    """A test image whose prediction the run's page explains.

    Args:
      image: index of the image.
      label: index of the class, label or target whose score is explained.
      words: caption.
      where: bool [H, W], the pixels of a segmentation whose scores are summed; None for a score of the image.
    """

    image: int
    label: int
    words: str
    where: np.ndarray | None = None


def csv_table(rows: Iterable[Sequence[Any]]) -> bytes:
    """The content of a CSV file.

    >>> csv_table([["class", "images"], ["cat", 3]])
    b'class,images\\ncat,3\\n'
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


class Units(Protocol):
    """The units of images, and the names of classes or targets: a `Dataset`, or a `jaxconv.run.predict.Input`."""

    @property
    def peak(self) -> float: ...

    @property
    def mean(self) -> tuple[float, ...]: ...

    @property
    def std(self) -> tuple[float, ...]: ...

    @property
    def classes(self) -> tuple[str, ...]: ...


class MakePredict(Protocol):
    """Makes the pure function `(params, state, images) -> predictions`; of an ensemble, those of its mean."""

    def __call__(
        self,
        net: Layer,
        prepare: Prepare | None = None,
        views: Views | None = None,
        *,
        members: Members = False,
        temperature: float = 1.0,
    ) -> Callable[[ParamsLike, State, Array], jax.Array]: ...


class MakeEvalStep(Protocol):
    """Makes the pure function that evaluates a batch, see `jaxconv.training.evaluation.results`."""

    def __call__(
        self,
        net: Layer,
        prepare: Prepare | None = None,
        *,
        members: Members = False,
        views: Views | None = None,
        temperature: float = 1.0,
    ) -> EvalStep: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """What a net is trained for.

    Args:
      metric: name of the metric by which runs are compared: a share that is to increase, 1 at best.
      output: what the net must return for a dataset.
      loss: from a loss function of the config, with its arguments, to the loss of a step.
      sums: what else a training step measures.
      targets: `prepared batch -> targets`; the batch's labels if None.
      make_predict: see `MakePredict`.
      prediction: what it predicts.
      make_eval_step: see `MakeEvalStep`.
      collect: from the results of all batches to what `score` and `pictures` take.
      score: `(collected, class names) -> score`, each image of the set counted exactly once.
      details: what of a score's further metrics a command prints, by name.
      pictures: `(collected, dataset, outputs) -> {file name: () -> content}`, what a run leaves in its folder.
      show: `(prediction, image, its units, number of lines) -> what to show`, of one image.
      words: `(label, class names) -> name of a label in captions`.
      page: `(collected, dataset) -> ` what the run's page shows of the predictions, see `jaxconv/viz/page/page.js`.
      cases: `(collected, dataset, outputs) -> ` the worst predictions, which the page explains.
      dense: whether predictions have the layout of the image, of which none may then be cropped away.
      refuses: config keys that must not be set, with the reason.
    """

    metric: str
    output: Callable[[Dataset[Any]], Output]
    loss: Callable[[Loss], Loss]
    sums: Sums
    targets: Callable[[Batch], Any] | None = None
    make_predict: MakePredict
    prediction: Prediction
    make_eval_step: MakeEvalStep
    collect: Callable[[Results], Any]
    score: Callable[[Any, Sequence[str]], Score]
    details: Callable[[Mapping[str, Any]], dict[str, str]]
    pictures: Callable[[Any, Dataset[Any], Outputs], dict[str, Callable[[], bytes]]]
    show: Callable[[np.ndarray, np.ndarray, Units, int], Shown]
    words: Callable[[Any, Sequence[str]], str]
    page: Callable[[Any, Dataset[Any]], dict[str, Any]] = lambda found, dataset: {}
    cases: Callable[[Any, Dataset[Any], Outputs], list[Case]] = lambda found, dataset, outputs: []
    dense: bool = False
    refuses: Mapping[str, str] = dataclasses.field(default_factory=dict)
