"""Sweeps: one run for each combination of values."""

from __future__ import annotations

import itertools
import math
import queue
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import jax

from jaxconv._base.errors import ConfigError
from jaxconv.data.fingerprint import fingerprint
from jaxconv.run.build import load_dataset, make_deterministic
from jaxconv.run.callbacks import signals
from jaxconv.run.config import Config
from jaxconv.run.folder import short_name
from jaxconv.run.manifest import manifest
from jaxconv.run.records import read_manifest, read_result
from jaxconv.run.settings import changed, given_settings, read_settings
from jaxconv.run.training import resume, train

T = TypeVar("T")

__all__ = ["points", "sweep"]


def points(overrides: Sequence[str]) -> list[list[str]]:
    """Every combination of comma-separated values.

    Args:
      overrides: `section.key=value,value,…` each; commas within brackets or quotes do not separate.

    >>> points(["seed=0,1", "net.hidden=[100],[100, 100]"])[1]
    ['seed=0', 'net.hidden=[100, 100]']
    """
    choices = []
    for override in overrides:
        key, _, text = override.partition("=")
        choices.append([f"{key}={value}" for value in _values(text)])
    return [list(point) for point in itertools.product(*choices)]


def _values(text: str) -> list[str]:
    values, depth, quote, start = [], 0, "", 0
    for position, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and depth == 0:
            values.append(text[start:position].strip())
            start = position + 1
    return [*values, text[start:].strip()]


def sweep(
    path: str | Path,
    overrides: Sequence[str],
    folder: str | Path,
    report: Callable[[Any, str], None] = lambda event, name: None,
    begin: Callable[[str, int, int], None] = lambda name, number, total: None,
) -> list[dict[str, Any]]:
    """Train a config once for each combination of values, as many at once as there are devices for.

    Each run has an equal share of the devices, or as many as its config names. After an error or a signal no further
    run is started; those that are running end, after a signal saved.

    A second call with the same folder reuses finished runs and resumes the others, if their config, code and data are
    the same as now.

    Args:
      path: the config file.
      overrides: see `points`.
      folder: the sweep's; each combination gets a run folder in it, named after its values.
      report: called with each event of each run and the run's name.
      begin: called with name, number and count before each run.

    Returns:
      The result of each run, in the order of `points`.

    Raises:
      ConfigError, DataError: before the first run, if a combination is invalid or its folder has a run of another
        config, code or data; then as in `train`.
    """
    combinations = points(overrides)
    settings = [read_settings(Path(path), point) for point in combinations]
    for settled in settings:
        make_deterministic(settled)
    names = [_name(point) for point in combinations]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ConfigError(f"a sweep's values must differ; given twice: {', '.join(twice)}")
    checksums: dict[str, Any] = {}
    for name, settled in zip(names, settings, strict=True):
        if (Path(folder) / name / "config.toml").is_file():
            _check_same(Path(folder) / name, settled, checksums)

    def one(number: int, name: str, settled: Config, devices: Sequence[Any] | None = None) -> Any:
        own = Path(folder) / name
        begin(name, number, len(names))
        if (own / "result.json").is_file():
            return read_result(own)
        if (own / "config.toml").is_file():
            return resume(own, settled, lambda event: report(event, name), devices)
        return train(settled, own, lambda event: report(event, name), devices)

    calls = list(zip(range(1, len(names) + 1), names, settings, strict=True))
    left = [settled for _, name, settled in calls if not (Path(folder) / name / "result.json").is_file()]
    shares = _shares(left, jax.devices())
    return [one(*call) for call in calls] if len(shares) < 2 else _at_once(one, calls, shares)


def _shares(settings: Sequence[Config], devices: Sequence[Any]) -> list[Sequence[Any]]:
    """The devices of each of the runs that take place at once."""
    sizes = [(settled.devices.data, settled.devices.fsdp, settled.devices.model) for settled in settings]
    named = max((math.prod(size for size in three if size > 0) for three in sizes), default=1)
    each = max(named, len(devices) // max(1, len(settings)))
    return [devices[i : i + each] for i in range(0, len(devices) - each + 1, each)][: len(settings)]


def _at_once(one: Callable[..., T], calls: Sequence[tuple[Any, ...]], shares: Sequence[Sequence[Any]]) -> list[T]:
    """Results of all calls, each in a thread with a share of the devices to itself; raises the first error of any."""
    free = queue.SimpleQueue[Sequence[Any]]()
    for share in shares:
        free.put(share)
    failed = threading.Event()

    def run(call: tuple[Any, ...]) -> T | None:
        if failed.is_set() or received:
            return None
        devices = free.get()
        try:
            with jax.default_device(devices[0]):
                return one(*call, devices)
        except BaseException:
            failed.set()
            raise
        finally:
            free.put(devices)

    with signals() as received, ThreadPoolExecutor(len(shares)) as pool:
        futures = [pool.submit(run, call) for call in calls]
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


def _name(point: Sequence[str]) -> str:
    """Folder name of a combination: "learning_rate=0.1,seed=0"."""
    short = [override.partition("=") for override in point]
    names = [(key.strip().rpartition(".")[2], re.sub(r"[^\w.+-]+", "_", value.strip())) for key, _, value in short]
    return short_name(",".join(f"{key}={value}" for key, value in names)) or "run"
