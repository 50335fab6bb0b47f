"""Typed records of a config file."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from jaxconv._base.limits import SEEDS
from jaxconv.training.devices import Kind

__all__ = [
    "SECTIONS",
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "DevicesConfig",
    "EnsembleConfig",
    "NetConfig",
    "OptimConfig",
    "PrecisionConfig",
    "PretrainedConfig",
    "ScheduleConfig",
    "TrainConfig",
]

_strict = ConfigDict(extra="forbid")
PathText = Annotated[str, Field(pattern=r"^[^\x00]+$")]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """`[data]`.

    Args:
      name: dataset name, or "module:function".
      root: data directory that is searched first.
      validation: number of images held out from the end of the training set for evaluation.
      workers: processes that read images if they are not held in memory; 0 for threads only.
      corrupt: "fail" to stop at an unreadable image, "skip" to skip and count it.
      arguments: all other keys, the dataset's own arguments.
    """

    __pydantic_config__ = _strict
    name: str
    root: PathText | None = None
    validation: Count = 0
    workers: Count = 0
    corrupt: Literal["fail", "skip"] = "fail"
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class NetConfig:
    """`[net]`: `name`, of the registry or "module:function"; all other keys are the function's own arguments."""

    __pydantic_config__ = _strict
    name: str
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """`[optim.schedule]`: optax's `name`; all other keys are the schedule's own arguments."""

    __pydantic_config__ = _strict
    name: str
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class PretrainedConfig:
    """`[pretrained]`: pretrained weights.

    Args:
      weights: a .safetensors, .pth, .pt, .bin or .npz file, or "hf://owner/repository/file"; None for random init.
      source: library whose parameter names the file has.
      skip: path patterns of parameters that keep their random init, such as a new head.
      ignore: patterns of names in the file that the net lacks.
      entry: key of the state dict in a checkpoint that has several, such as "model_ema"; None for the trained weights.
    """

    __pydantic_config__ = _strict
    weights: PathText | None = None
    source: Literal["torchvision", "timm", "transformers"] = "torchvision"
    skip: list[str] = dataclasses.field(default_factory=list)
    ignore: list[str] = dataclasses.field(default_factory=list)
    entry: str | None = None


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """`[optim]`.

    Args:
      name: optax's name.
      learning_rate: peak learning rate.
      schedule: learning-rate schedule; constant if None.
      decay: path patterns of the parameters that weight decay applies to.
      max_grad_norm: maximum global gradient norm; longer gradients are clipped.
      accumulate: number of micro-batches (gradient accumulation).
      ema: decay of an exponential moving average of the parameters, which is then evaluated and saved.
      freeze: path patterns of frozen parts.
      lr_multipliers: {path pattern: factor of the learning rate}.
      arguments: all other keys, the optimizer's own arguments.
    """

    __pydantic_config__ = _strict
    name: str
    learning_rate: PositiveNumber
    schedule: ScheduleConfig | None = None
    decay: list[str] = dataclasses.field(default_factory=lambda: ["*kernel"])
    max_grad_norm: PositiveNumber | None = None
    accumulate: Positive = 1
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    freeze: list[str] = dataclasses.field(default_factory=list)
    lr_multipliers: dict[str, PositiveNumber] = dataclasses.field(default_factory=dict)
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """`[train]`.

    Args:
      epochs: passes over the training images; may be a fraction.
      batch_size: images per step, over all devices.
      seed: of parameters, order, augmentation and dropout.
      label_smoothing: share of the target spread over all classes.
      log_every: steps between two progress reports.
      eval_every: steps between two evaluations; 0 for one at the end; about 20 evaluations within 5 % of the training
        time if None.
      norm_group: number of consecutive images that batch norms take their statistics over (ghost batch norm); those of
        the whole batch, on all devices, if None.
      log_norms: whether to log the norms of the gradient and of each part's weights.
    """

    __pydantic_config__ = _strict
    epochs: PositiveNumber
    batch_size: Positive
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] = 0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    log_every: Positive = 100
    eval_every: Count | None = None
    norm_group: Positive | None = None
    log_norms: bool = False


@dataclasses.dataclass(frozen=True)
class PrecisionConfig:
    """`[precision]`.

    Args:
      compute: dtype that the net computes in; parameters, statistics and loss stay float32.
      matmul: `jax_default_matmul_precision`, for example "highest"; jax's default if None.
    """

    __pydantic_config__ = _strict
    compute: Literal["float32", "bfloat16", "float16"] = "float32"
    matmul: str | None = None


@dataclasses.dataclass(frozen=True)
class EnsembleConfig:
    """`[ensemble]`: `size` nets trained at once, with seeds from `train.seed` on."""

    __pydantic_config__ = _strict
    size: Annotated[int, Field(gt=0, lt=SEEDS)] = 1


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """`[checkpoint]`.

    Args:
      every_seconds: seconds between two checkpoints, approximately.
      every_steps: steps between two checkpoints, in addition; 0 for none.
      keep: number of latest checkpoints to keep, beside the best one.
    """

    __pydantic_config__ = _strict
    every_seconds: PositiveNumber = 60.0
    every_steps: Count = 0
    keep: Positive = 2


@dataclasses.dataclass(frozen=True)
class DevicesConfig:
    """`[devices]`: the mesh of devices; batch sizes stay global.

    Args:
      data: devices that divide the batch, and have the parameters whole.
      fsdp: devices that divide the batch and what `shard` names of the parameters.
      model: devices that divide the output channels of each kernel. Of the three, one may be -1, for all that are left.
      shard: {path pattern: "params" (parameters, optimizer state and averages, FSDP), "optimizer" (ZeRO-1) or "none"},
        of which the first that matches decides.
    """

    __pydantic_config__ = _strict
    data: int = -1
    fsdp: int = 1
    model: int = 1
    shard: dict[str, Kind] = dataclasses.field(default_factory=lambda: {"*": "params"})


@dataclasses.dataclass(frozen=True)
class Config:
    """A config file.

    `[augment]` has augmentations of `jaxconv.augment` in order; the value of each is a table of its arguments, its
    first argument, true or false.
    """

    __pydantic_config__ = _strict
    data: DataConfig
    net: NetConfig
    optim: OptimConfig
    train: TrainConfig
    pretrained: PretrainedConfig = PretrainedConfig()
    augment: dict[str, Any] = dataclasses.field(default_factory=dict)
    precision: PrecisionConfig = PrecisionConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    devices: DevicesConfig = DevicesConfig()


SECTIONS = {
    "data": DataConfig,
    "net": NetConfig,
    "pretrained": PretrainedConfig,
    "optim": OptimConfig,
    "train": TrainConfig,
    "precision": PrecisionConfig,
    "ensemble": EnsembleConfig,
    "checkpoint": CheckpointConfig,
    "devices": DevicesConfig,
}
