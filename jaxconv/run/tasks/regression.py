"""Regression: numbers for each image; and reconstruction, of the image itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxconv.data import Batch, Dataset
from jaxconv.run.tasks.record import Case, Output, Outputs, Prediction, Shown, Task, Units, csv_table
from jaxconv.training.progress import Score
from jaxconv.training.regression import NUMBERS, Residuals, make_number_eval_step, make_numbers, residuals
from jaxconv.viz import training as pictures
from jaxconv.viz.reconstructions import draw_reconstructions
from jaxconv.viz.style import encoded

__all__ = ["reconstruction", "regression"]

WORST = 24
CASES = 8  # of which predictions are explained
_TARGET = "r2/"


def _score(found: Residuals, names: Sequence[str]) -> Score:
    """Mean squared error, and the mean coefficient of determination of the targets."""
    known = found.r2[~np.isnan(found.r2)]
    share = float(known.mean()) if len(known) else 0.0
    more = {"mae": float(found.absolute.sum() / found.count.sum()), "rmse": found.mean_squared**0.5}
    return Score(found.mean_squared, share, more, "r2")


def _score_by_target(found: Residuals, names: Sequence[str]) -> Score:
    """`_score`, with the coefficient of determination of each target."""
    whole = _score(found, names)
    each = {f"{_TARGET}{name}": float(r2) for name, r2 in zip(names, found.r2, strict=True) if r2 == r2}
    return Score(whole.loss, whole.value, whole.more | each, whole.metric)


def _details(more: Mapping[str, Any]) -> dict[str, str]:
    each = {f"  {name.removeprefix(_TARGET)}": f"{value:.2%}" for name, value in more.items() if name[:3] == _TARGET}
    return each | {name: f"{more[name]:.4f}" for name in ("mae", "rmse") if name in more}


def _target_table(found: Residuals, dataset: Dataset[Any], outputs: Outputs) -> dict[str, Callable[[], bytes]]:
    """Errors of each target as CSV."""

    def table() -> bytes:
        columns = found.absolute / found.count, (found.squared / found.count) ** 0.5, found.r2
        each = zip(dataset.classes, *columns, strict=True)
        rows = ([name, *("" if np.isnan(value) else f"{value:.6g}" for value in values)] for name, *values in each)
        return csv_table([["target", "mae", "rmse", "r2"], *rows])

    return {"targets.csv": table}


def _cases(found: Residuals, dataset: Dataset[Any], outputs: Outputs) -> list[Case]:
    """The images of the largest errors, each by its worst target, relative to the target's usual error."""
    order = [int(k) for k in np.argsort(-found.error, kind="stable")[:CASES]]
    items = [dataset.test[k] for k in order]
    usual = np.sqrt(found.squared / found.count)
    cases = []
    for k, values, (_, true) in zip(order, outputs(np.stack([image for image, _ in items])), items, strict=True):
        label = int((np.abs(values - true) / np.where(usual > 0, usual, 1)).argmax())
        name = dataset.classes[label]
        cases.append(Case(k, label, f"image {k}: {name} {true[label]:.4g} → {values[label]:.4g}"))
    return cases


def _pixels(output: np.ndarray, units: Units) -> np.ndarray:
    """A net's output in the units of the images."""
    return np.asarray(output * np.asarray(units.std, np.float32) + np.asarray(units.mean, np.float32))


def _reconstructions(found: Residuals, dataset: Dataset[Any], outputs: Outputs) -> dict[str, Callable[[], bytes]]:
    """Test images beside their reconstructions: the first ones, and those of the largest errors."""

    def drawn(order: np.ndarray, title: str) -> bytes:
        images = np.stack([dataset.test[int(number)][0] for number in order])
        titles = [f"{found.error[number]:.3g}" for number in order]
        return pictures.png(
            draw_reconstructions(images, _pixels(outputs(images), dataset), titles, peak=dataset.peak, title=title)
        )

    first, worst = np.arange(min(WORST, len(found.error))), np.argsort(-found.error, kind="stable")[:WORST]
    return {
        "reconstructions.png": lambda: drawn(first, "test images, their reconstructions, mean squared error"),
        "worst.png": lambda: drawn(worst, f"the {len(worst)} of {len(found.error):,} images of the largest error"),
    }


def _show_numbers(output: np.ndarray, image: np.ndarray, units: Units, most: int) -> Shown:
    return Shown([(name, f"{value:.4g}") for name, value in zip(units.classes, output, strict=True)])


def _show_image(output: np.ndarray, image: np.ndarray, units: Units, most: int) -> Shown:
    """The error in units of the images' deviation, and the reconstruction as a PNG."""
    from PIL import Image

    pixels = _pixels(output, units)
    error = float((((pixels - image) / np.asarray(units.std)) ** 2).mean())
    shown = np.round(np.clip(255 / units.peak * pixels, 0, 255)).astype(np.uint8)
    shown = shown[..., 0] if shown.shape[-1] == 1 else shown
    return Shown([("mean squared error", f"{error:.4g}")], {"_reconstruction.png": encoded(Image.fromarray(shown))})


def _image(batch: Batch) -> Any:
    return batch.image


_NO_CLASS = "which has no classes"
_REFUSED = {
    "train.sampling": _NO_CLASS,
    "train.label_smoothing": _NO_CLASS,
    "train.temperature_scaling": _NO_CLASS,
    "loss.class_weights": _NO_CLASS,
    "distill.run": _NO_CLASS,
    "distill.net": _NO_CLASS,
    "augment.mixup": _NO_CLASS,
    "augment.cutmix": _NO_CLASS,
    "tta.flip": "whose predictions are not averaged over views",
    "tta.shift": "whose predictions are not averaged over views",
    "tta.five_crop": "whose predictions are not averaged over views",
    "tta.scales": "whose predictions are not averaged over views",
    "tta.window": "whose predictions are not averaged over views",
}
regression = Task(
    metric="r2",
    output=lambda dataset: Output("a number for each target", (len(dataset.classes),)),
    loss=lambda loss: loss,
    sums=NUMBERS,
    make_predict=make_numbers,
    prediction=Prediction("predictions", "each target, in the units of its labels"),
    make_eval_step=make_number_eval_step,
    collect=residuals,
    score=_score_by_target,
    details=_details,
    pictures=_target_table,
    show=_show_numbers,
    words=lambda label, names: "",
    cases=_cases,
    refuses=_REFUSED,
)
reconstruction = Task(
    metric="r2",
    output=lambda dataset: Output("an image of the input's shape", dataset.image_shape),
    loss=lambda loss: loss,
    sums=NUMBERS,
    targets=_image,
    make_predict=make_numbers,
    prediction=Prediction("predictions", "the image, normalized: pixel = prediction * std + mean"),
    make_eval_step=functools.partial(make_number_eval_step, targets=_image),
    collect=residuals,
    score=_score,
    details=_details,
    pictures=_reconstructions,
    show=_show_image,
    words=lambda label, names: names[int(label)] if np.ndim(label) == 0 else "",
    refuses=_REFUSED,
)
