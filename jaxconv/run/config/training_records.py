"""Typed records of how a config trains and evaluates: loss, optimizer, schedule, steps, test-time augmentation."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field

from jaxconv._base.limits import LARGEST_INT, SEEDS
from jaxconv.run.config.kinds import (
    STRICT,
    Arguments,
    ClassWeights,
    Count,
    PathText,
    Patterns,
    Positive,
    PositiveInt32,
    PositiveNumber,
    example,
)
from jaxconv.training.averaging import EmaPreset
from jaxconv.training.optim.pruning import PruneScope
from jaxconv.training.tta import MeanOf

__all__ = [
    "DistillConfig",
    "EarlyStoppingConfig",
    "GroupConfig",
    "LossConfig",
    "OptimConfig",
    "PlateauConfig",
    "PruningConfig",
    "ResizingConfig",
    "ScheduleConfig",
    "SwaConfig",
    "TaskConfig",
    "TrainConfig",
    "TtaConfig",
]


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate over time. Each x_steps can be given as x_epochs, x_percent (of the run) or x_examples."""

    __pydantic_config__ = STRICT
    name: Annotated[str, example("warmup_cosine_decay_schedule")]
    """A schedule of optax."""
    arguments: Arguments = dataclasses.field(default_factory=dict)
    """All other keys: the schedule's own arguments."""


@dataclasses.dataclass(frozen=True)
class GroupConfig:
    """Parameters that another optimizer updates."""

    __pydantic_config__ = STRICT
    name: Annotated[str, example("sgd")]
    """An optimizer of optax."""
    learning_rate: Annotated[PositiveNumber, example(0.01)]
    """Peak learning rate."""
    schedule: ScheduleConfig | None = None
    """Table [optim.groups.PATTERN.schedule]; that of optim, in proportion, if unset."""
    arguments: Arguments = dataclasses.field(default_factory=dict)
    """All other keys: the optimizer's own arguments; its weight decay applies to the whole group."""


@dataclasses.dataclass(frozen=True)
class PlateauConfig:
    """The learning rate is reduced when the loss on the validation images stops to improve."""

    __pydantic_config__ = STRICT
    patience: Annotated[PositiveInt32, example(5)]
    """Evaluations without improvement before it is reduced."""
    factor: Annotated[Annotated[float, Field(gt=0, lt=1)], example(0.5)] = 0.1
    """Factor of the learning rate."""
    rtol: Annotated[Annotated[float, Field(gt=0, le=1)], example(0.01)] = 1e-4
    """Relative decrease of the loss that is an improvement."""
    cooldown: Annotated[int, Field(ge=0, le=LARGEST_INT), example(2)] = 0
    """Evaluations after a reduction before others count again."""
    min_scale: Annotated[Annotated[float, Field(ge=0, lt=1)], example(0.01)] = 0.0
    """Smallest factor of the schedule's learning rate in all."""


@dataclasses.dataclass(frozen=True)
class SwaConfig:
    """Stochastic weight averaging (SWA): the mean of the parameters late in training is evaluated and saved."""

    __pydantic_config__ = STRICT
    start_percent: Annotated[Annotated[float, Field(ge=0, lt=100)], example(60)] = 75.0
    """Percent of the run before the first parameters that are averaged."""
    every_steps: Annotated[PositiveInt32 | None, example(100)] = None
    """Steps between two that are averaged; an epoch's if unset."""


@dataclasses.dataclass(frozen=True)
class PruningConfig:
    """Magnitude pruning: more and more of the smallest weights become zero, and stay zero."""

    __pydantic_config__ = STRICT
    sparsity: Annotated[Annotated[float, Field(gt=0, lt=1)], example(0.8)]
    """Share of the weights that are zero at the end."""
    start_percent: Annotated[Annotated[float, Field(ge=0, lt=100)], example(10)] = 0.0
    """Percent of the run before the first weights are pruned."""
    end_percent: Annotated[Annotated[float, Field(gt=0, le=100)], example(50)] = 75.0
    """Percent of the run after which the sparsity is the final one."""
    every_steps: Annotated[PositiveInt32 | None, example(100)] = None
    """Steps between two choices of the weights; a hundredth of the run if unset."""
    scope: Annotated[PruneScope, example("layer")] = "global"
    """Whether the weights of all parameters are compared, or those of each by themselves."""
    structured: Annotated[bool, example(True)] = False
    """Whether complete output channels are pruned."""
    patterns: Annotated[Patterns, example(["*conv*/kernel"])] = dataclasses.field(default_factory=lambda: ["*kernel"])
    """Path patterns of the parameters to prune."""


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """The optimizer."""

    __pydantic_config__ = STRICT
    name: Annotated[str, example("adamw")]
    """An optimizer of optax."""
    learning_rate: Annotated[PositiveNumber, example(0.001)]
    """Peak learning rate."""
    schedule: ScheduleConfig | None = None
    """Table [optim.schedule]; a constant learning rate if unset."""
    plateau: PlateauConfig | None = None
    """Table [optim.plateau]; the schedule alone if unset."""
    decay: Annotated[Patterns, example(["*kernel"])] = dataclasses.field(default_factory=lambda: ["*kernel"])
    """Path patterns of the parameters that weight decay applies to."""
    max_grad_norm: Annotated[PositiveNumber | None, example(1.0)] = None
    """Maximum global gradient norm; longer gradients are clipped."""
    accumulate: Annotated[Positive, example(4)] = 1
    """Number of micro-batches that a batch is divided into (gradient accumulation)."""
    ema: Annotated[Annotated[float, Field(gt=0, lt=1)] | EmaPreset | None, example(0.999)] = None
    """Decay of an exponential moving average of the parameters, which is then evaluated and saved; or that of a
    library's recipes."""
    swa: SwaConfig | None = None
    """Table [optim.swa]; no stochastic weight averaging if unset."""
    pruning: PruningConfig | None = None
    """Table [optim.pruning]; no pruning if unset."""
    sam: Annotated[PositiveNumber | None, example(0.05)] = None
    """Distance of sharpness-aware minimization (SAM), whose steps take two gradients."""
    freeze: Annotated[Patterns, example(["stem", "layer1"])] = dataclasses.field(default_factory=list)
    """Path patterns of frozen parts."""
    lr_multipliers: Annotated[dict[str, PositiveNumber], example({"fc": 10.0})] = dataclasses.field(
        default_factory=dict
    )
    """Factors of the learning rate by path pattern."""
    layer_decay: Annotated[Annotated[float, Field(gt=0, le=1)] | None, example(0.75)] = None
    """Factor of the learning rate from each layer or block to the one before it (layer-wise decay)."""
    normalize: Annotated[Patterns, example(["stem*/kernel"])] = dataclasses.field(default_factory=list)
    """Path patterns of kernels that are scaled before each update to a norm of sqrt(output channels), for layers that
    batch norms follow."""
    groups: Annotated[
        dict[str, GroupConfig],
        example({"head": {"name": "sgd", "learning_rate": 0.1}}),
    ] = dataclasses.field(default_factory=dict)
    """Optimizers of other parameters by path pattern, of which the first that matches decides."""
    arguments: Arguments = dataclasses.field(default_factory=dict)
    """All other keys: the optimizer's own arguments."""


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """What the net is trained for."""

    __pydantic_config__ = STRICT
    name: Annotated[
        Literal["classification", "multilabel", "segmentation", "regression", "reconstruction"] | None,
        example("segmentation"),
    ] = None
    """The task; the one that the dataset's labels are for if unset."""


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The loss that training minimizes; evaluations report the cross-entropy whatever it is."""

    __pydantic_config__ = STRICT
    name: Annotated[str, example("focal")] = "cross_entropy"
    """A loss of jaxconv, or "module:function" of (logits, labels, weights)."""
    terms: Annotated[dict[str, Any], example({"cross_entropy": 0.5})] = dataclasses.field(default_factory=dict)
    """Losses that are added to it, each with its weight, or with a table of its weight and arguments."""
    class_weights: Annotated[ClassWeights | Literal["balanced"] | None, example("balanced")] = None
    """Factors of the loss by class, a list, or "balanced" for those inverse to the numbers of training images."""
    auxiliary: Annotated[PositiveNumber, example(1.0)] = 0.4
    """Weight of the loss of a net's auxiliary output, as with net.aux=true."""
    arguments: Arguments = dataclasses.field(default_factory=dict)
    """All other keys: the loss's own arguments."""


@dataclasses.dataclass(frozen=True)
class DistillConfig:
    """Distillation: the loss has a term towards the probabilities of a teacher, of the same images."""

    __pydantic_config__ = STRICT
    run: Annotated[PathText | None, example("runs/teacher")] = None
    """Folder of a finished run, whose net or ensemble is the teacher."""
    net: Annotated[str | None, example("resnet50")] = None
    """Instead: a model of jaxconv.models, with ImageNet's normalization."""
    weights: Annotated[PathText | None, example("resnet50.pth")] = None
    """File of that model's weights."""
    source: Annotated[Literal["torchvision", "timm", "transformers"], example("timm")] = "torchvision"
    """Library whose parameter names the file has."""
    alpha: Annotated[Annotated[float, Field(ge=0, le=1)], example(0.9)] = 0.5
    """Share of the teacher's term in the loss."""
    temperature: Annotated[PositiveNumber, example(4.0)] = 2.0
    """Temperature of both probabilities in it."""


@dataclasses.dataclass(frozen=True)
class ResizingConfig:
    """Progressive resizing: smaller images early in training, which grow to the full size; names as in Composer."""

    __pydantic_config__ = STRICT
    initial_scale: Annotated[Annotated[float, Field(gt=0, le=1)], example(0.6)] = 0.5
    """Relative size of the first images."""
    delay_fraction: Annotated[Annotated[float, Field(ge=0, le=1)], example(0.4)] = 0.5
    """Share of the run with these."""
    finetune_fraction: Annotated[Annotated[float, Field(ge=0, le=1)], example(0.3)] = 0.2
    """Share of the run with full images, at its end."""
    size_increment: Annotated[PositiveInt32, example(8)] = 4
    """Pixels that the shorter side grows by at a time; each size is compiled anew."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Training."""

    __pydantic_config__ = STRICT
    epochs: Annotated[PositiveNumber, example(12)]
    """Passes over the training images; may be a fraction."""
    batch_size: Annotated[Positive, example(256)]
    """Images per step, over all devices."""
    sampling: Annotated[Literal["shuffle", "balanced"], example("balanced")] = "shuffle"
    """Each image once an epoch, or each class equally often."""
    seed: Annotated[int, Field(ge=0, lt=SEEDS), example(1)] = 0
    """Seed of parameters, order, augmentation and dropout."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1), example(0.1)] = 0.0
    """Share of the target that is spread over all classes."""
    log_every: Annotated[Positive, example(50)] = 100
    """Steps between two progress reports."""
    eval_every: Annotated[Count | None, example(500)] = None
    """Steps between two evaluations; 0 for one at the end; if unset, about 20 within 5 % of the training time."""
    norm_group: Annotated[Positive | None, example(32)] = None
    """Number of consecutive images that batch norms take their statistics over (ghost batch norm); those of the whole
    batch, on all devices, if unset."""
    progressive_resizing: ResizingConfig | None = None
    """Table [train.progressive_resizing]; images of full size throughout if unset."""
    temperature_scaling: Annotated[bool, example(True)] = False
    """Whether to fit the temperature of predictions to the validation images after training."""
    log_norms: Annotated[bool, example(True)] = False
    """Whether to log the norms of the gradient and of each part's weights."""


@dataclasses.dataclass(frozen=True)
class EarlyStoppingConfig:
    """Early stopping: a run ends when its evaluations on the validation images stop to improve."""

    __pydantic_config__ = STRICT
    patience: Annotated[Positive | None, example(10)] = None
    """Evaluations without improvement before the run ends; it does not end early if unset."""
    monitor: Annotated[Literal["loss", "accuracy", "miou", "r2"], example("accuracy")] = "loss"
    """What is to improve: the loss, or the metric of the task."""
    min_delta: Annotated[Annotated[float, Field(ge=0, allow_inf_nan=False)], example(0.001)] = 0.0
    """Smallest change that is an improvement."""
    restore_best: Annotated[bool, example(False)] = True
    """Whether the parameters of the best evaluation are evaluated and saved at the end, not the last ones."""


@dataclasses.dataclass(frozen=True)
class TtaConfig:
    """Test-time augmentation: evaluation and prediction average over views of each image, in every combination."""

    __pydantic_config__ = STRICT
    flip: Annotated[bool, example(True)] = False
    """Whether to add mirror images, left to right."""
    shift: Annotated[Count, example(1)] = 0
    """Pixels: adds the image shifted up and left, and down and right, which together weigh as much as the unshifted."""
    padding_mode: Annotated[Literal["zeros", "reflect", "edge", "wrap"], example("zeros")] = "reflect"
    """Values outside a shifted image."""
    five_crop: Annotated[Annotated[float, Field(gt=0, le=1)] | None, example(0.875)] = None
    """Relative size of crops in place of the whole image: the corners and the center, resized to the image's size."""
    mean_of: Annotated[MeanOf, example("probabilities")] = "logits"
    """What is averaged over the views."""
    scales: Annotated[list[PositiveNumber] | None, example([0.75, 1.0, 1.25])] = None
    """Of segmentation: sizes relative to the image's that it is predicted at; its own alone if unset."""
    window: Annotated[PositiveInt32 | None, example(512)] = None
    """Of segmentation: height and width in pixels of sliding windows; the whole image at once if unset."""
    overlap: Annotated[Annotated[float, Field(ge=0, lt=1)], example(0.25)] = 0.5
    """Share of a window that the next one has, too."""
