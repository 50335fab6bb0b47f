"""Multi-label classification: any number of labels for each image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxconv.data import Dataset
from jaxconv.run.tasks.record import Case, Output, Outputs, Prediction, Shown, Task, Units, csv_table
from jaxconv.training.multilabel import (
    LABELS,
    Labels,
    labels,
    make_label_eval_step,
    make_label_log_probabilities,
)
from jaxconv.training.progress import Score
from jaxconv.viz import training as pictures

__all__ = ["multilabel"]

WORST = 24
CASES = 8  # of which predictions are explained
_LABEL = "ap/"
_NAMED = 30  # most labels whose average precision a command prints


def _score(found: Labels, names: Sequence[str]) -> Score:
    """Mean binary cross-entropy and mean average precision, over the labels that occur."""
    each = {f"{_LABEL}{name}": float(ap) for name, ap in zip(names, found.average_precision, strict=True) if ap == ap}
    f1 = found.f1[~np.isnan(found.f1)]
    more = {"f1_micro": found.micro_f1, "f1_macro": float(f1.mean()) if len(f1) else 0.0, "exact_match": found.exact}
    return Score(found.mean_loss, float(np.mean(list(each.values()))) if each else 0.0, more | each, "map")


def _details(more: Mapping[str, Any]) -> dict[str, str]:
    each = {f"  {name.removeprefix(_LABEL)}": f"{v:.2%}" for name, v in more.items() if name.startswith(_LABEL)}
    whole = ("f1_micro", "f1_macro", "exact_match")
    return (each if len(each) <= _NAMED else {}) | {
        name.replace("_", " "): f"{more[name]:.2%}" for name in whole if name in more
    }


def _words(label: Any, names: Sequence[str]) -> str:
    """The names of the labels that are present."""
    return ", ".join(name for name, present in zip(names, np.asarray(label), strict=True) if present > 0.5) or "none"


def _pictures(found: Labels, dataset: Dataset[Any], outputs: Outputs) -> dict[str, Callable[[], bytes]]:
    """The table of labels, and the images of the largest loss."""

    def worst() -> bytes:
        order = np.argsort(-found.loss, kind="stable")[:WORST]
        pairs = [(_words(found.label[k], dataset.classes), _words(found.predicted[k], dataset.classes)) for k in order]
        images = np.stack([dataset.test[int(k)][0] for k in order])
        title = f"truth → answer, the {len(order)} of {len(found.loss):,} images of the largest loss"
        return pictures.png(pictures.gallery(images, [f"{a}\n→ {b}" for a, b in pairs], title, peak=dataset.peak))

    return {"labels.csv": lambda: _label_table(found, dataset.classes), "worst.png": worst}


def _cases(found: Labels, dataset: Dataset[Any], outputs: Outputs) -> list[Case]:
    """The images of the largest loss, each by the label whose probability is furthest from the truth."""
    names, cases = dataset.classes, []
    for k in np.argsort(-found.loss, kind="stable")[:CASES]:
        p = np.exp(found.log_p[k])
        label = int(np.abs(found.label[k] - p).argmax())
        truth, answer = (_words(each[k], names) for each in (found.label, found.predicted))
        cases.append(Case(int(k), label, f"{truth} → {answer}; {names[label]} {100 * p[label]:.0f} %"))
    return cases


def _label_table(found: Labels, names: Sequence[str]) -> bytes:
    """Images, predictions, average precision, F1, recall and precision of each label; empty where there are none."""
    images, predicted = (found.label > 0).sum(0), found.predicted.sum(0)
    shares = [found.hits / np.where(count > 0, count, np.nan) for count in (images, predicted)]
    columns = found.average_precision, found.f1, *shares
    rows: list[list[Any]] = [["label", "images", "predicted", "average_precision", "f1", "recall", "precision"]]
    for k, name in enumerate(names):
        values = ["" if np.isnan(column[k]) else f"{column[k]:.6f}" for column in columns]
        rows.append([name, int(images[k]), int(predicted[k]), *values])
    return csv_table(rows)


def _show(log_p: np.ndarray, image: np.ndarray, units: Units, most: int) -> Shown:
    """The labels above one half, or the most probable one with its probability if there is none."""
    p = np.exp(log_p)
    order = [k for k in np.argsort(-p, kind="stable")[:most] if p[k] > 0.5]
    if not order:
        return Shown([("no label", f"the most probable is {units.classes[p.argmax()]} with {p.max():.1%}")])
    return Shown([(units.classes[k], f"{p[k]:.1%}") for k in order])


_SEVERAL = "which has several labels for each image, not one class"
multilabel = Task(
    metric="map",
    output=lambda dataset: Output("a logit for each label", (len(dataset.classes),)),
    loss=lambda loss: loss,
    sums=LABELS,
    make_predict=make_label_log_probabilities,
    prediction=Prediction("log_probabilities", "log-probability that each label is present"),
    make_eval_step=make_label_eval_step,
    collect=labels,
    score=_score,
    details=_details,
    pictures=_pictures,
    show=_show,
    words=_words,
    cases=_cases,
    refuses={
        "train.sampling": _SEVERAL,
        "train.label_smoothing": _SEVERAL,
        "train.temperature_scaling": _SEVERAL,
        "distill.run": _SEVERAL,
        "distill.net": _SEVERAL,
        "tta.scales": "which has no labels of pixels",
        "tta.window": "which has no labels of pixels",
    },
)
