"""Write final artifacts: parameters, pictures and the result, piece by piece."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxconv._base import checksums
from jaxconv.run import folder as files
from jaxconv.run.callbacks import score
from jaxconv.run.records import read_lines
from jaxconv.run.setup import Setup
from jaxconv.training import checkpoint
from jaxconv.training.batches import Feed
from jaxconv.training.evaluation import Answers
from jaxconv.training.loop import Fitted
from jaxconv.training.progress import Notice
from jaxconv.training.running import DivergedError
from jaxconv.viz import training as pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CHECKED", "finish", "trained"]

CHECKED = ("config.toml", "params.safetensors", "result.json")
"""The files of a finished run that its `SHA256SUMS` lists."""

WORST = 24
_TABLE = 2000  # classes up to which the confusion matrix is a table and a picture; its cells are their square


def trained(params: Any, state: Any) -> dict[str, Any]:
    """What `params.safetensors` holds."""
    return {"params": params, "state": state}


def finish(
    setup: Setup, folder: Path, fitted: Fitted, feed: Feed, found: Answers, seconds: float, report: files.Report
) -> dict[str, Any]:
    """Save what was trained, draw what it showed, and write the result.

    A table or picture that fails is left out, with a line about it; the others and the result are written.

    Args:
      setup: of the run.
      folder: of the run.
      fitted: the trained state.
      feed: where its batches came from.
      found: the answers to the test images.
      seconds: that the run took before this.
      report: called with a `Notice` of each file that is left out.

    Returns:
      What `result.json` holds.

    Raises:
      DivergedError: the test loss is NaN or infinite.
      OSError: the parameters or the result cannot be written.
    """
    began = time.perf_counter()
    dataset, settings = setup.dataset, setup.settings
    params, state = fitted.final.tested
    numbers = score(found, len(dataset.classes))
    if not np.isfinite(numbers.loss):
        raise DivergedError(fitted.done, numbers.loss, what="the test loss")
    checkpoint.save(folder / "params.safetensors", trained(params, state))
    left_out = _illustrate(setup, folder, found, report)
    result: dict[str, Any] = {
        "test_accuracy": numbers.accuracy,
        "test_loss": numbers.loss,
        **{f"test_{name}": value for name, value in numbers.more.items()},
        **({"validation_accuracy": fitted.test.accuracy} if setup.validation is not None and fitted.test else {}),
        "skipped": _skipped(setup, feed),
        **({"left_out": left_out} if left_out else {}),
        "steps": setup.steps,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)) // settings.ensemble.size,
        "seconds": {
            "training": fitted.seconds,
            "waiting": fitted.waited,
            "compiling": fitted.compile_seconds,
            "total": seconds + time.perf_counter() - began,
        },
        "images_per_second": fitted.images_per_second,
        "seed": settings.train.seed,
        "input": {"shape": list(dataset.image_shape), "peak": dataset.peak}
        | {"mean": list(dataset.mean), "std": list(dataset.std), "classes": list(dataset.classes)}
        | {"photographs": dataset.photographs},
        "device": files.device(),
        "command": files.command(),
    }
    content = files.json_bytes(result)
    present = [name for name in CHECKED if name != "result.json"]
    checksums.write_sums(folder, present, {"result.json": content})
    files.write_atomically(folder / "result.json", content)
    return result


def _skipped(setup: Setup, feed: Feed) -> list[str]:
    """Images that could not be read, each once."""
    return sorted({*setup.dataset.skipped, *feed.skipped})


def _illustrate(setup: Setup, folder: Path, found: Answers, report: files.Report) -> dict[str, str]:
    """Write the confusion matrix, the training curves and the surest mistakes.

    Returns:
      By the names of those that failed, why.
    """
    whole, classes = found.together, setup.dataset.classes
    pieces: dict[str, Callable[[], bytes]] = {
        "confusion.csv": lambda: _confusion_table(whole, classes),
        "curves.png": lambda: pictures.png(pictures.training_curves(read_lines(folder), folder.name)),
        "confusion.png": lambda: pictures.png(pictures.confusion(whole.confusion(len(classes)), classes)),
        "mistakes.png": lambda: pictures.png(_mistakes(setup, whole)),
    }
    if len(classes) > _TABLE:
        del pieces["confusion.png"]
    left_out = {}
    for name, content in pieces.items():
        try:
            with pictures.default_style():
                files.write_atomically(folder / name, content())
        except Exception as error:  # whatever matplotlib, a font or an image that is gone raises
            left_out[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            report(Notice(f"{name} is left out: {left_out[name]}"))
    return left_out


def _confusion_table(found: Answers, classes: Sequence[str]) -> bytes:
    """The confusion matrix as CSV: a row for each class, or, of very many classes, for each cell that is not 0."""
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


def _mistakes(setup: Setup, found: Answers) -> Figure:
    """The misclassified images that the net was surest of."""
    dataset = setup.dataset
    wrong = np.flatnonzero(found.rank > 0)
    worst = wrong[np.argsort(-found.confidence[wrong], kind="stable")][:WORST]
    images = np.stack([dataset.test[int(number)][0] for number in worst]) if len(worst) else np.zeros([0, 1, 1, 1])
    shown = found.label[worst], found.answer[worst], found.confidence[worst]
    return pictures.mistakes(images, *shown, dataset.classes, peak=dataset.peak)
