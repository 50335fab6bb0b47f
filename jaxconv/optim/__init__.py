"""Any optimiser and schedule of optax by its own name, with its own arguments."""

from jaxconv.optim.names import argument_problems
from jaxconv.optim.rate import in_steps, peak_argument, rate_schedule, schedules
from jaxconv.optim.update import decayed, optimizer, optimizers

__all__ = [
    "argument_problems", "decayed", "in_steps", "optimizer", "optimizers", "peak_argument", "rate_schedule",
    "schedules",
]  # fmt: skip
