"""Helpers of the benchmarks: two CPU threads for every library, interleaved timing, description of the machine."""

import importlib.metadata
import importlib.util
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

THREADS = 2


def on_two_threads() -> None:
    """JAX on the CPU, on the first two cores; to be called before anything is computed."""
    if hasattr(os, "sched_setaffinity"):  # XLA makes as many threads as it sees cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    jax.config.update("jax_platforms", "cpu")


def milliseconds(call: Callable[[], Any]) -> float:
    """One call's time."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3


def in_turn(calls: dict[str, Callable[[], Any]], rounds: int, pause: float, group: int = 1) -> dict[str, list[float]]:
    """Milliseconds of every call: rounds that begin with the next one each time, `group` timed calls of each in a row.

    Before each group come a pause, in which another library's spinning threads go to sleep, and one untimed call.
    """
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % max(len(names), 1)
        for name in names[first:] + names[:first]:
            time.sleep(pause)
            calls[name]()
            times[name] += [milliseconds(calls[name]) for _ in range(group)]
    return times


def machine(*packages: str) -> str:
    """The CPU, its threads, and the versions of those packages that are there."""
    file = Path("/proc/cpuinfo")
    info = file.read_text().splitlines() if file.exists() else []
    cpu = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), platform.processor())
    found = (name for name in packages if importlib.util.find_spec(name))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in found)
    return f"{cpu}, {os.cpu_count()} cores, {THREADS} threads each; {versions}"
