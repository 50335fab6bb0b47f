"""The files of a run: what it was made of, and what it has measured so far."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import hashlib
import importlib.metadata
import itertools
import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxconv._base.errors import ConfigError
from jaxconv._base.files import WriteError, write_atomically, writing
from jaxconv.run.code import code_checksum
from jaxconv.run.records import read_lines
from jaxconv.run.tensorboard import EventWriter
from jaxconv.training.progress import Evaluation, Progress

__all__ = [
    "Recorder",
    "check_new",
    "command",
    "device",
    "json_bytes",
    "json_text",
    "locked",
    "made",
    "manifest",
    "new_folder",
    "reserved",
    "short_name",
    "write_json",
]

Report = Callable[[Any], None]

_LOCK = ".lock"
_LONGEST_NAME = 220  # bytes, of the 255 that file systems take: a date and a number may be appended


def short_name(name: str) -> str:
    """A name that file systems take: of one that is too long, the beginning and a checksum.

    >>> short_name("seed=0"), len(short_name("x" * 300))
    ('seed=0', 220)
    """
    content = name.encode()
    if len(content) <= _LONGEST_NAME:
        return name
    return f"{content[: _LONGEST_NAME - 13].decode(errors='ignore')}-{hashlib.sha256(content).hexdigest()[:12]}"


def new_folder(stem: str, parent: str | Path = "runs") -> Path:
    """Make an empty folder for a run: `runs/<stem>-<YYYYmmdd-HHMMSS>`, `-2` and so on where that exists.

    Whoever makes it has it: runs that start in the same second get folders of their own.

    Args:
      stem: of the config file's name.
      parent: where runs are saved.

    Raises:
      WriteError: it cannot be made.
    """
    name = f"{short_name(stem)}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    with writing(Path(parent) / name):
        Path(parent).mkdir(parents=True, exist_ok=True)
        for ending in itertools.chain([""], (f"-{number}" for number in itertools.count(2))):
            path = Path(parent) / f"{name}{ending}"
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                break
    return path


@contextlib.contextmanager
def reserved(stem: str, parent: str | Path = "runs") -> Iterator[Path]:
    """`new_folder`, which is removed again where nothing was written to it.

    Args:
      stem: of the config file's name.
      parent: where runs are saved.
    """
    path = new_folder(stem, parent)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):  # it holds a run
            path.rmdir()


def check_new(folder: Path) -> None:
    """Raise ConfigError if a run would overwrite something."""
    if folder.exists() and (not folder.is_dir() or any(entry.name != _LOCK for entry in folder.iterdir())):
        raise ConfigError(f"a run never overwrites: {folder} exists already; give --out another folder")


@contextlib.contextmanager
def made(folder: Path, text: str) -> Iterator[None]:
    """Make the folder of a run with its config in it, and keep it locked.

    Args:
      folder: of the run; must not exist, or be empty.
      text: of `config.toml`.

    Raises:
      ConfigError: it holds something already, or another process writes to it.
      WriteError: it cannot be written; nothing is left behind.
    """
    check_new(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        check_new(folder)  # another process may have been here since
        try:
            write_atomically(folder / "config.toml", text.encode())
        except OSError:
            (folder / _LOCK).unlink()
            folder.rmdir()
            raise
        yield


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep every other process from writing to a run meanwhile; the lock goes with the process.

    Raises:
      ConfigError: another process has it.
      WriteError: the lock's file cannot be written.
    """
    with writing(folder / _LOCK):
        handle = open(folder / _LOCK, "w", encoding="utf-8")  # noqa: SIM115
    with handle:
        try:
            with writing(folder / _LOCK):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except WriteError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise ConfigError(f"{folder} is being written by another process; wait for it, or stop it") from None
        yield


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON, which knows neither NaN nor infinity: both become null.

    Args:
      value: of dicts, lists, text and numbers, NumPy's too.
      indent: as `json.dumps` takes it.

    >>> json_text({"a": [float("nan"), 1.5], "b": np.float32(2)})
    '{"a": [null, 1.5], "b": 2.0}'
    """
    return json.dumps(_plain(value), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Write JSON that people read, whole or not at all."""
    write_atomically(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """The content of a JSON file that people read."""
    return (json_text(value, indent=2) + "\n").encode()


class Recorder:
    """Writes events as they come, to `metrics.jsonl` and for TensorBoard, and passes them on.

    Args:
      folder: of the run.
      report: where events go on to.
      rate: `step -> learning rate`.
      since: the step that the run goes on from; what was measured after it is dropped.
      part: what evaluations are on, "validation" or "test".
    """

    def __init__(self, folder: Path, report: Report, rate: Callable[[int], float], since: int, part: str) -> None:
        kept = [line for line in read_lines(folder) if line["step"] <= since]
        self._path = folder / "metrics.jsonl"
        write_atomically(self._path, "".join(json_text(line) + "\n" for line in kept).encode())
        with writing(self._path):
            self._metrics = open(self._path, "a", encoding="utf-8")  # noqa: SIM115
        self._events = EventWriter(folder / "events", purge_step=since + 1 if since else None)
        self._report, self._rate, self._part = report, rate, part

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            with writing(self._path):
                self._metrics.close()
            self._events.close()
        except WriteError:  # what was raised first says more
            if error is None:
                raise

    def __call__(self, event: Any) -> None:
        if isinstance(event, Progress):
            line = dataclasses.asdict(event)
            del line["steps"], line["seconds_left"]
            for name in ("gradient_norm", "weight_norms"):
                if not line[name]:
                    del line[name]
            self._write(line | {"learning_rate": float(self._rate(event.step - 1))}, "train")
        elif isinstance(event, Evaluation):
            found = {"loss": event.found.loss, "accuracy": event.found.accuracy, **event.found.more}
            self._write(
                {"step": event.step} | {f"{self._part}_{name}": value for name, value in found.items()}, self._part
            )
        self._report(event)

    def _write(self, line: dict[str, Any], part: str) -> None:
        with writing(self._path):
            # Raises where the folder was deleted or moved: nothing could be written there at the end.
            if not os.path.samestat(os.stat(self._path), os.fstat(self._metrics.fileno())):
                raise FileNotFoundError(errno.ENOENT, "it was replaced while the run goes on")
            self._metrics.write(json_text(line) + "\n")
            self._metrics.flush()  # whoever watches the file, or kills the run, has all of it so far
        numbers = {name.removeprefix(f"{part}_"): value for name, value in line.items() if isinstance(value, float)}
        norms = {f"weight_norm/{name}": value for name, value in line.get("weight_norms", {}).items()}
        self._events.scalars(line["step"], {f"{part}/{name}": value for name, value in numbers.items()} | norms)


def manifest(settings: Any, data: dict[str, Any]) -> dict[str, Any]:
    """What a run's numbers depend on beside its config.

    Args:
      settings: the config.
      data: the data's fingerprint.
    """
    return {
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command(),
        "versions": _versions(),
        "device": device(),
        "flags": {key: os.environ[key] for key in sorted(os.environ) if key.startswith(("XLA_", "JAX_", "JAXCONV_"))},
        "precision": dataclasses.asdict(settings.precision),
        "seed": settings.train.seed,
        "revision": _revision(),
        "code": code_checksum(settings),
        "data": data,
    }


def command() -> str:
    """The command that this process was started with."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def device() -> dict[str, Any]:
    """What the run ran on."""
    first = jax.devices()[0]
    return {
        "kind": first.device_kind,
        "platform": first.platform,
        "count": jax.device_count(),
        "cpu_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": platform.platform(),
    }


def _versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("jaxconv", "jax", "jaxlib", "numpy", "optax", "orbax-checkpoint", "grain"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def _revision() -> str | None:
    """The git commit of the folder that the command runs in, "+" where files differ from it; None without one."""
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
