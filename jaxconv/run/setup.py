"""What a config leads to before anything is trained."""

from __future__ import annotations

import dataclasses
import errno
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxconv import augment, data, engine
from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv._base.limits import LARGEST_INT, SEEDS, check_memory
from jaxconv.augment import normalise
from jaxconv.data import Arrays, Batch, Source
from jaxconv.data.split import held_back
from jaxconv.data.stream import evaluation_stream
from jaxconv.engine.form import Form
from jaxconv.engine.tune import Measured, seen
from jaxconv.explain.diagnosis import explain
from jaxconv.layers import cast
from jaxconv.layers.layer import Layer
from jaxconv.models._registry import make_net
from jaxconv.port import begin
from jaxconv.run import config
from jaxconv.training import optim
from jaxconv.training.batches import Feed, Resident, Streamed
from jaxconv.training.ensemble import init_ensemble, member
from jaxconv.training.evaluation import batches
from jaxconv.training.losses import cross_entropy
from jaxconv.training.step import Step, TrainState, init_state, make_step

__all__ = ["EVAL_BATCH", "Setup", "inputs", "plain_keys", "set_up", "tune"]

EVAL_BATCH = 500


@dataclasses.dataclass(frozen=True)
class Setup:
    """A config's data, net and step.

    Args:
      settings: the config.
      dataset: what it names.
      images: the images to train on.
      validation: those kept back, or None.
      net: what is trained, in its precision.
      tx: the optimiser.
      rate: `step -> learning rate`.
      step: the pure function of one step.
      prepare: normalisation.
      steps: of the whole run.
      seeds: one for each member of an ensemble; None for a lone net.
    """

    settings: config.Config
    dataset: data.Dataset
    images: Source
    validation: Source | None
    net: Layer
    tx: Any
    rate: Callable[[int], float]
    step: Step
    prepare: Callable[[jax.Array], jax.Array]
    steps: int
    seeds: Sequence[int] | None

    def start(self) -> TrainState:
        """The state before the first step.

        Raises:
          ShapeError: the net does not take the data's images; it says why, and which it would take.
        """
        options = {
            "average": self.settings.optim.average is not None,
            "scale_loss": self.settings.precision.compute == "float16",
        }
        shape = (1, *self.dataset.image_shape)
        try:
            if self.seeds is None:
                return init_state(self.net, self.tx, jax.random.key(self.settings.train.seed), shape, **options)
            return init_ensemble(self.net, self.tx, self.seeds, shape, **options)
        except ShapeError as error:
            raise ShapeError(explain(_plain_net(self.settings, self.dataset), shape, error)) from error

    def check(self) -> TrainState:
        """Raise where the net cannot be trained on the data, from shapes alone.

        Returns:
          The shapes and types of `start`.

        Raises:
          ShapeError: see `start`.
          ConfigError: the net gives something else than one logit for each class, or does not fit into memory.
        """
        self._check_memory()
        state = jax.eval_shape(self.start)
        x, classes = jnp.zeros((1, *self.dataset.image_shape)), len(self.dataset.classes)

        def one(params: Any, state: Any) -> Any:
            return self.net.apply(*((params, state) if self.seeds is None else member((params, state), 0)), x)[0]

        shapes = [list(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(one, state.params, state.state))]
        if len(shapes) != 1 or shapes[0][:1] != [1] or len(shapes[0]) != 2 or shapes[0][1] < classes:
            raise ConfigError(
                f"net.name: a net that is trained must give a logit for each class, [N, {classes}]; "
                f"of one image {self.settings.net.name} gives {', '.join(map(str, shapes))}"
            )
        return state

    def _check_memory(self) -> None:
        """Raise ConfigError if a batch or the state before the first step do not fit, from shapes alone."""
        settings, shape = self.settings, self.dataset.image_shape
        check_memory(
            f"train.batch_size={settings.train.batch_size} of images {'×'.join(map(str, shape))}",
            4 * settings.train.batch_size * math.prod(shape),
            "a smaller train.batch_size, or smaller images, as by data.size",
        )
        numbers = ", ".join(f"net.{key}={value}" for key, value in settings.net.arguments.items() if _has_int(value))
        what, fix = f"the state of net.name={settings.net.name}, {numbers}".removesuffix(", "), "a smaller net"
        size = settings.ensemble.size
        if size > 1:
            what, fix = f"ensemble.size={size} times {what}", "a smaller ensemble"
        alone = dataclasses.replace(self, seeds=None)
        try:
            state = jax.eval_shape(lambda: plain_keys(alone.start()))
        except (MemoryError, OverflowError):
            raise ConfigError(f"{what} needs more memory than any machine has; try {fix}") from None
        check_memory(what, size * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)), fix)

    def feed(self, first: int = 0) -> Feed:
        """The batches of the steps from `first` on."""
        seeds: Any = self.settings.train.seed if self.seeds is None else self.seeds
        if isinstance(self.images, Arrays):
            return Resident(self.images, self.settings.train.batch_size, seeds)
        reading = _reading(self.settings, len(self.dataset.classes))
        return Streamed(self.images, self.settings.train.batch_size, seeds, first, self.steps, **reading)


def _has_int(value: Any) -> bool:
    return any(map(_has_int, value)) if isinstance(value, list | tuple) else type(value) is int


def load_data(settings: config.Config, root: str | None = None) -> data.Dataset:
    """The data set of a config; `root` where it lies elsewhere now."""
    found = settings.data
    try:
        return data.load(found.name, root or found.root, found.corrupt, **found.arguments)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise ConfigError(f"data.root: {error.strerror}: {str(error.filename)[:60]}…") from None


def _reading(settings: config.Config, classes: int) -> dict[str, Any]:
    """How a set that does not lie in memory is read."""
    return {"workers": settings.data.workers, "corrupt": settings.data.corrupt, "classes": classes}


def inputs(source: Source, settings: config.Config, classes: int) -> Iterable[Batch]:
    """All images of a source once, in batches to test on."""
    if isinstance(source, Arrays):
        return batches(source, EVAL_BATCH)
    return evaluation_stream(source, min(EVAL_BATCH, settings.train.batch_size), **_reading(settings, classes))


def _plain_net(settings: config.Config, dataset: data.Dataset) -> Layer:
    """The net before it is cast, with the weights that it begins with."""
    net, start = make_net(settings.net.name, settings.net.arguments, len(dataset.classes)), settings.start
    if start.weights is None:
        if start.skip or start.ignore:
            raise ConfigError("start.skip and start.ignore go with start.weights, the file that they are about")
        return net
    return begin(net, start.weights, start.source, skip=start.skip, ignore=start.ignore)


def in_precision(net: Layer, settings: config.Config) -> Layer:
    """The net as it computes under a config."""
    compute = settings.precision.compute
    return net if compute == "float32" else cast(net, jnp.dtype(compute))


def set_up(settings: config.Config) -> Setup:
    """Load the data and build the net, the optimiser and the step.

    Args:
      settings: the config.

    Raises:
      ConfigError, DataError, ShapeError: something in it cannot be.
    """
    train, precision = settings.train, settings.precision
    dataset = load_data(settings)
    images, validation = held_back(dataset.train, settings.data.validation)
    net = in_precision(_plain_net(settings, dataset), settings)
    if train.batch_size % settings.optim.accumulate:
        raise ConfigError(
            f"optim.accumulate must divide train.batch_size; got {settings.optim.accumulate} and {train.batch_size}"
        )
    if train.batch_size > len(images):
        raise ConfigError(
            f"train.batch_size must be at most {len(images):,}, the training images; got {train.batch_size:,}"
        )
    wanted = train.epochs * len(images) / train.batch_size
    if wanted > LARGEST_INT:  # they are counted in int32
        taken = math.ceil(wanted) if math.isfinite(wanted) else wanted
        raise ConfigError(
            f"train.epochs must take at most {LARGEST_INT:,} steps; got {train.epochs:g}, which take {taken:,}"
        )
    steps = math.ceil(wanted)
    schedule = settings.optim.schedule
    arguments = optim.in_steps(schedule.arguments, train.batch_size, len(images), steps) if schedule else {}
    tx = optim.optimizer(
        settings.optim.name,
        settings.optim.learning_rate,
        steps,
        schedule={"name": schedule.name, **arguments} if schedule else None,
        decay=settings.optim.decay,
        clip_norm=settings.optim.clip_norm,
        freeze=settings.optim.freeze,
        rates=settings.optim.rates,
        **settings.optim.arguments,
    )
    peak = settings.optim.learning_rate
    rate = optim.rate_schedule(schedule.name, peak, steps, **arguments) if schedule else lambda step: peak
    prepare = functools.partial(normalise, mean=dataset.mean, std=dataset.std)
    augmented = augment.from_config(settings.augment, len(dataset.classes), dataset.peak)
    jax.eval_shape(augmented, jax.random.key(0), _batch_struct(dataset, train.batch_size))
    step = make_step(
        net,
        tx,
        loss=functools.partial(cross_entropy, smoothing=train.label_smoothing),
        augment=augmented,
        prepare=prepare,
        accumulate=settings.optim.accumulate,
        average=settings.optim.average,
        scale_loss=precision.compute == "float16",
        log_norms=train.log_norms,
    )
    size = settings.ensemble.size
    if train.seed + size > SEEDS:
        raise ConfigError(
            f"the seeds of an ensemble, from train.seed on, must be less than {SEEDS:,}; "
            f"got train.seed={train.seed} and ensemble.size={size}"
        )
    seeds = range(train.seed, train.seed + size) if size > 1 else None
    return Setup(settings, dataset, images, validation, net, tx, rate, step, prepare, steps, seeds)


def matmul_precision(settings: config.Config) -> Any:
    """The context in which the config's matrix products and convolutions have their precision.

    Raises:
      ConfigError: jax knows no such precision.
    """
    try:
        return jax.default_matmul_precision(settings.precision.matmul)
    except ValueError as error:
        raise ConfigError(f"precision.matmul: {error}") from None


def plain_keys(state: TrainState) -> TrainState:
    """The state with the numbers of its key, which have a size in bytes."""
    return dataclasses.replace(state, key=jax.random.key_data(state.key))


def _batch_struct(dataset: data.Dataset, size: int) -> Batch:
    """The shapes and types of a batch."""
    return Batch(
        jax.ShapeDtypeStruct((size, *dataset.image_shape), np.uint8),
        jax.ShapeDtypeStruct((size,), np.int32),
        jax.ShapeDtypeStruct((size,), np.float32),
    )


def tune(settings: config.Config) -> dict[Form, Measured]:
    """Measure the formulations of the convolutions in a config's step; nothing is trained.

    Args:
      settings: the config.

    Returns:
      What was measured, or read if it was measured before, for each convolution and gradient of the step.

    Raises:
      ConfigError, DataError, ShapeError: the config asks for something that cannot be.
    """
    setup = set_up(settings)
    seen.clear()
    batch = _batch_struct(setup.dataset, settings.train.batch_size)
    step = setup.step if setup.seeds is None else jax.vmap(setup.step, in_axes=(0, None))
    with engine.using(impl="tune"), matmul_precision(settings):
        jax.jit(step).lower(jax.eval_shape(setup.start), batch)
    return {form: measured for (form, _), measured in seen.items()}
