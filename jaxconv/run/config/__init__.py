"""Config files: TOML to typed records and back."""

from jaxconv.run.config.parsing import parse, read, to_toml
from jaxconv.run.config.records import (
    SECTIONS,
    CheckpointConfig,
    Config,
    DataConfig,
    EnsembleConfig,
    NetConfig,
    OptimConfig,
    PrecisionConfig,
    PretrainedConfig,
    ScheduleConfig,
    TrainConfig,
)

__all__ = [
    "SECTIONS",
    "CheckpointConfig",
    "Config",
    "DataConfig",
    "EnsembleConfig",
    "NetConfig",
    "OptimConfig",
    "PrecisionConfig",
    "PretrainedConfig",
    "ScheduleConfig",
    "TrainConfig",
    "parse",
    "read",
    "to_toml",
]
