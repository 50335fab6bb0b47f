"""Typed records of a config file: the one place where its keys are defined, with type, default, meaning and example."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from pydantic import Field

from jaxconv._base.limits import SEEDS
from jaxconv.run.config.kinds import STRICT, Arguments, Count, PathText, Patterns, Positive, PositiveNumber, example
from jaxconv.run.config.training_records import (
    DistillConfig,
    EarlyStoppingConfig,
    GroupConfig,
    LossConfig,
    OptimConfig,
    PlateauConfig,
    PruningConfig,
    ResizingConfig,
    ScheduleConfig,
    SwaConfig,
    TaskConfig,
    TrainConfig,
    TtaConfig,
)
from jaxconv.training.devices import Kind

__all__ = [
    "NESTED",
    "SECTIONS",
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "DevicesConfig",
    "DistillConfig",
    "EarlyStoppingConfig",
    "EnsembleConfig",
    "GroupConfig",
    "LogConfig",
    "LossConfig",
    "NetConfig",
    "OptimConfig",
    "PlateauConfig",
    "PrecisionConfig",
    "PretrainedConfig",
    "PruningConfig",
    "ResizingConfig",
    "ScheduleConfig",
    "SwaConfig",
    "TaskConfig",
    "TrainConfig",
    "TtaConfig",
]


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Images and labels."""

    __pydantic_config__ = STRICT
    name: Annotated[str, example("mnist")]
    """The dataset, or "module:function"."""
    root: Annotated[PathText | None, example("photos")] = None
    """Folder or file that is read, or searched before $JAXCONV_DATA and the cache."""
    validation: Annotated[Count, example(5000)] = 0
    """Number of images held out from the end of the training set for evaluation."""
    workers: Annotated[Count, example(2)] = 0
    """Processes that read images which are not held in memory; 0 for threads alone."""
    corrupt: Annotated[Literal["fail", "skip"], example("skip")] = "fail"
    """At an unreadable image: stop, or skip and count it."""
    arguments: Arguments = dataclasses.field(default_factory=dict)
    """All other keys: the dataset's own arguments."""


@dataclasses.dataclass(frozen=True)
class NetConfig:
    """The network."""

    __pydantic_config__ = STRICT
    name: Annotated[str, example("resnet18")]
    """A model of jaxconv.models, or "module:function"."""
    arguments: Arguments = dataclasses.field(default_factory=dict)
    """All other keys: the model's own arguments."""


@dataclasses.dataclass(frozen=True)
class PretrainedConfig:
    """Pretrained weights."""

    __pydantic_config__ = STRICT
    weights: Annotated[PathText | None, example("resnet18-f37072fd.pth")] = None
    """A .safetensors, .pth, .pt, .bin or .npz file, a run's folder, "hf://owner/repository/file"; random if unset."""
    source: Annotated[Literal["torchvision", "timm", "transformers"], example("timm")] = "torchvision"
    """Library whose parameter names the file has."""
    skip: Annotated[Patterns, example(["fc"])] = dataclasses.field(default_factory=list)
    """Path patterns of parameters that keep their random init, such as a new head."""
    ignore: Annotated[Patterns, example(["aux*"])] = dataclasses.field(default_factory=list)
    """Patterns of names in the file that the net lacks."""
    entry: Annotated[str | None, example("model_ema")] = None
    """Key of the state dict in a checkpoint that has several; the trained weights if unset."""
    part: Annotated[str | None, example("backbone")] = None
    """Path of the part that the weights are for, such as the encoder of a segmentation net, of a classifier's file; all
    other parameters keep their random init."""


@dataclasses.dataclass(frozen=True)
class PrecisionConfig:
    """Number formats."""

    __pydantic_config__ = STRICT
    compute: Annotated[Literal["float32", "bfloat16", "float16"], example("bfloat16")] = "float32"
    """Format that the net computes in, float16 with loss scaling; parameters, statistics and loss stay float32."""
    matmul: Annotated[str | None, example("highest")] = None
    """JAX's matmul precision; its default if unset."""


@dataclasses.dataclass(frozen=True)
class EnsembleConfig:
    """Several nets trained at once."""

    __pydantic_config__ = STRICT
    size: Annotated[int, Field(gt=0, lt=SEEDS), example(5)] = 1
    """Number of nets, with seeds from train.seed on."""


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints, which `jaxconv train --resume` continues from."""

    __pydantic_config__ = STRICT
    every_seconds: Annotated[PositiveNumber, example(600)] = 60.0
    """Seconds between two checkpoints, approximately."""
    every_steps: Annotated[Count, example(1000)] = 0
    """Steps between two checkpoints, in addition; 0 for none."""
    keep: Annotated[Positive, example(5)] = 2
    """Number of latest checkpoints to keep, beside the best one."""


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Writers of metrics, beside metrics.jsonl."""

    __pydantic_config__ = STRICT
    writers: Annotated[list[Literal["tensorboard", "wandb", "mlflow"]], example(["tensorboard", "wandb"])] = (
        dataclasses.field(default_factory=lambda: ["tensorboard"])
    )
    """TensorBoard's event files; Weights & Biases, without network under WANDB_MODE=offline; MLflow, at
    MLFLOW_TRACKING_URI."""
    project: Annotated[str, Field(min_length=1), example("digits")] = "jaxconv"
    """Project of Weights & Biases, experiment of MLflow."""
    layer_times: Annotated[bool, example(False)] = True
    """Whether each layer is timed at the end of a run, for its page, in 1.5 s, or 2 % of the time of a long run."""


@dataclasses.dataclass(frozen=True)
class DevicesConfig:
    """The mesh of devices; batch sizes stay global. One of the three sizes may be -1: all that are left."""

    __pydantic_config__ = STRICT
    data: Annotated[int, example(4)] = -1
    """Devices that divide the batch, and have the parameters whole."""
    fsdp: Annotated[int, example(-1)] = 1
    """Devices that divide the batch, and the parameters by the rules of shard."""
    model: Annotated[int, example(2)] = 1
    """Devices that divide the output channels of each kernel."""
    shard: Annotated[dict[str, Kind], example({"head": "none", "*": "params"})] = dataclasses.field(
        default_factory=lambda: {"*": "params"}
    )
    """Sharding along fsdp by path pattern, of which the first that matches decides: "params" (parameters, optimizer
    state and averages, FSDP), "optimizer" (ZeRO-1) or "none"."""
    deterministic: Annotated[bool, example(True)] = False
    """Whether GPUs must compute the same bits in each run, which takes longer; CPUs and TPUs always do."""


@dataclasses.dataclass(frozen=True)
class Config:
    """A config of jaxconv."""

    __pydantic_config__ = STRICT
    data: DataConfig
    net: NetConfig
    optim: OptimConfig
    train: TrainConfig
    pretrained: PretrainedConfig = PretrainedConfig()
    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    distill: DistillConfig = dataclasses.field(default_factory=DistillConfig)
    augment: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Changes of the training images, drawn anew for each, in the order given: each with a table of its arguments, its
    first argument, true or false. random_choice, a table of others, applies one of them to each image."""
    precision: PrecisionConfig = PrecisionConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
    early_stopping: EarlyStoppingConfig = dataclasses.field(default_factory=EarlyStoppingConfig)
    tta: TtaConfig = dataclasses.field(default_factory=TtaConfig)
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()
    devices: DevicesConfig = DevicesConfig()


NESTED = {
    "optim.schedule": ScheduleConfig,
    "optim.plateau": PlateauConfig,
    "optim.swa": SwaConfig,
    "optim.pruning": PruningConfig,
    "train.progressive_resizing": ResizingConfig,
}
"""Tables in a section."""
SECTIONS = {
    "data": DataConfig,
    "net": NetConfig,
    "pretrained": PretrainedConfig,
    "task": TaskConfig,
    "loss": LossConfig,
    "distill": DistillConfig,
    "optim": OptimConfig,
    "train": TrainConfig,
    "precision": PrecisionConfig,
    "ensemble": EnsembleConfig,
    "early_stopping": EarlyStoppingConfig,
    "tta": TtaConfig,
    "checkpoint": CheckpointConfig,
    "log": LogConfig,
    "devices": DevicesConfig,
}
