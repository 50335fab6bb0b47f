"""Rolling checkpoints of a run (Orbax), with fallback to the previous one if the latest is damaged."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import gc
import logging
import os
import re
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import WriteError, writing
from jaxconv._base.processes import agreed, first, gathered, number_of, own_parts
from jaxconv.training import sealed

T = TypeVar("T")

__all__ = ["Checkpoints", "saved_steps"]

_FILES = 64  # more than Orbax creates for one checkpoint, folders included
_BESIDE = 2**16  # bytes of its small files, at least a block each

# Held while Orbax works for a run in a thread of its own: saves of one process share counters, and those of two runs at
# the same time wait for each other forever.
_orbax = threading.RLock()


class Checkpoints:
    """The checkpoints of a run, written atomically in the background by Orbax. All processes call each method.

    Each has a checksum of its arrays and metadata. If a checkpoint does not match, `restore` renames it to
    `<step>.damaged` and restores the previous one.

    Args:
      folder: created if missing.
      keep: number of latest checkpoints to keep, beside the one with the highest score.
      report: called with a message about each damaged checkpoint.

    Raises:
      WriteError: if the folder cannot be written.

    >>> import tempfile
    >>> import jax, jax.numpy as jnp
    >>> with Checkpoints(tempfile.mkdtemp()) as checkpoints:
    ...     checkpoints.save(10, {"w": jnp.arange(2.0)}, {"seconds": 1.5})
    >>> with Checkpoints(checkpoints.folder) as checkpoints:
    ...     checkpoints.restore({"w": jax.ShapeDtypeStruct([2], jnp.float32)})
    (10, {'w': Array([0., 1.], dtype=float32)}, {'seconds': 1.5})
    """

    def __init__(self, folder: str | Path, keep: int = 2, report: Callable[[str], None] = lambda line: None) -> None:
        import orbax.checkpoint as orbax

        self.folder, self._report = Path(folder).absolute(), report
        self._scores: dict[int, float] = {}
        options = orbax.CheckpointManagerOptions(preservation_policy=_LatestAndBest(keep, self._scores))
        self._args = orbax.args
        with _orbax, contextlib.ExitStack() as scope:
            scope.enter_context(_quiet())
            with _writing(self.folder):
                self._manager: Any = orbax.CheckpointManager(self.folder, options=options)
            scores = {step: sealed.score_of(self.folder / str(step)) for step in self.steps}
            # Orbax reads no scores of an earlier process.
            self._scores.update((step, score) for step, score in scores.items() if score is not None)
            self._scope = scope.pop_all()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with _orbax, self._scope:
            try:
                with _writing(self.folder):
                    if error is None or number_of() == 1:  # Orbax would wait for processes that have no error
                        self._manager.close()
            except WriteError:
                if error is None:
                    raise
            finally:
                if error is not None:
                    gc.collect()

    @property
    def steps(self) -> list[int]:
        """The steps of the existing checkpoints, in order."""
        return sorted(self._manager.all_steps())

    def wait(self) -> None:
        """Wait until all checkpoints are written.

        Raises:
          WriteError: if one could not be written.
        """
        with _orbax, _writing(self.folder):
            self._manager.wait_until_finished()

    def save(self, step: int, tree: Any, notes: dict[str, Any], score: float | None = None) -> None:
        """Save a checkpoint; returns once the state is copied, and writes in the background.

        Args:
          step: step number; an existing checkpoint is left unchanged.
          tree: a pytree of arrays, which may contain random keys.
          notes: metadata that JSON can represent.
          score: higher is better; None if not evaluated.

        Raises:
          WriteError: if there is no space, the folder is gone, or the previous checkpoint could not be written.
        """
        if agreed(step in self._manager.all_steps(), "save"):
            return
        arrays, metadata = sealed.pack(tree, notes, score)
        items = self._args.Composite(state=self._args.StandardSave(arrays), notes=self._args.JsonSave(metadata))
        with _orbax, _writing(self.folder / str(step)):
            _check_space(self.folder, sum(cells.nbytes for leaf in arrays.values() for _, cells in own_parts(leaf)))
            if score is not None:
                self._scores[step] = score
            self._manager.save(step, args=items)
            if threading.current_thread() is not threading.main_thread():
                self._manager.wait_until_finished()

    @property
    def best(self) -> int | None:
        """The step of the highest score among the existing checkpoints; None if none has one."""
        scored = [step for step in self.steps if step in self._scores]
        return max(scored, key=self._scores.__getitem__, default=None)

    def restore(self, like: T, only: int | None = None) -> tuple[int, T, dict[str, Any]] | None:
        """Load the latest undamaged checkpoint, or that of a step.

        Args:
          like: a tree of arrays or `jax.ShapeDtypeStruct`s with the expected names, shapes, dtypes and shardings;
            those without a sharding are restored on the default device.
          only: step of the checkpoint; the latest if None.

        Returns:
          The step, the tree and the metadata; None if there is no checkpoint.

        Raises:
          ConfigError: if names, shapes or dtypes are not those of `like`; lists both trees and marks every difference.
          DataError: if every checkpoint is damaged.
          OSError: if a checkpoint cannot be read.
        """
        reason = ""
        self.wait()
        for step in reversed(agreed(self.steps if only is None else [only], "checkpoints")):
            path = self.folder / str(step)
            for file in path.rglob("*"):
                if not file.is_dir():
                    open(file, "rb").close()  # an unreadable file is not damaged: raise its OSError
            found = self._attempt(path, like)
            problem = next(filter(None, gathered(found if isinstance(found, str) else "", "restored")), None)
            if problem is not None or isinstance(found, str):
                reason = f"{path} is damaged: {problem}"
                self._report(f"{reason}; renamed to {self._set_aside(path).name}")
                continue
            return step, *found
        if reason:
            raise DataError(f"no undamaged checkpoint is left in {self.folder}; the earliest: {reason}")
        return None

    def _attempt(self, path: Path, like: T) -> tuple[T, dict[str, Any]] | str:
        """What `sealed.read` returns, or why the checkpoint is damaged."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            try:
                with _orbax:
                    return sealed.read(path, like)
            except ConfigError:  # it is undamaged, of another net
                raise
            except Exception as error:  # Orbax, TensorStore and JSON raise anything on an altered file
                reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            gc.collect()  # the failed tasks' leftovers are logged and warned about when collected
        return reason

    def _set_aside(self, path: Path) -> Path:
        """Rename a damaged checkpoint, so that its step can be saved again."""
        aside = path.with_name(f"{path.name}.damaged")
        if first():
            with writing(aside):
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
        gathered(None, "set aside")
        self._manager.reload()
        self._scores.pop(int(path.name), None)
        return aside


@dataclasses.dataclass
class _LatestAndBest:
    """Orbax's policy of which checkpoints to keep: the latest ones, and the one of the highest score."""

    keep: int
    scores: dict[int, float]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        steps = [each.step for each in checkpoints]
        scored = [step for step in steps if step in self.scores]
        kept = {*steps[-self.keep :], *([max(scored, key=self.scores.__getitem__)] if scored else [])}
        return [step in kept for step in steps]


def saved_steps(folder: Path) -> list[int]:
    """The steps of the complete checkpoints in a folder, in order.

    Args:
      folder: folder of a `Checkpoints`; may be missing.
    """
    with contextlib.suppress(OSError):
        return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal() and entry.is_dir())
    return []


def _check_space(folder: Path, size: int) -> None:
    """Check for disk space in advance: Orbax would fail in many threads, each with a traceback.

    Raises:
      OSError: if the disk, quota or inodes are exhausted, the file size limit is exceeded, or the folder is gone.
    """
    found = os.statvfs(folder)
    size += size // 8
    if found.f_bavail * found.f_frsize < size + _BESIDE or (found.f_files and found.f_favail < _FILES):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with tempfile.TemporaryFile(dir=folder) as file:
        if size:
            os.posix_fallocate(file.fileno(), 0, size)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """`writing`, including the OSErrors that TensorStore raises as ValueError."""
    with writing(path):
        try:
            yield
        except Exception as error:
            code = re.search(r"os_error_code='(\d+)'", str(error))
            if code is None:
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the errors that Orbax's threads log; the caller gets them as exceptions."""
    hook, loggers = sys.unraisablehook, [logging.getLogger(name) for name in ("absl", "asyncio")]

    def unraisable(found: Any) -> None:
        of_orbax = "orbax" in getattr(getattr(found.object, "cr_code", None), "co_filename", "")
        # Tasks of Orbax and TensorStore end after the first error with errors of their own.
        if not of_orbax and str(found.exc_value) != "Event loop is closed":
            hook(found)

    sys.unraisablehook = unraisable
    for logger in loggers:
        logger.addFilter(_not_orbax)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for logger in loggers:
            logger.removeFilter(_not_orbax)


def _not_orbax(record: logging.LogRecord) -> bool:
    """Whether a log record comes neither from Orbax nor from a task that it left behind."""
    return "orbax" not in record.pathname and "OCDBT" not in record.getMessage()
