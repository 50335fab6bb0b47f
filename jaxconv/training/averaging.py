"""Averages of the parameters over the steps: exponential moving average (EMA), stochastic weight averaging (SWA)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from jaxconv._base.errors import ConfigError

__all__ = ["Averaging", "EmaPreset", "ema", "ema_preset", "swa"]

Averaging = Callable[[jax.Array], jax.Array]
"""`steps taken before this one -> decay`: the average becomes `decay * average + (1 - decay) * (params, state)`."""

EmaPreset = Literal["timm", "torchvision"]


def ema(decay: float, every: int = 1) -> Averaging:
    """Exponential moving average, whose decay grows with the first steps as `(1 + step) / (10 + step)`.

    Args:
      decay: in (0, 1), close to 1.
      every: steps between two updates of the average.

    Raises:
      ConfigError: if decay or every is outside its range.

    >>> print(ema(0.9)(jnp.int32(0)), ema(0.9)(jnp.int32(1000)))
    0.1 0.9
    """
    if not 0 < decay < 1 or every < 1:
        raise ConfigError(f"an EMA needs a decay in (0, 1) and every ≥ 1, got {decay} and {every}")

    def rule(step: jax.Array) -> jax.Array:
        taken = (step // every).astype(jnp.float32)
        grown = jnp.minimum(decay, (1.0 + taken) / (10.0 + taken))
        return grown if every == 1 else jnp.where((step + 1) % every == 0, grown, 1.0)

    return rule


def ema_preset(name: EmaPreset, batch_size: int, epochs: float) -> Averaging:
    """The EMA of a library's recipes.

    Args:
      name: "timm" (decay 0.9998) or "torchvision" (every 32 steps, with a decay that follows from batch size and
        epochs).
      batch_size: images per step.
      epochs: passes over the training images.

    Raises:
      ConfigError: if torchvision's decay is not above 0 for this batch size and so few epochs.

    Source: timm's `train.py --model-ema-decay`, torchvision's `references/classification/train.py`.

    >>> print(ema_preset("timm", 128, 10)(jnp.int32(10**6)))
    0.9998
    """
    if name == "timm":
        return ema(0.9998)
    every, decay = 32, 0.99998
    adjusted = 1 - (1 - decay) * batch_size * every / epochs
    if adjusted <= 0:
        raise ConfigError(
            f"optim.ema=torchvision needs more epochs or a smaller train.batch_size: its decay would be {adjusted:.3g}"
        )
    return ema(adjusted, every)


def swa(start: int, every: int) -> Averaging:
    """Stochastic weight averaging: the mean of the parameters at evenly spaced steps, and the last ones before them.

    Args:
      start: steps before the first one that is averaged.
      every: steps between two that are averaged.

    Raises:
      ConfigError: if start is negative or every is not positive.

    Source: Izmailov et al., Averaging weights leads to wider optima and better generalization, 2018. Running statistics
    are averaged, too.

    >>> rule = swa(start=2, every=2)
    >>> [round(float(rule(jnp.int32(step))), 3) for step in range(8)]
    [0.0, 0.0, 0.0, 1.0, 0.5, 1.0, 0.667, 1.0]
    """
    if start < 0 or every < 1:
        raise ConfigError(f"SWA needs start ≥ 0 and every ≥ 1, got {start} and {every}")

    def rule(step: jax.Array) -> jax.Array:
        before = jnp.maximum(step - start, 0)
        count = (before // every).astype(jnp.float32)
        sampled = (before % every == 0) | (step < start)
        return jnp.where(sampled, jnp.where(step < start, 0.0, count / (count + 1)), 1.0)

    return rule


def __dir__() -> list[str]:
    return sorted(__all__)
