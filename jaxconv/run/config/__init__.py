"""Config files: TOML to typed records and back."""

from jaxconv.run.config.parsing import parse, read, to_toml, with_changes
from jaxconv.run.config.records import (
    SECTIONS,
    CheckpointConfig,
    Config,
    DataConfig,
    DistillConfig,
    EnsembleConfig,
    GroupConfig,
    LossConfig,
    NetConfig,
    OptimConfig,
    PrecisionConfig,
    PretrainedConfig,
    ScheduleConfig,
    SwaConfig,
    TrainConfig,
    TtaConfig,
)

__all__ = [
    "SECTIONS",
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "DistillConfig",
    "EnsembleConfig",
    "GroupConfig",
    "LossConfig",
    "NetConfig",
    "OptimConfig",
    "PrecisionConfig",
    "PretrainedConfig",
    "ScheduleConfig",
    "SwaConfig",
    "TrainConfig",
    "TtaConfig",
    "parse",
    "read",
    "to_toml",
    "with_changes",
]
