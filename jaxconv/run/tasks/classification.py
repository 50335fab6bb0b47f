"""Classification: one class for each image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxconv.data import Dataset
from jaxconv.run.tasks.record import Case, Output, Outputs, Prediction, Shown, Task, Units, csv_table
from jaxconv.training.evaluation import Answers, answers, make_eval_step, make_log_probabilities
from jaxconv.training.metrics import calibration_gap
from jaxconv.training.progress import Score
from jaxconv.training.step import CLASSIFICATION
from jaxconv.viz import training as pictures
from jaxconv.viz.page import sprite

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["classification", "confusion_table"]

WORST = 24
EXAMPLES = 300  # images on a run's page
MISTAKES = 36  # of which it shows at once
CASES = 12  # of which predictions are explained
_TABLE = 2000  # most classes for a full confusion matrix, whose cells grow with their square


def _score(found: Answers, classes: Sequence[str]) -> Score:
    """Loss and accuracy of answers; an ensemble's are those of its mean probability."""
    together = found.together
    more: dict[str, Any] = {"top5": together.top(5)} if len(classes) > 5 else {}
    more["calibration_error"] = float(calibration_gap(together.confidence, together.rank == 0))
    if found.vote_accuracy is not None:
        more["vote_accuracy"] = found.vote_accuracy
        more["member_accuracies"] = [float(share) for share in (found.rank == 0).mean(-1)]
    return Score(together.mean_loss, together.accuracy, more)


def _details(more: Mapping[str, Any]) -> dict[str, str]:
    shares = more.get("member_accuracies", [])
    members = {"members": " ".join(f"{share:.2%}" for share in shares)} if shares else {}
    return ({"by vote": f"{more['vote_accuracy']:.2%}"} if "vote_accuracy" in more else {}) | members


def _pictures(found: Answers, dataset: Dataset[Any], outputs: Outputs) -> dict[str, Callable[[], bytes]]:
    """The confusion matrix and the most confident mistakes."""
    together, classes = found.together, dataset.classes

    def confusion() -> bytes:
        return pictures.png(pictures.confusion(together.confusion(len(classes)), classes))

    drawn = {"confusion.png": confusion} if len(classes) <= _TABLE else {}
    return {
        "confusion.csv": lambda: confusion_table(together, classes),
        **drawn,
        "mistakes.png": lambda: pictures.png(_mistakes(dataset, together)),
    }


def confusion_table(found: Answers, classes: Sequence[str]) -> bytes:
    """The confusion matrix as CSV: a row for each class; with very many classes, for each nonzero cell."""
    if len(classes) > _TABLE:
        cells = ([classes[row], classes[column], n] for row, column, n in _cells(found))
        rows: list[list[Any]] = [["truth", "answer", "images"], *cells]
    else:
        matrix = found.confusion(len(classes)).tolist()
        rows = [["", *classes], *([name, *row] for name, row in zip(classes, matrix, strict=True))]
    return csv_table(rows)


def _cells(found: Answers) -> list[list[int]]:
    """The nonzero cells of the confusion matrix: true class, answer, number of images."""
    pairs, counts = np.unique(np.stack([found.label, found.answer]), axis=1, return_counts=True)
    return [[*pair, count] for pair, count in zip(pairs.T.tolist(), counts.tolist(), strict=True)]


def _surest(found: Answers, most: int) -> np.ndarray:
    """Indices of the misclassified images of the highest confidence."""
    wrong = np.flatnonzero(found.rank > 0)
    return wrong[np.argsort(-found.confidence[wrong], kind="stable")][:most]


def _mistakes(dataset: Dataset[Any], found: Answers) -> Figure:
    """The misclassified images of the highest confidence."""
    worst = _surest(found, WORST)
    images = np.stack([dataset.test[int(number)][0] for number in worst]) if len(worst) else np.zeros([0, 1, 1, 1])
    shown = found.label[worst], found.answer[worst], found.confidence[worst]
    return pictures.mistakes(images, *shown, dataset.classes, peak=dataset.peak)


def _page(found: Answers, dataset: Dataset[Any]) -> dict[str, Any]:
    """Counts of the confusion matrix, examples of its cells, and the accuracy by confidence."""
    together, classes = found.together, dataset.classes
    chosen = _examples(together)
    right = together.rank == 0
    edges = np.linspace(0, 1, 11)
    place = np.clip(np.digitize(together.confidence, edges) - 1, 0, 9)
    bins = [
        {"low": float(edges[b]), "high": float(edges[b + 1]), "accuracy": float(right[place == b].mean()),
         "count": int((place == b).sum())}
        for b in np.unique(place)
    ]  # fmt: skip
    content = {
        "classes": list(classes),
        "pairs": _cells(together),
        "examples": [
            [int(together.label[i]), int(together.answer[i]), round(float(together.confidence[i]), 4)] for i in chosen
        ],
        "sprite": sprite([dataset.test[int(i)][0] for i in chosen], dataset.peak),
        "count": len(together.label),
        "wrong": int((~right).sum()),
        "bins": bins,
        "calibration_error": float(calibration_gap(together.confidence, right)) if len(right) else 0.0,
    }
    return {"classification": content}


def _cases(found: Answers, dataset: Dataset[Any], outputs: Outputs) -> list[Case]:
    """The surest mistakes, by the class that was answered."""
    together, names = found.together, dataset.classes
    return [
        Case(
            int(i),
            int(together.answer[i]),
            f"{names[together.label[i]]} → {names[together.answer[i]]}, {100 * together.confidence[i]:.0f} %",
        )
        for i in _surest(together, CASES)
    ]


def _examples(found: Answers) -> list[int]:
    """The surest mistakes, then images of as many cells of the confusion matrix as possible, of each the surest mistake
    or the least sure right answer."""
    first, wrong = _surest(found, MISTAKES).tolist(), found.rank > 0
    order = np.lexsort((np.where(wrong, -found.confidence, found.confidence), ~wrong))
    seen: dict[tuple[int, int], int] = {}
    turns = []
    for i in order.tolist():
        cell = int(found.label[i]), int(found.answer[i])
        seen[cell] = seen.get(cell, -1) + 1
        turns.append((seen[cell], not wrong[i], i))
    rest = [i for _, _, i in sorted(turns, key=lambda turn: turn[:2]) if i not in first]
    return [*first, *rest][:EXAMPLES]


def _show(log_p: np.ndarray, image: np.ndarray, units: Units, most: int) -> Shown:
    """The most probable classes."""
    order = (-log_p).argsort(kind="stable")[:most]
    return Shown([(units.classes[i], f"{np.exp(log_p[i]):.1%}") for i in order])


classification = Task(
    metric="accuracy",
    output=lambda dataset: Output("a logit for each class", (len(dataset.classes),), more=True),
    loss=lambda loss: loss,
    sums=CLASSIFICATION,
    make_predict=make_log_probabilities,
    prediction=Prediction("log_probabilities", "log-probability of each class"),
    make_eval_step=make_eval_step,
    collect=answers,
    score=_score,
    details=_details,
    pictures=_pictures,
    show=_show,
    words=lambda label, classes: classes[int(label)],
    page=_page,
    cases=_cases,
    refuses={
        "tta.scales": "which has one class for each image, not one for each pixel",
        "tta.window": "which has one class for each image, not one for each pixel",
    },
)
