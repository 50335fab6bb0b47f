"""Optimizer of a run, and the average of the parameters that it evaluates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from jaxconv._base.errors import ConfigError
from jaxconv.run.build.model import Model
from jaxconv.run.config import Config, GroupConfig, PruningConfig
from jaxconv.training import averaging, optim
from jaxconv.training.averaging import Averaging
from jaxconv.training.optim.update import with_path
from jaxconv.training.step import AverageOf

__all__ = ["make_average", "make_optimizer"]


def make_optimizer(settings: Config, model: Model, images: int, steps: int) -> tuple[Any, Callable[[int], float]]:
    """The optimizer and its learning rate."""
    wanted, peak = settings.optim, settings.optim.learning_rate
    schedule = wanted.schedule
    arguments = optim.in_steps(schedule.arguments, settings.train.batch_size, images, steps) if schedule else {}
    tx = optim.optimizer(
        wanted.name,
        peak,
        steps,
        schedule={"name": schedule.name, **arguments} if schedule else None,
        decay=wanted.decay,
        max_grad_norm=wanted.max_grad_norm,
        freeze=wanted.freeze,
        lr_multipliers=wanted.lr_multipliers,
        normalize=wanted.normalize,
        groups={pattern: _group(pattern, each, settings, images, steps) for pattern, each in wanted.groups.items()},
        **wanted.arguments,
    )
    if wanted.layer_decay is not None:
        params, _ = model.structs()
        tx = optim.scale_lr(tx, optim.layer_multipliers(model.float32, params, wanted.layer_decay))
    if wanted.plateau is not None:
        tx = optim.scaled_on_plateau(tx)
    if wanted.sam is not None:
        tx = optim.sharpness_aware(tx, wanted.sam, wanted.freeze)
    if wanted.pruning is not None:
        if settings.early_stopping.patience is not None:
            raise ConfigError("optim.pruning needs the whole run to reach its sparsity; unset early_stopping.patience")
        tx = _pruned(tx, wanted.pruning, steps)
    # Compiled as one program: a schedule is a dozen operations, each of which would compile by itself.
    rate = jax.jit(optim.rate_schedule(schedule.name, peak, steps, **arguments)) if schedule else lambda step: peak
    return tx, rate


def _pruned(tx: Any, wanted: PruningConfig, steps: int) -> Any:
    """The optimizer with pruning, durations in steps.

    Raises:
      ConfigError: if the run ends before the final sparsity is reached.
    """
    begin, end = (round(steps * percent / 100) for percent in (wanted.start_percent, wanted.end_percent))
    every = wanted.every_steps or max(1, steps // 100)
    last = (steps - 1) // every * every
    if not begin < end <= last:
        raise ConfigError(
            "optim.pruning: the sparsity must increase, and weights be chosen once more after that\n"
            f"  got: an increase from step {begin} to {end}, the last choice at step {last} of {steps}\n"
            "  fix: a smaller optim.pruning.every_steps or end_percent"
        )
    options: dict[str, Any] = {name: getattr(wanted, name) for name in ("patterns", "scope", "structured")}
    schedule = optim.cubic_sparsity(wanted.sparsity, begin, end)
    return with_path("optim.pruning", optim.pruned(tx, schedule, every=every, **options))


def _group(pattern: str, group: GroupConfig, settings: Config, images: int, steps: int) -> dict[str, Any]:
    """Arguments of a parameter group, durations in steps."""
    found = {"name": group.name, "learning_rate": group.learning_rate, **group.arguments}
    if group.schedule is None:
        return found
    path = f"optim.groups.{pattern}.schedule"
    arguments = optim.in_steps(group.schedule.arguments, settings.train.batch_size, images, steps, path)
    return found | {"schedule": {"name": group.schedule.name, **arguments}}


def make_average(settings: Config, steps: int) -> Averaging | AverageOf | None:
    """The average of parameters and state that is evaluated and saved, if there is one."""
    wanted, train = settings.optim, settings.train
    names = [wanted.name, *(group.name for group in wanted.groups.values())]
    free = next((name for name in names if name.startswith("schedule_free")), None)
    averaged = wanted.ema is not None or wanted.swa is not None or free is not None
    if wanted.pruning is not None and averaged:
        raise ConfigError(
            "optim.pruning needs the parameters themselves, whose averages are not zero where they are; "
            "unset optim.ema and optim.swa, and choose an optimizer without an average"
        )
    given = {
        "optim.ema": wanted.ema is not None,
        "optim.swa": wanted.swa is not None,
        f"optim.name={free}": free is not None,
    }
    if sum(given.values()) > 1:
        several = " and ".join(key for key, there in given.items() if there)
        raise ConfigError(f"a run evaluates one average of its parameters; got {several}, leave one out")
    changed = wanted.lr_multipliers or wanted.normalize or wanted.layer_decay is not None
    changed = changed or wanted.sam is not None or wanted.plateau is not None
    if free and changed:
        raise ConfigError(
            f"optim.name={free} cannot have optim.lr_multipliers, layer_decay, normalize, plateau or sam, "
            "which change its updates"
        )
    if free:
        return AverageOf(optim.averaged_params)
    if isinstance(wanted.ema, str):
        return averaging.ema_preset(wanted.ema, train.batch_size, train.epochs)
    if wanted.ema is not None:
        return averaging.ema(wanted.ema)
    if wanted.swa is None:
        return None
    every = wanted.swa.every_steps or max(1, round(steps / train.epochs))
    return averaging.swa(min(steps - 1, round(steps * wanted.swa.start_percent / 100)), every)
