"""Optimizer and step of a run."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxconv import augment
from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv._base.limits import LARGEST_INT, SEEDS
from jaxconv.data.balance import balanced_weights, labels_of
from jaxconv.layers import freeze_statistics, ghost_batch_norm
from jaxconv.layers.layer import Layer
from jaxconv.layers.wrap import WithAuxiliary
from jaxconv.run.build.inputs import Inputs, batch_struct
from jaxconv.run.build.model import Model
from jaxconv.run.build.optimizer import make_average, make_optimizer
from jaxconv.run.build.teacher import make_teacher
from jaxconv.run.config import Config, LossConfig
from jaxconv.run.tasks import Task, check_task, find_task, task_name
from jaxconv.training import optim
from jaxconv.training.averaging import Averaging
from jaxconv.training.devices import Devices, make_devices
from jaxconv.training.distillation import distilled
from jaxconv.training.ensemble import Members, init_ensemble
from jaxconv.training.named import make_loss, make_sum
from jaxconv.training.resizing import image_sizes, resize_to
from jaxconv.training.step import AverageOf, Loss, Step, Teacher, TrainState, init_state, make_step

__all__ = ["Training", "build_training", "resolved", "total_steps"]


@dataclasses.dataclass(frozen=True)
class Training:
    """The step and its state.

    Args:
      step: the pure function of one step; of images of full size.
      stages: the steps of the run's stages, each with the number of steps that it is the step before.
      single: `() -> state before the first step` of one net, also of an ensemble.
      start: `() -> state before the first step` of the net or of all members.
      rate: `step -> learning rate`.
      steps: total steps of the run.
      seeds: the run's seed, or one for each member of an ensemble.
      devices: the run's mesh.
    """

    step: Step
    stages: Sequence[tuple[int, Step]]
    single: Callable[[], TrainState]
    start: Callable[[], TrainState]
    rate: Callable[[int], float]
    steps: int
    seeds: int | Sequence[int]
    devices: Devices

    @property
    def members(self) -> Members:
        """How the step is mapped over an ensemble's members, the state's first axis; False if there is none."""
        return False if isinstance(self.seeds, int) else self.devices.vmap


def build_training(settings: Config, inputs: Inputs, model: Model, devices: Sequence[Any] | None = None) -> Training:
    """Build the optimizer, the step and its first state.

    Args:
      settings: the config.
      inputs: the run's data.
      model: the run's net.
      devices: to train on; all of JAX's if None.

    Raises:
      ConfigError, ShapeError: if the config is invalid.
    """
    train = settings.train
    check_task(settings, task_name(settings, inputs.dataset))
    _check_watched(settings, inputs)
    _check_auxiliary(settings, model)
    steps = total_steps(settings, len(inputs.train))
    tx, rate = make_optimizer(settings, model, len(inputs.train), steps)
    wanted = settings.devices
    sizes = wanted.data, wanted.fsdp, wanted.model
    mesh = make_devices(*sizes, wanted.shard, devices, members=settings.ensemble.size)
    mesh.check_batch(train.batch_size, settings.optim.accumulate)
    average = make_average(settings, steps)
    teacher = make_teacher(settings.distill, inputs.dataset)
    make = functools.partial(_step, settings, inputs, model, tx, average, teacher, mesh)
    step = make()
    stages = [(end, step if size == model.shape[1:3] else make(size)) for end, size in _sizes(settings, model, steps)]
    seed, shape = train.seed, model.shape
    options = {
        "average": average is not None,
        "scale_loss": settings.precision.compute == "float16",
    }
    seeds = _seeds(settings)

    def single() -> TrainState:
        with model.explained():
            return init_state(model.net, tx, jax.random.key(seed), shape, **options)

    def members() -> TrainState:
        with model.explained():
            return init_ensemble(model.net, tx, range(seed, seed + settings.ensemble.size), shape, **options)

    start = single if isinstance(seeds, int) else members
    return Training(step, stages, single, start, rate, steps, seeds, mesh)


def _check_watched(settings: Config, inputs: Inputs) -> None:
    """Raise ConfigError if what follows from evaluations has none, or only those on the test images."""
    watching = {
        "train.temperature_scaling": settings.train.temperature_scaling,
        "early_stopping.patience": settings.early_stopping.patience is not None,
        "optim.plateau": settings.optim.plateau is not None,
    }
    name, monitor = task_name(settings, inputs.dataset), settings.early_stopping.monitor
    if settings.early_stopping.patience is not None and monitor not in ("loss", find_task(name).metric):
        raise ConfigError(
            f"early_stopping.monitor must be loss or {find_task(name).metric}, the metric of the task {name}; "
            f"got {monitor!r}"
        )
    for key in (key for key, there in watching.items() if there):
        if inputs.validation is None:
            raise ConfigError(f"{key} needs validation images, as data.validation=1000; got none")
        if key != "train.temperature_scaling" and not settings.train.eval_every:
            every = settings.train.eval_every
            raise ConfigError(f"{key} needs evaluations at fixed steps, as train.eval_every=500; got {every or 'none'}")


def _check_auxiliary(settings: Config, model: Model) -> None:
    """Raise ConfigError if a weight of an auxiliary loss is given for a net that has none."""
    if settings.loss.auxiliary == LossConfig().auxiliary:
        return
    x = jax.ShapeDtypeStruct(model.shape, jnp.float32)
    outputs = jax.eval_shape(
        lambda x: model.net.apply(*model.net.init(jax.random.key(0), x), x, key=jax.random.key(0), train=True)[0], x
    )
    if not isinstance(outputs, WithAuxiliary):
        raise ConfigError(
            f"loss.auxiliary needs a net with an auxiliary output, as fcn with net.aux=true; got {settings.net.name}"
        )


def total_steps(settings: Config, images: int) -> int:
    """Total steps of a run.

    Args:
      settings: the config.
      images: number of training images.

    Raises:
      ConfigError: if a batch is larger than the training set or has no equal micro-batches, or there are too many
        steps to count.
    """
    train, parts = settings.train, settings.optim.accumulate
    if train.batch_size % parts:
        raise ConfigError(f"optim.accumulate must divide train.batch_size; got {parts} and {train.batch_size}")
    if train.batch_size > images:
        raise ConfigError(f"train.batch_size must be at most {images:,}, the training images; got {train.batch_size:,}")
    wanted = train.epochs * images / train.batch_size
    if wanted > LARGEST_INT:  # they are counted in int32
        taken = math.ceil(wanted) if math.isfinite(wanted) else wanted
        raise ConfigError(
            f"train.epochs must take at most {LARGEST_INT:,} steps; got {train.epochs:g}, which take {taken:,}"
        )
    return math.ceil(wanted)


def resolved(settings: Config, images: int) -> Config:
    """The config with every value that its learning-rate schedule uses, durations in steps.

    Args:
      settings: the config.
      images: number of training images.

    Raises:
      ConfigError: if the schedule is invalid.
    """
    schedule = settings.optim.schedule
    if schedule is None:
        return settings
    steps = total_steps(settings, images)
    given = optim.in_steps(schedule.arguments, settings.train.batch_size, images, steps)
    arguments = optim.schedule_arguments(schedule.name, steps, **given)
    wanted = dataclasses.replace(settings.optim, schedule=dataclasses.replace(schedule, arguments=arguments))
    return dataclasses.replace(settings, optim=wanted)


def _sizes(settings: Config, model: Model, steps: int) -> Sequence[tuple[int, tuple[int, int]]]:
    """Image sizes of the run's stages, each with the step that it ends before; the net must take all of them."""
    wanted, full = settings.train.progressive_resizing, (model.shape[1], model.shape[2])
    if wanted is None:
        return [(steps, full)]
    sizes = image_sizes(full, steps, **dataclasses.asdict(wanted))
    params, state = model.structs()
    for size in {size for _, size in sizes}:
        x = jax.ShapeDtypeStruct((1, *size, model.shape[-1]), jnp.float32)
        try:
            jax.eval_shape(model.float32.apply, params, state, x)
        except ShapeError as error:
            raise ConfigError(
                f"train.progressive_resizing: net.name={settings.net.name} must take images of every size, as with "
                f"global pooling before its last layers; of {'×'.join(map(str, size))}: {error}"
            ) from error
    return sizes


def _step(
    settings: Config,
    inputs: Inputs,
    model: Model,
    tx: Any,
    average: Averaging | AverageOf | None,
    teacher: Teacher | None,
    devices: Devices,
    size: tuple[int, int] | None = None,
) -> Step:
    """The training step: augmentation, resizing to a size, normalization, net, loss and optimizer."""
    train, dataset = settings.train, inputs.dataset
    task = find_task(task_name(settings, dataset))
    augmented = augment.from_config(settings.augment, len(dataset.classes), dataset.peak)
    augmented = augmented if size is None else resize_to(augmented, size)
    batch = jax.eval_shape(augmented, jax.random.key(0), batch_struct(dataset, train.batch_size))
    loss = _loss(settings, inputs, task, batch)
    net = _grouped(model.net, settings)
    net = freeze_statistics(net, *settings.optim.freeze) if settings.optim.freeze else net
    step = make_step(
        devices.layer(net),
        tx,
        loss=loss if teacher is None else distilled(loss, settings.distill.alpha, settings.distill.temperature),
        sums=task.sums,
        targets=task.targets,
        auxiliary=settings.loss.auxiliary,
        teacher=teacher,
        augment=augmented,
        prepare=model.prepare,
        accumulate=settings.optim.accumulate,
        average=average,
        scale_loss=settings.precision.compute == "float16",
        log_norms=train.log_norms,
    )
    return devices.step(step)


def _loss(settings: Config, inputs: Inputs, task: Task, batch: Any) -> Loss:
    """The loss; `batch` has the shapes of an augmented one."""
    wanted, classes = settings.loss, len(inputs.dataset.classes)
    weights = wanted.class_weights
    if weights == "balanced":
        weights = balanced_weights(labels_of(inputs.train), classes)
    elif weights is not None and len(weights) != classes:
        raise ConfigError(f"loss.class_weights must be {classes} numbers, one for each class; got {len(weights)}")
    smoothing = settings.train.label_smoothing
    shared: dict[str, Any] = {"smoothing": smoothing, "class_weights": weights}
    made = make_loss(wanted.name, wanted.arguments, **shared)
    loss = task.loss(make_sum(made, wanted.terms, **shared) if wanted.terms else made)
    outputs = jax.ShapeDtypeStruct((len(batch.weight), *task.output(inputs.dataset).shape), jnp.float32)
    targets = batch.label if task.targets is None else jax.eval_shape(task.targets, batch)
    try:
        found = jax.eval_shape(loss, outputs, targets, batch.weight)
    except ShapeError as error:
        raise ConfigError(f"loss.name: {wanted.name} does not fit these labels: {error}") from error
    if getattr(found, "shape", None) != () or not jnp.issubdtype(found.dtype, jnp.floating):
        raise ConfigError(f"loss.name: {wanted.name} must return a scalar, the weighted mean over images; got {found}")
    return loss


def _grouped(net: Layer, settings: Config) -> Layer:
    """The net with batch statistics over the config's groups of images."""
    group, size = settings.train.norm_group, settings.train.batch_size // settings.optim.accumulate
    if group is None:
        return net
    if size % group:
        what = "the images of a micro-batch" if settings.optim.accumulate > 1 else "train.batch_size"
        raise ConfigError(f"train.norm_group must divide {what}; got {group} and {size}")
    try:
        return ghost_batch_norm(net, group)
    except ShapeError:
        raise ConfigError(f"train.norm_group needs a net with batch norms; got net.name={settings.net.name}") from None


def _seeds(settings: Config) -> int | Sequence[int]:
    """The run's seed, or one for each member of an ensemble."""
    seed, size = settings.train.seed, settings.ensemble.size
    if seed + size > SEEDS:
        raise ConfigError(
            f"the seeds of an ensemble, from train.seed on, must be less than {SEEDS:,}; "
            f"got train.seed={seed} and ensemble.size={size}"
        )
    return range(seed, seed + size) if size > 1 else seed
