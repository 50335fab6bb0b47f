"""Final artifacts of a run: parameters, pictures, result."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxconv._base.files import write_atomically
from jaxconv._base.processes import agreed, first, gathered
from jaxconv.data import Dataset
from jaxconv.run.build import Inputs, Model, make_views
from jaxconv.run.config import Config
from jaxconv.run.finished import Member
from jaxconv.run.manifest import command, device
from jaxconv.run.page import page, trained_content
from jaxconv.run.recorder import Report
from jaxconv.run.records import json_bytes, read_lines
from jaxconv.run.tasks import Outputs, Task, find_task, task_name
from jaxconv.run.timing import TIMES, timed_layers
from jaxconv.run.trained import trained, write_result
from jaxconv.training import checkpoint, ensemble
from jaxconv.training.batches import Feed
from jaxconv.training.devices import Devices
from jaxconv.training.loop import Fitted
from jaxconv.training.progress import Notice
from jaxconv.training.running import DivergedError
from jaxconv.viz import training as pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["finish"]


def finish(
    folder: Path,
    settings: Config,
    inputs: Inputs,
    model: Model,
    fitted: Fitted,
    feed: Feed,
    found: Any,
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
      model: the run's net.
      fitted: the trained state.
      feed: source of its batches.
      found: what the task collected of the test images.
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
    name = task_name(settings, dataset)
    task = find_task(name)
    numbers = task.score(found, dataset.classes)
    if not np.isfinite(numbers.loss):
        raise DivergedError(fitted.done, numbers.loss, what="the test loss")
    whole = devices.all(trained(params, state))
    skipped = sorted({*dataset.skipped, *itertools.chain(*gathered(list(feed.skipped), "skipped"))})
    if not first():
        return agreed({}, "result")
    checkpoint.save(folder / "params.safetensors", whole)
    options: dict[str, Any] = {"members": settings.ensemble.size > 1, "temperature": temperature or 1.0}
    predict = jax.jit(task.make_predict(model.net, model.prepare, make_views(settings.tta), **options))

    def outputs(images: np.ndarray) -> np.ndarray:
        return np.asarray(predict(whole["params"], whole["state"], images))

    left_out = _illustrate(settings, task, dataset, folder, found, outputs, report)
    result: dict[str, Any] = {
        f"test_{task.metric}": numbers.value,
        "test_loss": numbers.loss,
        **{f"test_{name}": value for name, value in numbers.more.items()},
        **({f"validation_{task.metric}": fitted.test.value} if inputs.validation is not None and fitted.test else {}),
        **({} if temperature is None else {"temperature": temperature}),
        "skipped": skipped,
        **({"left_out": left_out} if left_out else {}),
        "task": name,
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
        | {"photographs": dataset.photographs, "interpolation": dataset.interpolation},
        "device": device(),
        "command": command(),
    }
    own = whole["params"], whole["state"]  # not those on all processes
    if settings.ensemble.size > 1:
        own = ensemble.member(own, 0)
    single = Member(model.float32, *own, folder.name)
    spent = result["seconds"]["total"]
    pieces: dict[str, Callable[[], bytes]] = {}
    if settings.log.layer_times:
        pieces[TIMES] = lambda: json_bytes(timed_layers(settings, single, dataset.image_shape, spent))
    content = folder, settings, result, found, dataset, single, outputs
    _write(pieces | {"report.html": lambda: page(trained_content(*content))}, folder, report)
    write_result(folder, result)
    return agreed(result, "result")


def _illustrate(
    settings: Config,
    task: Task,
    dataset: Dataset[Any],
    folder: Path,
    found: Any,
    outputs: Outputs,
    report: Report,
) -> dict[str, str]:
    """Write the training curves and the pictures of the task.

    Returns:
      {name: reason} of the files that failed.
    """
    pieces: dict[str, Callable[[], bytes]] = {
        "curves.png": lambda: pictures.png(_curves(settings, task, folder)),
        **task.pictures(found, dataset, outputs),
    }
    return _write(pieces, folder, report)


def _write(pieces: Mapping[str, Callable[[], bytes]], folder: Path, report: Report) -> dict[str, str]:
    """Write files; return {name: reason} of those that failed."""
    left_out = {}
    for name, content in pieces.items():
        try:
            with pictures.default_style():
                write_atomically(folder / name, content())
        except Exception as error:  # of matplotlib, a font, or an image that is missing now
            left_out[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            report(Notice(f"{name} is skipped: {left_out[name]}"))
    return left_out


def _curves(settings: Config, task: Task, folder: Path) -> Figure:
    """The training curves, with what makes training harder than evaluation."""
    smoothing, loss = settings.train.label_smoothing, settings.loss
    name = " + ".join([loss.name, *loss.terms])
    other = [] if name == "cross_entropy" else [f"the loss {name}"]
    other += ["class weights"] if loss.class_weights is not None else []
    other += ["distillation"] if settings.distill.run or settings.distill.net else []
    drops = {key: value for key, value in settings.net.arguments.items() if "drop" in key and value}
    return pictures.training_curves(
        read_lines(folder),
        folder.name,
        metric=task.metric,
        smoothing=other + ([f"label smoothing {smoothing:g}"] if smoothing else []),
        noise=[f"{key.replace('_', ' ')} {value}" for key, value in drops.items()]
        + (["augmentation"] if any(settings.augment.values()) else []),
    )
