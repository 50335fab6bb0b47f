"""Optimizers and learning-rate schedules: every one of optax, by name; freezing and learning-rate multipliers."""

from jaxconv.training.optim.depth import layer_groups, layer_multipliers
from jaxconv.training.optim.masks import freeze, normalized, partition, scale_lr
from jaxconv.training.optim.names import argument_problems
from jaxconv.training.optim.plateau import observe_loss, plateau_scale, scaled_on_plateau
from jaxconv.training.optim.pruning import cubic_sparsity, hold_pruned, magnitude_masks, pruned
from jaxconv.training.optim.rate import in_steps, peak_argument, rate_schedule, schedule_arguments, schedules
from jaxconv.training.optim.sharpness import averaged_params, sharpness_aware
from jaxconv.training.optim.update import decayed, optimizer, optimizers

__all__ = [
    "argument_problems", "averaged_params", "cubic_sparsity", "decayed", "freeze", "hold_pruned", "in_steps",
    "layer_groups", "layer_multipliers", "magnitude_masks", "normalized", "observe_loss", "optimizer", "optimizers",
    "partition", "peak_argument", "plateau_scale", "pruned", "rate_schedule", "scale_lr", "scaled_on_plateau",
    "schedule_arguments", "schedules", "sharpness_aware",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
