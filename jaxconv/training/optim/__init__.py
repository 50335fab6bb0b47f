"""Any optimizer and schedule of optax by its own name, with its own arguments."""

from jaxconv.training.optim.masks import freeze, partition, scale_lr
from jaxconv.training.optim.names import argument_problems
from jaxconv.training.optim.rate import in_steps, peak_argument, rate_schedule, schedule_arguments, schedules
from jaxconv.training.optim.update import decayed, optimizer, optimizers

__all__ = [
    "argument_problems", "decayed", "freeze", "in_steps", "optimizer", "optimizers", "partition", "peak_argument",
    "rate_schedule", "scale_lr", "schedule_arguments", "schedules",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
