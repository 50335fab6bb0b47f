"""A run: from a config to a directory that holds what came of it, and back."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import jax
import jax.numpy as jnp

from jaxconv import checkpoint, config, data, optim
from jaxconv.augment import normalise, shift
from jaxconv.data.order import batch_indices
from jaxconv.errors import ConfigError, DataError
from jaxconv.evaluate import evaluate, make_eval_step
from jaxconv.files import write_atomically
from jaxconv.layer import Layer
from jaxconv.losses import cross_entropy
from jaxconv.nets import make_net
from jaxconv.ops import engine
from jaxconv.ops.engine.form import Form
from jaxconv.ops.engine.tune import Measured, seen
from jaxconv.train import Evaluation, Progress, Step, fit, init_state, make_step

__all__ = ["Run", "load", "new_folder", "train", "tune"]

EVAL_BATCH = 500
Report = Callable[[Any], None]


def new_folder(stem: str, parent: str | Path = "runs") -> Path:
    """A folder for a run that does not exist yet: `runs/<stem>-<YYYYmmdd-HHMMSS>`.

    Args:
      stem: of the config file's name.
      parent: where runs are kept.
    """
    name = f"{stem}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    candidates = [Path(parent) / name, *(Path(parent) / f"{name}-{number}" for number in range(2, 100))]
    return next(folder for folder in candidates if not folder.exists())


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a config leads to before anything is trained."""

    dataset: data.Dataset
    net: Layer
    tx: Any
    step: Step
    prepare: Callable[[jax.Array], jax.Array]
    steps: int


def set_up(settings: config.Config) -> Setup:
    """Load the data and build the net, the optimiser and the step.

    Args:
      settings: the config.

    Raises:
      ConfigError, DataError, ShapeError: something in it cannot be.
    """
    dataset = data.load(settings.data.name, settings.data.root)
    net = make_net(settings.net.name, settings.net.arguments, len(dataset.classes))
    steps = math.ceil(settings.train.epochs * len(dataset.train) / settings.train.batch_size)
    schedule = settings.optim.schedule
    tx = optim.optimizer(
        settings.optim.name,
        settings.optim.learning_rate,
        steps,
        schedule={"name": schedule.name, **schedule.arguments} if schedule else None,
        **settings.optim.arguments,
    )
    prepare = functools.partial(normalise, mean=dataset.mean, std=dataset.std)
    loss = functools.partial(cross_entropy, smoothing=settings.train.label_smoothing)
    step = make_step(net, tx, loss=loss, augment=shift(settings.train.shift), prepare=prepare)
    return Setup(dataset, net, tx, step, prepare, steps)


def resident(source: data.Source) -> data.Arrays:
    """A source that lies in memory whole.

    Raises:
      ConfigError: one that does not.
    """
    if not isinstance(source, data.Arrays):
        raise ConfigError(f"a run needs data that lies in memory; got a {type(source).__name__}")
    return source


def train(settings: config.Config, folder: str | Path, report: Report = lambda event: None) -> dict[str, Any]:
    """Train as a config says and leave a run in a folder.

    The folder gets `config.toml`, `metrics.jsonl` while it runs, `params.safetensors` and, last,
    `result.json`: where that is, the run is whole. Bad input is found before the folder is made.

    Args:
      settings: the config.
      folder: where the run goes; must not exist, or be empty.
      report: called with each event of `jaxconv.train.fit`.

    Returns:
      What `result.json` holds.

    Raises:
      ConfigError, DataError, ShapeError: the config asks for something that cannot be.
      DivergedError: the loss became NaN or infinite.
    """
    began = time.perf_counter()
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"a run never overwrites: {folder} exists already; give --out another folder")
    setup = set_up(settings)
    dataset, seed = setup.dataset, settings.train.seed
    start = init_state(setup.net, setup.tx, jax.random.key(seed), (1, *dataset.image_shape))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(start.params))
    test, test_compile_seconds = _compile_test(setup, start.params, start.state)

    _make(folder, config.to_toml(settings))
    with open(folder / "metrics.jsonl", "w", encoding="utf-8") as metrics:
        fitted = fit(
            setup.step,
            start,
            resident(dataset.train).images,
            resident(dataset.train).labels,
            steps=setup.steps,
            batch_size=settings.train.batch_size,
            seed=seed,
            log_every=settings.train.log_every,
            report=_recorder(metrics, report),
            test=lambda state: test(state.params, state.state),
            eval_every=settings.train.eval_every,
        )
    assert fitted.test is not None  # fit ends with a test where it is given one
    checkpoint.save(folder / "params.safetensors", _trained(fitted.final.params, fitted.final.state))
    result = {
        "test_accuracy": fitted.test.accuracy,
        "test_loss": fitted.test.loss,
        "steps": setup.steps,
        "parameters": parameters,
        "seconds": {
            "training": fitted.train_seconds,
            "compiling": fitted.compile_seconds + test_compile_seconds,
            "total": time.perf_counter() - began,
        },
        "images_per_second": fitted.images_per_second,
        "seed": seed,
        "input": {"shape": list(dataset.image_shape), "peak": dataset.peak}
        | {"mean": list(dataset.mean), "std": list(dataset.std), "classes": list(dataset.classes)},
        "device": device(),
        "versions": versions(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
    write_atomically(folder / "result.json", (json.dumps(result, indent=2) + "\n").encode())
    return result


def tune(settings: config.Config) -> dict[Form, Measured]:
    """Measure the formulations of the convolutions in a config's step; nothing is trained.

    Args:
      settings: the config.

    Returns:
      What was measured, or read if it was measured before, for each convolution and gradient of the step.

    Raises:
      ConfigError, DataError, ShapeError: the config asks for something that cannot be.
    """
    setup, seed = set_up(settings), settings.train.seed
    dataset = setup.dataset
    shape = (1, *dataset.image_shape)
    start = jax.eval_shape(lambda: init_state(setup.net, setup.tx, jax.random.key(seed), shape))
    images, labels = jnp.asarray(resident(dataset.train).images), jnp.asarray(resident(dataset.train).labels)
    seen.clear()
    with engine.using(impl="tune"):
        jax.jit(setup.step).lower(start, images, labels, batch_indices(seed, 0, settings.train.batch_size, len(images)))
    return {form: measured for (form, _), measured in seen.items()}


def _compile_test(setup: Setup, params: Any, state: Any) -> tuple[Callable[[Any, Any], tuple[float, float]], float]:
    """The function that tests the net, compiled now so that its seconds count as compiling."""
    images, labels = jnp.asarray(resident(setup.dataset.test).images), jnp.asarray(resident(setup.dataset.test).labels)
    batch = jnp.zeros([EVAL_BATCH], jnp.int32), jnp.zeros([EVAL_BATCH], jnp.float32)
    began = time.perf_counter()
    step = jax.jit(make_eval_step(setup.net, setup.prepare)).lower(params, state, images, labels, *batch).compile()
    seconds = time.perf_counter() - began

    def test(params: Any, state: Any) -> tuple[float, float]:
        return evaluate(setup.net, params, state, images, labels, EVAL_BATCH, step=step)

    return test, seconds


def _make(folder: Path, text: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.toml").write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write a run to {folder}: {error.strerror or error}") from error


def _recorder(metrics: TextIO, report: Report) -> Report:
    """Write events to a file as they come, a JSON object a line, and pass them on."""

    def record(event: Any) -> None:
        line: dict[str, Any] = {}
        if isinstance(event, Progress):
            line = dataclasses.asdict(event)
            del line["steps"], line["seconds_left"]
        elif isinstance(event, Evaluation):
            line = {"step": event.step, "test_loss": event.loss, "test_accuracy": event.accuracy}
        if line:
            metrics.write(json.dumps(line) + "\n")
            metrics.flush()  # whoever watches the file, or kills the run, has all of it so far
        report(event)

    return record


def _trained(params: Any, state: Any) -> dict[str, Any]:
    return {"params": params, "state": state}


def device() -> dict[str, Any]:
    """What the run ran on."""
    first = jax.devices()[0]
    return {
        "kind": first.device_kind,
        "platform": first.platform,
        "count": jax.device_count(),
        "cpu_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    import importlib.metadata as metadata

    found = {"python": platform.python_version()}
    for name in ("jaxconv", "jax", "jaxlib", "numpy", "optax"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run, read back."""

    folder: Path
    settings: config.Config
    result: dict[str, Any]
    net: Layer
    params: Any
    state: Any

    def prepare(self, images: jax.Array) -> jax.Array:
        """Normalise images as in training: [N, H, W, C] in the data's pixel units."""
        return normalise(images, self.result["input"]["mean"], self.result["input"]["std"])

    def test(self, root: str | None = None) -> tuple[float, float]:
        """Loss and accuracy on the test images of the run's data set.

        Args:
          root: where the data lies, if it is no longer where the config says.
        """
        dataset = data.load(self.settings.data.name, root or self.settings.data.root)
        images, labels = resident(dataset.test).images, resident(dataset.test).labels
        return evaluate(self.net, self.params, self.state, images, labels, EVAL_BATCH, prepare=self.prepare)

    def probabilities(self, images: jax.typing.ArrayLike) -> jax.Array:
        """Each class's probability.

        Args:
          images: [N, H, W, C] in the data's pixel units.

        Returns:
          float32 [N, classes].
        """
        logits, _ = jax.jit(self.net.apply)(self.params, self.state, self.prepare(jnp.asarray(images)))
        return jax.nn.softmax(logits.astype(jnp.float32))


def load(folder: str | Path) -> Run:
    """Read a finished run.

    Args:
      folder: what `train` wrote.

    Raises:
      DataError: a file is missing or damaged; without `result.json` the run was not finished.
      ConfigError: the parameters are of another net than the config's.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"there is no run {folder}{_near_runs(folder)}")
    files = ("config.toml", "params.safetensors", "result.json")
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{folder} is no finished run: {', '.join(missing)} missing; "
            "result.json is written last, so the run was interrupted or is still going on"
            if (folder / "config.toml").is_file()
            else f"{folder} is no run: {', '.join(missing)} missing"
        )
    settings = config.read(folder / "config.toml")
    try:
        result = json.loads((folder / "result.json").read_text("utf-8"))
        shape, classes = tuple(result["input"]["shape"]), result["input"]["classes"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / 'result.json'} was altered: {type(error).__name__}: {error}") from None
    net = make_net(settings.net.name, settings.net.arguments, len(classes))
    like = jax.eval_shape(lambda: _trained(*net.init(jax.random.key(0), (1, *shape))))
    trained = checkpoint.load(folder / "params.safetensors", like)
    return Run(folder, settings, result, net, trained["params"], trained["state"])


def _near_runs(folder: Path) -> str:
    parent = folder.parent if folder.parent.is_dir() else Path("runs")
    found = sorted((path for path in parent.glob("*/result.json")), key=lambda path: path.stat().st_mtime)
    return f"; the latest finished one in {parent} is {found[-1].parent}" if found else ""
