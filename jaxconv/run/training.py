"""Train a config into a run folder, or resume a run."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxconv._base import processes
from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import write_atomically
from jaxconv.data.fingerprint import fingerprint
from jaxconv.run import config
from jaxconv.run.alike import check_alike, check_same_data, check_shared
from jaxconv.run.artifacts import finish
from jaxconv.run.build import Inputs, Model, Training, build, check, matmul_precision, resolved, training_feed
from jaxconv.run.callbacks import Saver, Tester, signals
from jaxconv.run.config import Config
from jaxconv.run.folder import check_new, locked, made
from jaxconv.run.manifest import manifest
from jaxconv.run.profiling import Profiler, check_profile
from jaxconv.run.recorder import Recorder, Report
from jaxconv.run.records import check_folders, read_manifest, read_result, write_json
from jaxconv.run.settings import changed, schedule_record, settings_of
from jaxconv.run.tasks import find_task, task_name
from jaxconv.run.watching import Watcher
from jaxconv.run.writers import check_writers
from jaxconv.training.budget import EvaluationBudget
from jaxconv.training.loop import Fitted, fit
from jaxconv.training.progress import Notice
from jaxconv.training.rolling import Checkpoints, saved_steps
from jaxconv.training.running import DivergedError, Means
from jaxconv.training.step import TrainState, metric_names

__all__ = ["StoppedError", "resume", "train"]


class StoppedError(Exception):
    """Raised after a signal stopped a run and it was saved."""

    def __init__(self, folder: Path, done: int, steps: int, signal_number: int) -> None:
        super().__init__(
            f"stopped at step {done:,} of {steps:,} and saved; to resume:\n  jaxconv train --resume {folder}"
        )
        self.folder, self.signal_number = folder, signal_number


def train(
    settings: Config,
    folder: str | Path,
    report: Report = lambda event: None,
    devices: Sequence[Any] | None = None,
    *,
    profile: int = 0,
) -> dict[str, Any]:
    """Train a config into a run folder.

    The folder has `config.toml` from the start, then `manifest.json`; during training `metrics.jsonl`, `events/` for
    TensorBoard and `checkpoints/`; then `params.safetensors`, pictures and, last, `result.json`, which marks the run
    as finished. Bad input is found before the folder is made, and a run that is killed at any moment can be resumed.

    Args:
      settings: the config.
      folder: the run's; must be missing or empty.
      report: called with each event of `jaxconv.training.loop.fit`.
      devices: to train on; all of JAX's if None.
      profile: number of steps to trace into `profile/`, with a table of the run's times; 0 for none.

    Returns:
      The content of `result.json`.

    Raises:
      ConfigError, DataError, ShapeError: if the config is invalid.
      DivergedError: if the loss or a parameter becomes NaN or infinite.
      OSError: if a file cannot be written or read; a note has the step up to which the run is intact.
      StoppedError: after Ctrl-C or SIGTERM; the run is saved.
    """
    began = time.perf_counter()
    folder = Path(folder)
    check_alike("train", settings, folder)
    check_new(folder)
    check_writers(settings)
    parts = build(settings, devices)
    structs = check(settings, *parts)  # before anything is written
    check_profile(profile, parts[2].steps)
    data = _fingerprint(parts[0])
    full = resolved(settings, len(parts[0].train))
    with made(folder, config.to_toml(full)), _intact(folder):
        return _run(full, *parts, structs, data, folder, report, began, schedule_record(settings, full), profile)


def resume(
    folder: str | Path,
    settings: Config | None = None,
    report: Report = lambda event: None,
    devices: Sequence[Any] | None = None,
    *,
    profile: int = 0,
) -> dict[str, Any]:
    """Resume an interrupted run; with the same settings it ends with the same bits as without the interruption.

    A finished run is trained further, from its latest checkpoint, if the settings have more steps.

    Args:
      folder: the run's.
      settings: changed settings, of the same net and data; the run's own if None.
      report: called with each event of `jaxconv.training.loop.fit`.
      devices: to train on; all of JAX's if None.
      profile: number of steps to trace into `profile/`, with a table of the run's times; 0 for none.

    Returns:
      The content of `result.json`.

    Raises:
      ConfigError: if there is no run, it is finished and the settings have no more steps, or its checkpoint is of
        another net or optimizer.
      DataError, ShapeError, DivergedError, StoppedError, OSError: as in `train`.
    """
    began = time.perf_counter()
    folder = Path(folder)
    before = settings_of(folder)
    check_alike("resume", settings or before, folder)
    finished = (folder / "result.json").is_file()
    if finished and settings is None:
        raise _finished(folder)
    check_folders(folder)
    given = settings or before
    check_writers(given)
    parts = build(given, devices)
    if finished and parts[2].steps <= read_result(folder)["steps"]:
        raise _finished(folder)
    if finished and not saved_steps(folder / "checkpoints"):
        raise ConfigError(f"{folder} has no checkpoint to resume from, got an empty {folder / 'checkpoints'}")
    structs, data = check(given, *parts), _fingerprint(parts[0])
    now, before = (resolved(each, len(parts[0].train)) for each in (given, before))
    changes = changed(before, now)
    notes: dict[str, Any] = {"changed": changes} | schedule_record(given, now) if changes else {}
    with locked(folder), _intact(folder):
        return _run(now, *parts, structs, data, folder, report, began, notes, profile)


def _fingerprint(inputs: Inputs) -> dict[str, Any]:
    """The fingerprint of a run's data, which must be the same in all processes."""
    data = fingerprint(inputs.dataset)
    check_same_data(data)
    return data


def _finished(folder: Path) -> ConfigError:
    return ConfigError(
        f"{folder} is finished; to train it further: jaxconv train --resume {folder} train.epochs=N, more than so far; "
        f"to test it again: jaxconv evaluate {folder}"
    )


def _run(
    settings: Config,
    inputs: Inputs,
    model: Model,
    training: Training,
    structs: TrainState,
    data: dict[str, Any],
    folder: Path,
    report: Report,
    began: float,
    notes: dict[str, Any],
    profile: int,
) -> dict[str, Any]:
    """Train from the latest checkpoint in a folder, or from the start, to the end; `notes` go into the manifest."""
    devices, parts = training.devices, (inputs, model)
    task = find_task(task_name(settings, inputs.dataset))
    with (
        matmul_precision(settings.precision),
        Checkpoints(folder / "checkpoints", settings.checkpoint.keep, lambda text: report(Notice(text))) as saved,
        signals() as received,
    ):
        latest = saved.restore(devices.structs(structs))
        first, start, saved_notes = latest if latest is not None else (0, devices.place(training.start()), {})
        if processes.first():
            _write_manifest(settings, data, folder, first, notes)
            (folder / "result.json").unlink(missing_ok=True)  # of a finished run that is trained further
        check_shared(folder / "manifest.json")
        tester = Tester(settings, inputs, model, members=training.members, devices=devices)
        watcher = Watcher(settings, start, saved_notes, training.rate)
        steps = first if watcher.stopped else training.steps
        saver = Saver(saved, settings.checkpoint, first, saved_notes, watcher)
        every = settings.train.eval_every
        feed = training_feed(inputs, settings, training.seeds, first, training.steps, devices)
        try:
            with (
                contextlib.closing(feed),
                _recorder(folder, report, watcher.rate, first, tester.part, settings) as record,
                Profiler(folder, profile if processes.first() else 0, first, training.steps) as profiler,
            ):
                fitted = fit(
                    training.stages,
                    start,
                    feed,
                    steps=steps,
                    log_every=settings.train.log_every,
                    report=record,
                    test=saver.scored(tester, None if every is not None else training.steps),
                    eval_every=EvaluationBudget(training.steps, tester.images) if every is None else every,
                    save=profiler.save(saver.save),
                    due=profiler.due(saver.due),
                    stop=lambda: received() is not None or watcher.stopped,
                    means=Means(**saved_notes.get("means", {})),
                    members=training.members,
                    metrics=metric_names(start.params, settings.train.log_norms, task.sums),
                    observe=watcher,
                )
                if fitted.done < training.steps and not watcher.stopped:
                    saved.wait()
                    number = processes.agreed(received() or 0, "stopped")
                    raise StoppedError(folder, fitted.done, training.steps, number)
            with _saved_on_failure(saver, fitted):
                profiler.finish(settings, model, fitted)
                if settings.early_stopping.patience is not None:
                    fitted = _ended(settings, fitted, watcher, saved, structs, training, tester, report)
                temperature = tester.temperature(fitted.final) if settings.train.temperature_scaling else None
                found = tester.on_test(fitted.final, temperature)
                seconds = saver.before + time.perf_counter() - began
                return finish(folder, settings, *parts, fitted, feed, found, seconds, report, devices, temperature)
        except DivergedError as error:
            saved.wait()
            last = f"the state of step {saved.steps[-1]} is saved" if saved.steps else "no state was saved before it"
            error.add_note(f"{last}; to resume with other settings: jaxconv train --resume {folder} KEY=VALUE")
            raise


def _recorder(folder: Path, *arguments: Any) -> contextlib.AbstractContextManager[Report]:
    """The first process's `Recorder`; the others record nothing."""
    return Recorder(folder, *arguments) if processes.first() else contextlib.nullcontext(lambda event: None)


def _ended(
    settings: Config,
    fitted: Fitted,
    watcher: Watcher,
    saved: Checkpoints,
    structs: TrainState,
    training: Training,
    tester: Tester,
    report: Report,
) -> Fitted:
    """The end of a run with early stopping: with the state of the best evaluation if the config wants it."""
    if watcher.stopped:
        report(Notice(f"stopped at step {fitted.done:,}: {watcher.waited} evaluations were no better"))
    best = saved.best
    if not settings.early_stopping.restore_best or best in (None, fitted.done):
        return fitted
    latest = saved.restore(training.devices.structs(structs), best)
    assert latest is not None
    report(Notice(f"the parameters of step {best:,} are evaluated and saved, the best so far"))
    return dataclasses.replace(fitted, final=latest[1], test=tester(latest[1]))


@contextlib.contextmanager
def _saved_on_failure(saver: Saver, fitted: Fitted) -> Iterator[None]:
    """Save the final state if the block fails, so that `resume` repeats only the block.

    Several processes save it before: of a failure of one the others do not know.
    """
    if processes.number_of() > 1:
        saver.save(fitted.final, fitted.done, Means())
        yield
        return
    try:
        yield
    except Exception:
        with contextlib.suppress(OSError):
            saver.save(fitted.final, fitted.done, Means())
        raise


@contextlib.contextmanager
def _intact(folder: Path) -> Iterator[None]:
    """Note on an OSError up to which step the run is intact, and how to resume it."""
    try:
        yield
    except OSError as error:
        if not os.path.isfile(folder / "config.toml"):
            error.add_note(f"{folder} was deleted or moved during the run")
        elif os.path.isfile(folder / "result.json"):
            error.add_note(f"{folder} is finished nevertheless")
        else:
            steps = saved_steps(folder / "checkpoints")
            step = f"{steps[-1]:,}" if steps else "0, the start"
            error.add_note(f"the run is intact up to step {step}; to resume: jaxconv train --resume {folder}")
        raise


def _write_manifest(settings: Config, data: dict[str, Any], folder: Path, first: int, notes: dict[str, Any]) -> None:
    """Write the manifest of a new run; of a resumed one, add its step and what differs from the start.

    The changed config of a resumed run is written here, after the checks of its data and checkpoint.
    """
    path = folder / "manifest.json"
    now = manifest(settings, data)
    schedule = {key: value for key, value in notes.items() if key == "schedule"}
    if not path.exists():
        write_json(path, now | schedule)
        return
    before = read_manifest(folder)
    if before["data"] != now["data"]:
        raise DataError(
            f"a run must be resumed with the same data; {folder} was started with {before['data']}, got {now['data']}"
        )
    if "changed" in notes:
        write_atomically(folder / "config.toml", config.to_toml(settings).encode())
    differ = {key: now[key] for key in now if key != "data" and now[key] != before.get(key)}
    entry = {"step": first, **differ, **({"changed": notes["changed"]} if "changed" in notes else {})}
    write_json(path, before | schedule | {"resumed": [*before.get("resumed", []), entry]})
