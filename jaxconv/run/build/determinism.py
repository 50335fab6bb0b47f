"""The same bits in each run on a GPU."""

from __future__ import annotations

import os

import jax

from jaxconv._base.compat import backends_initialized
from jaxconv._base.errors import ConfigError
from jaxconv.run.config import Config

__all__ = ["make_deterministic"]

_FLAG = "--xla_gpu_deterministic_ops"


def make_deterministic(settings: Config) -> None:
    """Set XLA's flag for deterministic programs on GPUs if a config wants them; CPUs and TPUs compute no others.

    XLA reads its flags once, as it starts, and all programs of a process have the same.

    Args:
      settings: the config.

    Raises:
      ConfigError: if XLA has started on a GPU without the flag, or the environment sets it otherwise.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    given = [flag for flag in flags.split() if flag.partition("=")[0] == _FLAG]
    wanted = f"{_FLAG}=true"
    if not settings.devices.deterministic or (given and given[-1] in (wanted, _FLAG)):
        return
    if given:
        raise ConfigError(
            f"devices.deterministic=true sets {wanted}, got {given[-1]} in XLA_FLAGS; leave one of them out"
        )
    if not backends_initialized():
        os.environ["XLA_FLAGS"] = f"{flags} {wanted}".strip()
    elif jax.devices()[0].platform == "gpu":
        raise ConfigError(
            "devices.deterministic=true must be known before XLA starts, got a process that has used it; "
            f"start another with XLA_FLAGS={wanted}"
        )
