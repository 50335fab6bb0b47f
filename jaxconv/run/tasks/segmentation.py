"""Segmentation: a class for each pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxconv.data import Dataset
from jaxconv.data.mask_files import voc_colors
from jaxconv.run.tasks.record import Case, Output, Outputs, Prediction, Shown, Task, Units, csv_table
from jaxconv.training.metrics import per_class
from jaxconv.training.progress import Score
from jaxconv.training.segmentation import (
    PIXELS,
    Pixels,
    make_pixel_eval_step,
    make_pixel_log_probabilities,
    of_masks,
    pixels,
)
from jaxconv.viz import training as pictures
from jaxconv.viz.masks import draw_masks, overlay
from jaxconv.viz.style import encoded

__all__ = ["segmentation"]

WORST = 12
CASES = 8  # of which predictions are explained
_CLASS = "iou/"
_NAMED = 30  # most classes whose IoU a command prints
_LEAST_SHARE = 0.0005  # of the pixels, of a class that a prediction names


def _score(found: Pixels, classes: Sequence[str]) -> Score:
    """Loss, mean IoU, and the IoU of each class, from the counts of all pixels."""
    known = {name: float(share) for name, share in zip(classes, found.class_iou, strict=True) if share == share}
    more = {"pixel_accuracy": found.accuracy, "mean_dice": float(np.nanmean(found.class_dice)) if known else 0.0}
    return Score(found.mean_loss, found.mean_iou, more | {f"{_CLASS}{k}": v for k, v in known.items()}, "miou")


def _details(more: Mapping[str, Any]) -> dict[str, str]:
    each = {f"  {name.removeprefix(_CLASS)}": f"{v:.2%}" for name, v in more.items() if name.startswith(_CLASS)}
    whole = {name.replace("_", " "): f"{more[name]:.2%}" for name in ("pixel_accuracy", "mean_dice") if name in more}
    return (each if len(each) <= _NAMED else {}) | whole


def _pictures(found: Pixels, dataset: Dataset[Any], outputs: Outputs) -> dict[str, Callable[[], bytes]]:
    """The table of classes, and the images of the lowest IoU."""

    def worst() -> bytes:
        order = np.argsort(found.iou, kind="stable")[:WORST]
        items = [dataset.test[int(number)] for number in order]
        images, truths = np.stack([image for image, _ in items]), np.stack([mask.values for _, mask in items])
        answers = outputs(images).argmax(-1)
        titles = [f"image {number}, IoU {100 * found.iou[number]:.0f} %" for number in order]
        outside, words = items[0][1].outside, f"the {len(order)} of {len(found.iou):,} images with the lowest mean IoU"
        marks: dict[str, Any] = {"peak": dataset.peak, "outside": outside, "title": words}
        return pictures.png(draw_masks(images, truths, answers, titles, dataset.classes, **marks))

    return {"classes.csv": lambda: _class_table(found, dataset.classes), "worst.png": worst}


def _cases(found: Pixels, dataset: Dataset[Any], outputs: Outputs) -> list[Case]:
    """The images of the lowest IoU, by the class with the most wrong pixels, over these pixels."""
    order = [int(k) for k in np.argsort(found.iou, kind="stable")[:CASES]]
    items = [dataset.test[k] for k in order]
    cases = []
    for k, scores, (_, mask) in zip(order, outputs(np.stack([image for image, _ in items])), items, strict=True):
        answer = scores.argmax(-1)
        wrong = (answer != mask.values) & (mask.values != mask.outside)
        if wrong.any():
            label = int(np.bincount(answer[wrong]).argmax())
            name = dataset.classes[label]
            cases.append(Case(k, label, f"image {k}: wrong pixels of {name}", wrong & (answer == label)))
    return cases


def _class_table(found: Pixels, classes: Sequence[str]) -> bytes:
    """Pixels, IoU, dice, recall and precision of each class as CSV; empty where a class does not occur."""
    each = per_class(found.matrix.astype(np.float64))
    columns = [found.class_iou, found.class_dice, np.asarray(each.recall), np.asarray(each.precision)]
    rows: list[list[Any]] = [["class", "pixels", "predicted", "iou", "dice", "recall", "precision"]]
    for k, name in enumerate(classes):
        occurs = not np.isnan(found.class_iou[k])
        shares = [f"{column[k]:.6f}" if occurs else "" for column in columns]
        rows.append([name, int(found.matrix[k].sum()), int(found.matrix[:, k].sum()), *shares])
    return csv_table(rows)


def _show(log_p: np.ndarray, image: np.ndarray, units: Units, most: int) -> Shown:
    """The classes by their share of the pixels; the mask of the image's size in VOC's palette, and over the image."""
    from PIL import Image

    mask = _mask_of(log_p, image.shape[:2])
    shares = np.bincount(mask.ravel(), minlength=len(units.classes)) / mask.size
    order = [k for k in np.argsort(-shares, kind="stable")[:most] if shares[k] >= _LEAST_SHARE]
    files = {"_mask.png": _mask_png(mask), "_overlay.png": encoded(Image.fromarray(overlay(image, mask, units.peak)))}
    return Shown([(units.classes[k], f"{shares[k]:.1%}") for k in order], files)


def _mask_of(log_p: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """The most probable class at each pixel, integers [*size], of log-probabilities [h, w, C], resized bilinearly."""
    from PIL import Image

    if log_p.shape[:2] == size:
        return log_p.argmax(-1)
    best, mask = np.full(size, -np.inf, np.float32), np.zeros(size, np.int64)
    for k in range(log_p.shape[-1]):  # one class at a time: all of them at the size of a photograph take gigabytes
        plane = Image.fromarray(np.ascontiguousarray(log_p[..., k], np.float32))
        resized = np.asarray(plane.resize((size[1], size[0]), Image.Resampling.BILINEAR))
        mask[resized > best] = k
        best = np.maximum(best, resized)
    return mask


def _mask_png(mask: np.ndarray) -> bytes:
    """A mask as a PNG whose pixels are classes, shown in VOC's colors."""
    from PIL import Image

    picture = Image.fromarray(mask.astype(np.uint8), mode="P")
    picture.putpalette(voc_colors().ravel().tolist())
    return encoded(picture)


_ONE_CLASS = "which has a class for each pixel, not one for each image"
segmentation = Task(
    metric="miou",
    output=lambda dataset: Output(
        "a logit for each class at each pixel", (*dataset.image_shape[:2], len(dataset.classes))
    ),
    loss=of_masks,
    sums=PIXELS,
    make_predict=make_pixel_log_probabilities,
    prediction=Prediction("log_probabilities", "log-probability of each class at each pixel"),
    make_eval_step=make_pixel_eval_step,
    collect=pixels,
    score=_score,
    details=_details,
    pictures=_pictures,
    show=_show,
    words=lambda label, classes: "",
    cases=_cases,
    dense=True,
    refuses={
        "train.sampling": _ONE_CLASS,
        "train.temperature_scaling": _ONE_CLASS,
        "train.progressive_resizing": "whose masks are not resized",
        "distill.run": _ONE_CLASS,
        "distill.net": _ONE_CLASS,
        "tta.shift": "whose predictions at the border of a shifted image are unknown",
        "tta.five_crop": "whose predictions of crops do not cover the image equally",
        "augment.mixup": "whose masks cannot be mixed; cutmix pastes them",
    },
)
