"""Sweeps: one run for each combination of values."""

from __future__ import annotations

import contextlib
import functools
import math
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import jax

from jaxconv._base.errors import ConfigError
from jaxconv._base.processes import number_of
from jaxconv._base.rendezvous import found_place
from jaxconv.data.fingerprint import fingerprint
from jaxconv.run.build import load_dataset, make_deterministic
from jaxconv.run.callbacks import signals
from jaxconv.run.config import Config
from jaxconv.run.folder import combination_name, locked
from jaxconv.run.manifest import manifest
from jaxconv.run.records import read_manifest, read_result
from jaxconv.run.search import Method, points
from jaxconv.run.settings import changed, given_settings, read_settings
from jaxconv.run.training import resume, train
from jaxconv.run.trials import PrunedError, Trials
from jaxconv.run.workers import gpu_memory, run_in_process
from jaxconv.training.running import DivergedError

T = TypeVar("T")
Result = dict[str, Any]

__all__ = ["sweep"]


class _Grid:
    """The runs of a sweep over every combination of values; `Trials` has the meaning of its methods."""

    def __init__(self, path: Path, overrides: Sequence[str]) -> None:
        combinations = points(overrides)
        self.samples = [read_settings(path, point) for point in combinations]
        names = [combination_name(dict(override.split("=", 1) for override in point)) for point in combinations]
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ConfigError(f"a sweep's values must differ; given twice: {', '.join(twice)}")
        self.count = len(names)
        self.started = list(zip(names, self.samples, strict=True))

    def has_ended(self, number: int) -> bool:
        return False

    def ask(self, number: int) -> tuple[str, Config]:
        return self.started[number]

    def see(self, number: int, event: Any) -> None: ...

    def tell(self, number: int, result: Any) -> None: ...

    def fail(self, number: int, error: Exception, report: Callable[[Any], None]) -> None:
        raise error


def sweep(
    path: str | Path,
    overrides: Sequence[str],
    folder: str | Path,
    report: Callable[[Any, str], None] = lambda event, name: None,
    begin: Callable[[str, int, int], None] = lambda name, number, total: None,
    *,
    method: Method = "grid",
    trials: int | None = None,
    prune: bool = False,
    processes: int = 1,
) -> list[Result]:
    """Train a config once for each combination of values, as many at once as there are devices for.

    Each run has an equal share of the devices, or as many as its config names; with several processes, each has a
    share of the CPU cores instead. After an error or a signal no further run is started; those that are running end,
    after a signal saved.

    A second call with the same folder reuses finished runs and resumes the others, if their config, code and data are
    the same as now.

    Args:
      path: the config file.
      overrides: see `jaxconv.run.search.space`.
      folder: the sweep's; each combination gets a run folder in it, named after its values.
      report: called with each event of each run and the run's name.
      begin: called with name, number and count before each run.
      method: "grid" for every combination of values; "random" or "tpe" to choose the values of each of `trials` runs.
      trials: number of runs of "random" and "tpe"; a second call may have more.
      prune: of "tpe": whether to stop runs that are less accurate than half of the others at the same point.
      processes: number of processes, each with one run at a time; 1 for this one alone.

    Returns:
      The result of each run, in the order of the combinations; of a run that was pruned or diverged as values were
      chosen, {}.

    Raises:
      ConfigError, DataError: before the first run, if a combination is invalid or its folder has a run of another
        config, code or data, or if this is one of several processes of a cluster; then as in `train`.
    """
    path, folder = Path(path), Path(folder)
    _check_single()
    if processes < 1:
        raise ConfigError(f"--processes must be at least 1, got {processes}")
    if method == "grid" and (trials is not None or prune):
        raise ConfigError("a grid has a run for each combination; --trials and --prune are for --method random or tpe")
    runs = _Grid(path, overrides) if method == "grid" else Trials(path, overrides, folder, method, trials, prune)
    for settled in runs.samples:
        make_deterministic(settled)
    checksums: dict[str, Any] = {}
    for name, settled in runs.started:
        if (folder / name / "config.toml").is_file():
            _check_same(folder / name, settled, checksums)

    def one(trained: Callable[..., Result], number: int, share: Any = None) -> Result:
        name, settled = runs.ask(number)
        own = folder / name
        begin(name, number + 1, runs.count)

        def each(event: Any) -> None:
            report(event, name)
            runs.see(number, event)

        try:
            result = read_result(own) if (own / "result.json").is_file() else trained(settled, own, each, share)
        except (PrunedError, DivergedError) as error:
            runs.fail(number, error, lambda event: report(event, name))
            return {}
        runs.tell(number, result)
        return dict(result)

    with contextlib.nullcontext() if method == "grid" else _own(folder):
        numbers = [number for number in range(runs.count) if not runs.has_ended(number)]
        ended = {n: _result(folder / name) for n, (name, _) in enumerate(runs.started) if runs.has_ended(n)}
        found = dict(zip(numbers, _all(one, numbers, runs, folder, processes), strict=True))
    return [(ended | found)[number] for number in range(runs.count)]


def _check_single() -> None:
    """Raise ConfigError if this is one of several processes, each of which would train all runs."""
    fix = "fix: start one process, which trains as many runs at once as there are devices for"
    place = found_place(fix=fix)
    count = number_of() if place is None else place.count
    if count > 1:
        raise ConfigError(f"a sweep must have one process; got one of {count}; {fix}")


def _all(
    one: Callable[..., Result], numbers: Sequence[int], runs: _Grid | Trials, folder: Path, processes: int
) -> list[Result]:
    """Results of runs, one after the other or at once: in processes, or on devices."""
    if processes > 1:
        shares = range(min(processes, len(numbers)))
        with gpu_memory(len(shares) or 1):
            return _at_once(functools.partial(one, functools.partial(_in_process, len(shares))), numbers, shares)
    left = [
        runs.started[number][1] if number < len(runs.started) else runs.samples[0]
        for number in numbers
        if number >= len(runs.started) or not (folder / runs.started[number][0] / "result.json").is_file()
    ]
    devices = _shares(left, jax.devices())
    if len(devices) < 2:
        return [one(_here, number) for number in numbers]
    return _at_once(functools.partial(one, _here), numbers, devices)


def _here(settled: Config, own: Path, report: Callable[[Any], None], devices: Sequence[Any] | None) -> Result:
    """Train or resume a run in this process."""
    with jax.default_device(devices[0]) if devices else contextlib.nullcontext():
        if (own / "config.toml").is_file():
            return resume(own, settled, report, devices)
        return train(settled, own, report, devices)


def _in_process(count: int, settled: Config, own: Path, report: Callable[[Any], None], number: int) -> Result:
    """Train or resume a run in a process of its own."""
    with signals() as received:
        return run_in_process(settled, own, report, lambda: received() is not None, number=number, count=count)


def _result(own: Path) -> Result:
    return dict(read_result(own)) if (own / "result.json").is_file() else {}


@contextlib.contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Lock a sweep against other processes, which would choose the same values."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        yield


def _shares(settings: Sequence[Config], devices: Sequence[Any]) -> list[Sequence[Any]]:
    """The devices of each of the runs that take place at once."""
    sizes = [(settled.devices.data, settled.devices.fsdp, settled.devices.model) for settled in settings]
    named = max((math.prod(size for size in three if size > 0) for three in sizes), default=1)
    each = max(named, len(devices) // max(1, len(settings)))
    return [devices[i : i + each] for i in range(0, len(devices) - each + 1, each)][: len(settings)]


def _at_once(one: Callable[[int, Any], T], numbers: Sequence[int], shares: Sequence[Any]) -> list[T]:
    """Results of all runs, each in a thread with a share of the machine to itself; raises the first error of any."""
    free = queue.SimpleQueue[Any]()
    for share in shares:
        free.put(share)
    failed = threading.Event()

    def run(number: int) -> T | None:
        if failed.is_set() or received() is not None:
            return None
        share = free.get()
        try:
            return one(number, share)
        except BaseException:
            failed.set()
            raise
        finally:
            free.put(share)

    with signals() as received, ThreadPoolExecutor(max(1, len(shares))) as pool:
        futures = [pool.submit(run, number) for number in numbers]
    return [future.result() for future in futures]  # type: ignore[misc]  # None only after an error


def _check_same(folder: Path, settled: Config, checksums: dict[str, Any]) -> None:
    """Raise ConfigError unless a run has this config, and was trained by this code on this data."""

    def refuse(differences: list[str]) -> None:
        if differences:
            raise ConfigError(
                f"a sweep reuses only runs of the same config, code and data; {folder} has "
                f"{'; '.join(differences)}\n  fix: give --out another folder, or delete {folder} to train it again"
            )

    started = (folder / "manifest.json").exists() or (folder / "result.json").exists()
    found = changed(given_settings(folder), settled)
    if not started:  # killed before its manifest was written, and with it the schedule as it was given
        found = {key: pair for key, pair in found.items() if not key.startswith("optim.schedule.")}
    refuse([f"{key} {pair['before']!r}, now {pair['now']!r}" for key, pair in found.items()])
    if not started:
        return
    before, key = read_manifest(folder), repr(settled.data)
    if key not in checksums:
        checksums[key] = fingerprint(load_dataset(settled))
    now = manifest(settled, checksums[key])
    for entry in [before, *before.get("resumed", [])]:
        then = entry.get("versions", now["versions"])
        names = [name for name in sorted({*then, *now["versions"]}) if then.get(name) != now["versions"].get(name)]
        refuse([f"{name} {then.get(name)!r}, now {now['versions'].get(name)!r}" for name in names])
        if entry.get("code", now["code"] if "step" in entry else None) != now["code"]:
            refuse(["been trained by another version of jaxconv's code or of the config's own modules"])
    refuse(["been trained on other data"] if before["data"] != now["data"] else [])
