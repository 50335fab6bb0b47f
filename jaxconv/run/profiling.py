"""Profile of a run: a trace of some steps, where the time goes, and the speed of arithmetic beside the machine's."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxconv._base.errors import ConfigError
from jaxconv._base.files import writing
from jaxconv.analysis.summary import summary
from jaxconv.run.build import Model
from jaxconv.run.config import Config
from jaxconv.run.records import write_json
from jaxconv.training.loop import Fitted
from jaxconv.training.running import Means
from jaxconv.training.step import TrainState

__all__ = ["Profiler", "check_profile", "peak_flops", "read_profile"]

FOLDER, TABLE = "profile", "table.json"
_PASSES = 3  # forward, and the gradients of input and kernel, each of as many MACs
_SECONDS = 0.1  # of one product, at least


class Profiler:
    """Traces steps of a run, and measures its parts; without steps it does nothing.

    Args:
      folder: the run's.
      steps: number of steps to trace, at least: a trace ends with a dispatch.
      first: step that the run starts or resumes from.
      total: total steps of the run.

    Raises:
      ConfigError: if there are not as many steps.
    """

    def __init__(self, folder: Path, steps: int, first: int, total: int) -> None:
        check_profile(steps, total - first)
        self._folder, self._steps, self._first = folder, steps, first
        self._begin: int | None = None
        self._end = first
        self._tracing, self._saving = False, 0.0

    def __enter__(self) -> Profiler:
        return self

    def __exit__(self, *error: object) -> None:
        if self._tracing:
            self._tracing = False
            with contextlib.suppress(OSError, RuntimeError):
                jax.profiler.stop_trace()

    def due(self, due: Callable[[int], int | None]) -> Callable[[int], int | None]:
        """Start and end the trace in the calls that `fit` makes between dispatches."""

        def watch(done: int) -> int | None:
            self._at(done)
            return due(done)

        return watch if self._steps else due

    def save(self, save: Callable[[TrainState, int, Means], None]) -> Callable[[TrainState, int, Means], None]:
        """Measure the time of checkpoints."""

        def timed(state: TrainState, done: int, means: Means) -> None:
            began = time.perf_counter()
            save(state, done, means)
            self._saving += time.perf_counter() - began

        return timed if self._steps else save

    def finish(self, settings: Config, model: Model, fitted: Fitted) -> None:
        """End the trace, measure the machine, and write the table."""
        if not self._steps:
            return
        self._end = fitted.done if self._tracing else self._end
        self.__exit__()
        stepping = fitted.seconds - fitted.waited
        images = (fitted.done - self._first) * settings.train.batch_size * settings.ensemble.size
        flops = 2 * _PASSES * int(summary(model.net, model.shape).macs) * images
        parts = {"data": fitted.waited, "step": stepping, "evaluation": fitted.evaluating, "checkpoint": self._saving}
        table = {
            "seconds": parts | {"compilation": fitted.compile_seconds},
            "traced": [self._begin or self._first, self._end],
            "flops": flops / stepping if stepping > 0 else 0.0,
            "peak_flops": peak_flops(settings.precision.compute),
        }
        with writing(self._folder / FOLDER):
            (self._folder / FOLDER).mkdir(exist_ok=True)
        write_json(self._folder / FOLDER / TABLE, table)

    def _at(self, done: int) -> None:
        """Start after the first dispatch; end when the dispatch before the latest one is the last to be traced.

        The latest may still be running.
        """
        if self._begin is None and done > self._first:
            with writing(self._folder / FOLDER):
                jax.profiler.start_trace(str(self._folder / FOLDER))
            self._begin = self._end = done
            self._tracing = True
        elif self._tracing and done > self._end:
            before, self._end = self._end, done
            if before - (self._begin or 0) >= self._steps:
                self._tracing, self._end = False, before
                with writing(self._folder / FOLDER):
                    jax.profiler.stop_trace()


def check_profile(steps: int, count: int) -> None:
    """Raise ConfigError unless a run of so many steps can trace `steps` of them; 0 for none."""
    if not 0 <= steps <= count:
        raise ConfigError(f"--profile must be from 1 to {count:,}, the steps of the run; got {steps:,}")


def read_profile(folder: Path) -> dict[str, str]:
    """The table of a run's profile as text by name: seconds and shares of its parts, and the speed of arithmetic."""
    table = json.loads((folder / FOLDER / TABLE).read_text("utf-8"))
    seconds: dict[str, float] = table["seconds"]
    total = sum(seconds.values())
    rows = {name: f"{value:.2f} s, {value / total:.1%}" for name, value in seconds.items()}
    speed, peak = table["flops"], table["peak_flops"]
    arithmetic = f"{speed / 1e9:,.0f} GFLOP/s, {speed / peak:.0%} of the {peak / 1e9:,.0f} of a matrix product"
    first, last = table["traced"]
    return rows | {"arithmetic": arithmetic, "trace": f"{folder / FOLDER}, steps {first + 1:,} to {last:,}"}


def peak_flops(dtype: str = "float32") -> float:
    """Fastest floating-point operations per second of a large matrix product on one device.

    Args:
      dtype: of its operands.
    """
    multiply = jax.jit(jnp.matmul)
    size, best = 1024, 0.0
    while True:
        a = jnp.ones((size, size), dtype)
        multiply(a, a).block_until_ready()
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            multiply(a, a).block_until_ready()
            seconds.append(time.perf_counter() - began)
        best = max(best, 2 * size**3 / min(seconds))
        if min(seconds) > _SECONDS or size >= 16384:
            return best
        size *= 2
