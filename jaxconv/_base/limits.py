"""Limits of numbers and of this machine, checked before anything is computed or allocated."""

from __future__ import annotations

import os
from pathlib import Path

from jaxconv._base.errors import ConfigError

__all__ = ["LARGEST_INT", "SEEDS", "check_memory", "cpu_cores", "memory_bytes", "process_memory_bytes"]

LARGEST_INT = 2**31 - 1  # integers enter a compiled program as int32
_ABSURD = 10**18  # bytes
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
SEEDS = 2**32  # jax.random.key uses the lower 32 bits of a seed: larger ones would repeat


def cpu_cores() -> int:
    """Number of CPU cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def process_memory_bytes() -> int:
    """Memory available to this process: that of the machine, or the limit of its container if that is less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in map(Path, _CGROUP_LIMITS):
        try:
            limits.append(int(file.read_text("utf-8")))
        except (OSError, ValueError):  # missing, or "max"
            continue
    return min(limits)


def memory_bytes() -> int:
    """Memory for arrays: that of the device, or on a CPU that of the process."""
    import jax

    found = jax.local_devices()[0].memory_stats() or {}
    return int(found.get("bytes_limit") or process_memory_bytes())


def check_memory(what: str, needed: int, fix: str) -> None:
    """Raise ConfigError if something does not fit into memory.

    Args:
      what: the thing that needs memory, with the config keys that determine its size.
      needed: size in bytes.
      fix: the change to suggest.
    """
    there = memory_bytes()
    if needed > there:
        size = f"{needed / 1e9:,.1f} GB of memory" if needed < _ABSURD else "more memory than any machine has"
        raise ConfigError(f"{what} needs {size}, expected at most {there / 1e9:,.1f} GB; try {fix}")
