"""What a config file says, as records."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from jaxconv._base.limits import SEEDS

__all__ = [
    "SECTIONS",
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "EnsembleConfig",
    "NetConfig",
    "OptimConfig",
    "PrecisionConfig",
    "ScheduleConfig",
    "StartConfig",
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
      name: of the set, or "module:function".
      root: the folder to look in first.
      validation: images at the end of the training set that are not trained on, but tested on
        while training.
      workers: processes that read images, where they do not lie in memory; 0 for threads alone.
      corrupt: whether an image that cannot be read stops the run, or is skipped and counted.
      arguments: all else is the set's own.
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
    """`[net]`: `name`, of the registry or "module:function"; all else is the function's own."""

    __pydantic_config__ = _strict
    name: str
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """`[optim.schedule]`: optax's `name`; all else is the schedule's own."""

    __pydantic_config__ = _strict
    name: str
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class StartConfig:
    """`[start]`: the weights that a net begins with.

    Args:
      weights: a .safetensors, .pth, .pt, .bin or .npz file, or "hf://owner/repository/file"; none for random ones.
      source: whose names they have.
      skip: patterns of paths that begin with random values all the same: a new head.
      ignore: patterns of names in the file that the net does without.
    """

    __pydantic_config__ = _strict
    weights: PathText | None = None
    source: Literal["torchvision", "timm", "transformers"] = "torchvision"
    skip: list[str] = dataclasses.field(default_factory=list)
    ignore: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """`[optim]`.

    Args:
      name: optax's.
      learning_rate: the peak.
      schedule: of the rate; constant if there is none.
      decay: patterns of the paths of the parameters that `weight_decay` makes smaller.
      clip_norm: the longest that a gradient may be.
      accumulate: parts that a batch is cut into, one after the other in memory.
      average: decay of moving averages of the parameters, which are then tested and kept.
      freeze: patterns of the paths of parts that stay as they are.
      rates: pattern of a path -> share of the learning rate at which it learns.
      arguments: all else is the optimizer's own.
    """

    __pydantic_config__ = _strict
    name: str
    learning_rate: PositiveNumber
    schedule: ScheduleConfig | None = None
    decay: list[str] = dataclasses.field(default_factory=lambda: ["*kernel"])
    clip_norm: PositiveNumber | None = None
    accumulate: Positive = 1
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    freeze: list[str] = dataclasses.field(default_factory=list)
    rates: dict[str, PositiveNumber] = dataclasses.field(default_factory=dict)
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """`[train]`.

    Args:
      epochs: passes over the training images; need not be whole.
      batch_size: images a step.
      seed: of parameters, order, augmentation and dropout.
      label_smoothing: share of the target spread over all classes.
      log_every: steps between two lines of progress.
      eval_every: steps between two evaluations; 0 for one at the end.
      log_norms: whether the norms of the gradient and of each part's weights are logged, too.
    """

    __pydantic_config__ = _strict
    epochs: PositiveNumber
    batch_size: Positive
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] = 0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    log_every: Positive = 100
    eval_every: Count = 0
    log_norms: bool = False


@dataclasses.dataclass(frozen=True)
class PrecisionConfig:
    """`[precision]`.

    Args:
      compute: the type that the net computes in; parameters, statistics and loss stay float32.
      matmul: `jax_default_matmul_precision`, "highest" for example; jax's own default if not given.
    """

    __pydantic_config__ = _strict
    compute: Literal["float32", "bfloat16", "float16"] = "float32"
    matmul: str | None = None


@dataclasses.dataclass(frozen=True)
class EnsembleConfig:
    """`[ensemble]`: `size` nets at once, from as many seeds on from `train.seed`."""

    __pydantic_config__ = _strict
    size: Annotated[int, Field(gt=0, lt=SEEDS)] = 1


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """`[checkpoint]`.

    Args:
      every_seconds: about how often the run is saved.
      every_steps: steps between two saves beside that; 0 for none.
      keep: how many of the latest are kept, beside the best one.
    """

    __pydantic_config__ = _strict
    every_seconds: PositiveNumber = 60.0
    every_steps: Count = 0
    keep: Positive = 2


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole config file.

    `[augment]` names augmentations of `jaxconv.augment` in their order, each with its arguments, its
    first argument alone, true or false.
    """

    __pydantic_config__ = _strict
    data: DataConfig
    net: NetConfig
    optim: OptimConfig
    train: TrainConfig
    start: StartConfig = StartConfig()
    augment: dict[str, Any] = dataclasses.field(default_factory=dict)
    precision: PrecisionConfig = PrecisionConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()


SECTIONS = {
    "data": DataConfig,
    "net": NetConfig,
    "start": StartConfig,
    "optim": OptimConfig,
    "train": TrainConfig,
    "precision": PrecisionConfig,
    "ensemble": EnsembleConfig,
    "checkpoint": CheckpointConfig,
}
