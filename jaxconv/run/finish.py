"""What a run leaves when it has come to its end."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxconv import checkpoint
from jaxconv.analysis import pictures
from jaxconv.evaluate import Answers
from jaxconv.feed import Feed
from jaxconv.fit import Fitted
from jaxconv.run import folder as files
from jaxconv.run.setup import Setup
from jaxconv.run.watch import score

__all__ = ["finish", "trained"]

WORST = 24


def trained(params: Any, state: Any) -> dict[str, Any]:
    """What `params.safetensors` holds."""
    return {"params": params, "state": state}


def finish(setup: Setup, folder: Path, fitted: Fitted, feed: Feed, found: Answers, seconds: float) -> dict[str, Any]:
    """Keep what was trained, draw what it showed, and write the result.

    Args:
      setup: of the run.
      folder: of the run.
      fitted: the trained state.
      feed: where its batches came from.
      found: the answers to the test images.
      seconds: that the run took before this.

    Returns:
      What `result.json` holds.
    """
    began = time.perf_counter()
    dataset, settings = setup.dataset, setup.settings
    params, state = fitted.final.tested
    checkpoint.save(folder / "params.safetensors", trained(params, state))
    _draw(setup, folder, found)
    numbers = score(found, len(dataset.classes))
    result: dict[str, Any] = {
        "test_accuracy": numbers.accuracy,
        "test_loss": numbers.loss,
        **{f"test_{name}": value for name, value in numbers.more.items()},
        **({"validation_accuracy": fitted.test.accuracy} if setup.validation is not None and fitted.test else {}),
        "skipped": _skipped(setup, feed),
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
    files.write_json(folder / "result.json", result)
    return result


def _skipped(setup: Setup, feed: Feed) -> list[str]:
    """Images that could not be read, each once."""
    return sorted({*setup.dataset.skipped, *feed.skipped})


def _draw(setup: Setup, folder: Path, found: Answers) -> None:
    """The training curves, the confusion matrix, and the surest mistakes."""
    dataset = setup.dataset
    whole = found.together
    matrix = whole.confusion(len(dataset.classes))
    rows = [
        ["", *dataset.classes],
        *([name, *map(str, row)] for name, row in zip(dataset.classes, matrix, strict=True)),
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    files.write_atomically(folder / "confusion.csv", text.getvalue().encode())
    wrong = np.flatnonzero(whole.rank > 0)
    worst = wrong[np.argsort(-whole.confidence[wrong], kind="stable")][:WORST]
    images = np.stack([dataset.test[int(number)][0] for number in worst]) if len(worst) else np.zeros([0, 1, 1, 1])
    figures = {
        "curves": pictures.training_curves(files.lines(folder), folder.name),
        "confusion": pictures.confusion(matrix, dataset.classes),
        "mistakes": pictures.mistakes(
            images, whole.label[worst], whole.answer[worst], whole.confidence[worst], dataset.classes, peak=dataset.peak
        ),
    }
    for name, figure in figures.items():
        pictures.save(figure, folder / f"{name}.png")
