"""Final artifacts of a run: parameters, pictures, result."""

from __future__ import annotations

import csv
import io
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxconv._base.files import write_atomically
from jaxconv._base.processes import agreed, first, gathered
from jaxconv.data import Dataset
from jaxconv.run.build import Inputs
from jaxconv.run.callbacks import score
from jaxconv.run.config import Config
from jaxconv.run.manifest import command, device
from jaxconv.run.recorder import Report
from jaxconv.run.records import read_lines
from jaxconv.run.trained import trained, write_result
from jaxconv.training import checkpoint
from jaxconv.training.batches import Feed
from jaxconv.training.devices import Devices
from jaxconv.training.evaluation import Answers
from jaxconv.training.loop import Fitted
from jaxconv.training.progress import Notice
from jaxconv.training.running import DivergedError
from jaxconv.viz import training as pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["finish"]

WORST = 24
_TABLE = 2000  # most classes for a full confusion matrix, whose cells grow with their square


def finish(
    folder: Path,
    settings: Config,
    inputs: Inputs,
    fitted: Fitted,
    feed: Feed,
    found: Answers,
    seconds: float,
    report: Report,
    devices: Devices,
    temperature: float | None = None,
) -> dict[str, Any]:
    """Save the trained parameters, draw pictures, and write the result last.

    A table or picture that fails is skipped with a notice; the rest is still written.

    Args:
      folder: the run's.
      settings: the config.
      inputs: the run's data.
      fitted: the trained state.
      feed: source of its batches.
      found: answers to the test images.
      seconds: wall time of the run so far.
      report: called with a `Notice` about each file that is skipped.
      devices: the run's mesh. Every process must call this; the first one writes.
      temperature: of the answers and of predictions; None for no temperature scaling.

    Returns:
      The content of `result.json`.

    Raises:
      DivergedError: if the test loss is NaN or infinite.
      OSError: if the parameters or the result cannot be written.
    """
    began = time.perf_counter()
    dataset = inputs.dataset
    params, state = fitted.final.tested
    numbers = score(found, len(dataset.classes))
    if not np.isfinite(numbers.loss):
        raise DivergedError(fitted.done, numbers.loss, what="the test loss")
    whole = devices.all(trained(params, state))
    skipped = sorted({*dataset.skipped, *itertools.chain(*gathered(list(feed.skipped), "skipped"))})
    if not first():
        return agreed({}, "result")
    checkpoint.save(folder / "params.safetensors", whole)
    left_out = _illustrate(settings, dataset, folder, found, report)
    result: dict[str, Any] = {
        "test_accuracy": numbers.accuracy,
        "test_loss": numbers.loss,
        **{f"test_{name}": value for name, value in numbers.more.items()},
        **({"validation_accuracy": fitted.test.accuracy} if inputs.validation is not None and fitted.test else {}),
        **({} if temperature is None else {"temperature": temperature}),
        "skipped": skipped,
        **({"left_out": left_out} if left_out else {}),
        "steps": fitted.done,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)) // settings.ensemble.size,
        "seconds": {
            "training": fitted.seconds,
            "waiting": fitted.waited,
            "compiling": fitted.compile_seconds,
            "evaluating": fitted.evaluating,
            "total": seconds + time.perf_counter() - began,
        },
        "images_per_second": fitted.images_per_second,
        "seed": settings.train.seed,
        "input": {"shape": list(dataset.image_shape), "peak": dataset.peak}
        | {"mean": list(dataset.mean), "std": list(dataset.std), "classes": list(dataset.classes)}
        | {"photographs": dataset.photographs},
        "device": device(),
        "command": command(),
    }
    write_result(folder, result)
    return agreed(result, "result")


def _illustrate(
    settings: Config, dataset: Dataset[Any], folder: Path, found: Answers, report: Report
) -> dict[str, str]:
    """Write the confusion matrix, the training curves and the most confident mistakes.

    Returns:
      {name: reason} of the files that failed.
    """
    together, classes = found.together, dataset.classes
    pieces: dict[str, Callable[[], bytes]] = {
        "confusion.csv": lambda: _confusion_table(together, classes),
        "curves.png": lambda: pictures.png(_curves(settings, folder)),
        "confusion.png": lambda: pictures.png(pictures.confusion(together.confusion(len(classes)), classes)),
        "mistakes.png": lambda: pictures.png(_mistakes(dataset, together)),
    }
    if len(classes) > _TABLE:
        del pieces["confusion.png"]
    left_out = {}
    for name, content in pieces.items():
        try:
            with pictures.default_style():
                write_atomically(folder / name, content())
        except Exception as error:  # of matplotlib, a font, or an image that is missing now
            left_out[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            report(Notice(f"{name} is skipped: {left_out[name]}"))
    return left_out


def _curves(settings: Config, folder: Path) -> Figure:
    """The training curves, with what makes training harder than evaluation."""
    smoothing, loss = settings.train.label_smoothing, settings.loss
    other = [] if loss.name == "cross_entropy" else [f"the loss {loss.name}"]
    other += ["class weights"] if loss.class_weights is not None else []
    other += ["distillation"] if settings.distill.run or settings.distill.net else []
    drops = {key: value for key, value in settings.net.arguments.items() if "drop" in key and value}
    return pictures.training_curves(
        read_lines(folder),
        folder.name,
        smoothing=other + ([f"label smoothing {smoothing:g}"] if smoothing else []),
        noise=[f"{key.replace('_', ' ')} {value}" for key, value in drops.items()]
        + (["augmentation"] if any(settings.augment.values()) else []),
    )


def _confusion_table(found: Answers, classes: Sequence[str]) -> bytes:
    """The confusion matrix as CSV: a row for each class; with very many classes, for each nonzero cell."""
    if len(classes) > _TABLE:
        pairs, counts = np.unique(np.stack([found.label, found.answer]), axis=1, return_counts=True)
        cells = zip(*pairs.tolist(), counts.tolist(), strict=True)
        rows = [["truth", "answer", "images"], *([classes[row], classes[column], n] for row, column, n in cells)]
    else:
        matrix = found.confusion(len(classes)).tolist()
        rows = [["", *classes], *([name, *row] for name, row in zip(classes, matrix, strict=True))]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _mistakes(dataset: Dataset[Any], found: Answers) -> Figure:
    """The misclassified images of the highest confidence."""
    wrong = np.flatnonzero(found.rank > 0)
    worst = wrong[np.argsort(-found.confidence[wrong], kind="stable")][:WORST]
    images = np.stack([dataset.test[int(number)][0] for number in worst]) if len(worst) else np.zeros([0, 1, 1, 1])
    shown = found.label[worst], found.answer[worst], found.confidence[worst]
    return pictures.mistakes(images, *shown, dataset.classes, peak=dataset.peak)
