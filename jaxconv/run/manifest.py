"""Manifest of a run: command, versions, device, code and data."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from jaxconv._base.limits import cpu_cores
from jaxconv.run.code import code_checksum
from jaxconv.run.config import Config

__all__ = ["command", "device", "manifest", "versions"]


def manifest(settings: Config, data: dict[str, Any]) -> dict[str, Any]:
    """Everything that a run's numbers depend on beside its config.

    Args:
      settings: the config.
      data: fingerprint of the data.
    """
    return {
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command(),
        "versions": versions(),
        "device": device(),
        "flags": {key: os.environ[key] for key in sorted(os.environ) if key.startswith(("XLA_", "JAX_", "JAXCONV_"))},
        "precision": dataclasses.asdict(settings.precision),
        "seed": settings.train.seed,
        "revision": _revision(),
        "code": code_checksum(settings),
        "data": data,
    }


def command() -> str:
    """Command line of this process."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def device() -> dict[str, Any]:
    """Device and machine of this process."""
    first = jax.devices()[0]
    return {
        "kind": first.device_kind,
        "platform": first.platform,
        "count": jax.device_count(),
        "processes": jax.process_count(),
        "cpu_cores": cpu_cores(),
        "machine": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("jaxconv", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint", "grain"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def _revision() -> str | None:
    """Git commit of the current directory, with "+" if files differ from it; None outside a repository."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None
