"""Limits of numbers and of this machine, checked before anything is computed or allocated."""

from __future__ import annotations

import os

from jaxconv._base.errors import ConfigError

__all__ = ["LARGEST_INT", "SEEDS", "check_memory", "cpu_cores", "memory_bytes"]

LARGEST_INT = 2**31 - 1  # whole numbers enter a compiled program as int32
_ABSURD = 10**18  # bytes
SEEDS = 2**32  # jax.random.key takes the lower 32 bits of a seed: those from here on would repeat


def cpu_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """The memory that arrays can be in: the device's own, or on a CPU the machine's."""
    import jax

    found = jax.local_devices()[0].memory_stats() or {}
    return int(found.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def check_memory(what: str, needed: int, fix: str) -> None:
    """Raise ConfigError if something needs more memory than there is.

    Args:
      what: what needs it, with the keys of a config that say how much.
      needed: bytes.
      fix: what to change.
    """
    there = memory_bytes()
    if needed > there:
        size = f"{needed / 1e9:,.1f} GB of memory" if needed < _ABSURD else "more memory than any machine has"
        raise ConfigError(f"{what} needs {size}, expected at most {there / 1e9:,.1f} GB; try {fix}")
