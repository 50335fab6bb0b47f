"""From a config to a finished run, through whatever interrupts it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data.fingerprint import fingerprint
from jaxconv.run import config
from jaxconv.run import folder as files
from jaxconv.run.artifacts import finish
from jaxconv.run.callbacks import Saver, Tester, signals
from jaxconv.run.folder import Report
from jaxconv.run.records import check_folders, read_manifest
from jaxconv.run.setup import Setup, matmul_precision, set_up
from jaxconv.training.loop import Fitted, fit
from jaxconv.training.progress import Notice
from jaxconv.training.rolling import Checkpoints, saved_steps
from jaxconv.training.running import DivergedError, Means
from jaxconv.training.step import TrainState, metric_names

__all__ = ["StoppedError", "resume", "settings_of", "train"]


class StoppedError(Exception):
    """A run was asked to stop, and has been saved."""

    def __init__(self, folder: Path, done: int, steps: int, signal_number: int) -> None:
        super().__init__(
            f"stopped at step {done:,} of {steps:,} and saved; to go on:\n  jaxconv train --resume {folder}"
        )
        self.folder, self.signal_number = folder, signal_number


def train(settings: config.Config, folder: str | Path, report: Report = lambda event: None) -> dict[str, Any]:
    """Train as a config says and leave a run in a folder.

    From the first moment the folder holds `config.toml`, then `manifest.json`; while it runs
    `metrics.jsonl`, `events/` for TensorBoard and `checkpoints/`; then `params.safetensors`, pictures
    and, last, `result.json`: where that is, the run is whole. Bad input is found before the folder is
    made, and whatever moment it is killed at, `resume` goes on.

    Args:
      settings: the config.
      folder: where the run goes; must not exist, or be empty.
      report: called with each event of `jaxconv.training.loop.fit`.

    Returns:
      What `result.json` holds.

    Raises:
      ConfigError, DataError, ShapeError: the config asks for something that cannot be.
      DivergedError: the loss or a parameter became NaN or infinite.
      OSError: a file cannot be written or read; a note says up to which step the run is intact.
      StoppedError: Ctrl-C or SIGTERM came; the run was saved.
    """
    began = time.perf_counter()
    folder = Path(folder)
    files.check_new(folder)
    setup = set_up(settings)
    structs = setup.check()  # before anything is written
    with files.made(folder, config.to_toml(settings)), _intact(folder):
        return _go_on(setup, structs, folder, report, began)


def resume(
    folder: str | Path, settings: config.Config | None = None, report: Report = lambda event: None
) -> dict[str, Any]:
    """Go on with a run that was stopped or killed: with the same settings to the same bits.

    Args:
      folder: the run's.
      settings: other settings to go on with, of the same net and data; the run's own if None.
      report: called with each event of `jaxconv.training.loop.fit`.

    Returns:
      What `result.json` holds.

    Raises:
      ConfigError: it is no run or a finished one, or the state that it kept is of another net.
      DataError, ShapeError, DivergedError, StoppedError, OSError: as in `train`.
    """
    began = time.perf_counter()
    folder = Path(folder)
    kept = settings_of(folder)
    if (folder / "result.json").is_file():
        raise ConfigError(f"{folder} is finished; to test it again: jaxconv evaluate {folder}")
    check_folders(folder)
    setup = set_up(settings or kept)
    structs = setup.check()
    with files.locked(folder), _intact(folder):
        if settings is not None and settings != kept:
            files.write_atomically(folder / "config.toml", config.to_toml(settings).encode())
        return _go_on(setup, structs, folder, report, began)


def settings_of(folder: Path, changes: Sequence[str] = ()) -> config.Config:
    """The settings of a run.

    Args:
      folder: the run's.
      changes: as `jaxconv.run.config.read` takes them.

    Raises:
      ConfigError: it is no run, or a change is a mistake.
    """
    if not (folder / "config.toml").is_file():
        raise ConfigError(f"there is no run to go on with in {folder}: it must hold config.toml")
    return config.read(folder / "config.toml", list(changes))


def _go_on(setup: Setup, structs: TrainState, folder: Path, report: Report, began: float) -> dict[str, Any]:
    """Train from the latest state in a folder, or from the start, to the end."""
    settings = setup.settings
    with (
        matmul_precision(settings),
        Checkpoints(folder / "checkpoints", settings.checkpoint.keep, lambda text: report(Notice(text))) as kept,
        signals() as asked,
    ):
        latest = kept.restore(structs)
        first, start, notes = latest if latest is not None else (0, setup.start(), {})
        _note(setup, folder, first)
        tester = Tester(setup)
        saver = Saver(kept, settings.checkpoint.every_seconds, settings.checkpoint.every_steps, first, notes)
        feed = setup.feed(first)
        try:
            with (
                contextlib.closing(feed),
                files.Recorder(folder, report, setup.rate, first, tester.part) as record,
            ):
                fitted = fit(
                    setup.step,
                    start,
                    feed,
                    steps=setup.steps,
                    log_every=settings.train.log_every,
                    report=record,
                    test=saver.scored(tester),
                    eval_every=settings.train.eval_every,
                    save=saver.save,
                    due=saver.due,
                    stop=lambda: bool(asked),
                    means=Means(**notes.get("means", {})),
                    members=setup.seeds is not None,
                    metrics=metric_names(start.params, settings.train.log_norms),
                )
            if fitted.done < setup.steps:
                raise StoppedError(folder, fitted.done, setup.steps, asked[0])
            with _kept_on_failure(saver, fitted):
                found = tester.finally_on_test(fitted.final)
                return finish(setup, folder, fitted, feed, found, saver.before + time.perf_counter() - began, report)
        except DivergedError as error:
            last = f"the state of step {kept.steps[-1]} is kept" if kept.steps else "no state was kept before it"
            error.add_note(f"{last}; to go on with other settings: jaxconv train --resume {folder} KEY=VALUE")
            raise


@contextlib.contextmanager
def _kept_on_failure(saver: Saver, fitted: Fitted) -> Iterator[None]:
    """Save the final state if the block fails, so that `resume` has only the block to do again."""
    try:
        yield
    except Exception:
        with contextlib.suppress(OSError):
            saver.save(fitted.final, fitted.done, Means())
        raise


@contextlib.contextmanager
def _intact(folder: Path) -> Iterator[None]:
    """Add to an OSError up to which step the run is intact, and how to resume it."""
    try:
        yield
    except OSError as error:
        if not os.path.isfile(folder / "config.toml"):
            error.add_note(f"{folder} was deleted or moved while the run went on")
        elif os.path.isfile(folder / "result.json"):
            error.add_note(f"{folder} is finished all the same")
        else:
            steps = saved_steps(folder / "checkpoints")
            step = f"{steps[-1]:,}" if steps else "0, the start"
            error.add_note(f"the run is intact up to step {step}; to resume: jaxconv train --resume {folder}")
        raise


def _note(setup: Setup, folder: Path, first: int) -> None:
    """Write the manifest; where the run goes on, what it goes on with."""
    path = folder / "manifest.json"
    now = files.manifest(setup.settings, fingerprint(setup.dataset))
    if not path.exists():
        files.write_json(path, now)
        return
    before = read_manifest(folder)
    if before["data"] != now["data"]:
        raise DataError(
            f"a run must go on with the data that it began with; {folder} began with {before['data']}, "
            f"and now there is {now['data']}"
        )
    differ = {key: now[key] for key in now if key != "data" and now[key] != before.get(key)}
    files.write_json(path, before | {"resumed": [*before.get("resumed", []), {"step": first, **differ}]})
