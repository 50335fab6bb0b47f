"""Possible label errors: images whose labels a trained net contradicts with confidence."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv.data import Dataset
from jaxconv.data.encoded import some_of
from jaxconv.data.inspection import image_name
from jaxconv.run.finished import Run
from jaxconv.training.evaluation import Answers

__all__ = ["Suspect", "confident_errors", "suspects"]


@dataclasses.dataclass(frozen=True)
class Suspect:
    """An image whose label may be wrong.

    Args:
      part: "train" or "test".
      index: of the image in its part.
      name: its file, or part and index.
      label: its class.
      answer: the class that the net predicts.
      confidence: probability of the predicted class.
      probability: probability of the label.
    """

    part: str
    index: int
    name: str
    label: str
    answer: str
    confidence: float
    probability: float


def suspects(run: Run, dataset: Dataset[Any]) -> list[Suspect]:
    """The images of a dataset whose labels a run's net contradicts with confidence, the most certain first.

    A net that has fitted its training images agrees with their labels, wrong ones too: look at test images, or train on
    one half and inspect the other.

    Args:
      run: a finished run of a classifier.
      dataset: the run's, or another one of the same classes.

    Raises:
      ConfigError: if the run is no classifier, or of other classes.
    """
    if run.task_name != "classification":
        raise ConfigError(f"labels are checked by a classifier; {run.folder} is for {run.task_name}")
    if tuple(run.input.classes) != dataset.classes:
        names = some_of([name for name in run.input.classes if name not in dataset.classes], 3)
        raise ConfigError(
            f"{run.folder} must be of the dataset's {len(dataset.classes)} classes, in their order; "
            f"got {len(run.input.classes)}{names and f', such as {names}'}"
        )
    found = []
    for part in ("test", "train"):
        source = getattr(dataset, part)
        numbers, collected = run.predictions(source, len(dataset.classes))
        answers: Answers = collected.together
        for row in confident_errors(answers, len(dataset.classes)):
            index = int(numbers[row])
            found.append(
                Suspect(
                    part,
                    index,
                    image_name(source, part, index),
                    dataset.classes[answers.label[row]],
                    dataset.classes[answers.answer[row]],
                    float(answers.confidence[row]),
                    float(np.exp(-answers.loss[row])),
                )
            )
    return sorted(found, key=lambda suspect: suspect.probability - suspect.confidence)


def confident_errors(answers: Answers, classes: int) -> np.ndarray:
    """Rows of the predictions that contradict their labels with confidence, the most certain first.

    Confident is what is at least as probable as the labels of that class are on average. Source: Northcutt et al.,
    Confident Learning: Estimating Uncertainty in Dataset Labels, 2021, equation 2.

    Args:
      answers: of N images, of a single net or of an ensemble's mean.
      classes: number of classes.

    Returns:
      int [K].
    """
    own = np.exp(-answers.loss.astype(np.float64))
    counts = np.bincount(answers.label, minlength=classes)
    usual = np.bincount(answers.label, weights=own, minlength=classes) / np.maximum(counts, 1)
    wrong = (answers.answer != answers.label) & (answers.confidence >= usual[answers.answer])
    rows = np.flatnonzero(wrong & (counts[answers.answer] > 0))
    return rows[np.argsort(own[rows] - answers.confidence[rows], kind="stable")]
