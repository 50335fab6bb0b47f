"""TensorBoard event files."""

from __future__ import annotations

import operator
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from jaxconv._base.errors import ConfigError, ShapeError
from jaxconv._base.files import writing

__all__ = ["EventWriter"]

FLUSH_SECONDS = 2.0
_PNG = b"\x89PNG\r\n\x1a\n"


class EventWriter:
    """Write scalars and images into a folder for `tensorboard --logdir`.

    Each writer adds one file to the folder; TensorBoard reads all of them as one run. Events are written in the
    caller's thread, so that a full disk raises here, and flushed every 2 s and by `close`.

    Args:
      folder: of the event files; made if missing.
      purge_step: for a resumed run: TensorBoard drops events of this step and later in earlier files. After a
        checkpoint of `step` steps it is `step + 1`.

    Raises:
      WriteError: if the folder cannot be written to.

    >>> import tempfile
    >>> with EventWriter(tempfile.mkdtemp()) as events:
    ...     events.scalars(100, {"train/loss": 0.31, "train/accuracy": 0.91})
    """

    def __init__(self, folder: str | Path, *, purge_step: int | None = None):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._proto, self._closed, self._flushed = event_pb2, False, time.monotonic()
        first = None if purge_step is None else _integer(purge_step)
        self._folder = folder = Path(folder)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # File names have a resolution of one second. With a number after it, a run that is resumed within one
            # does not overwrite its own file, and TensorBoard reads the files in order.
            number = sum(1 for _ in folder.glob("events.out.tfevents.*"))
            self._file = EventsWriter(str(folder / "events"), f".{number:04}")
        # TensorBoard purges nothing at the first start event that it reads, so that the first file needs one, too.
        if first is None and number == 0:
            first = 0
        if first is not None:
            self._write(first, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Write the scalars of one step.

        Args:
          step: number of steps taken.
          values: {name: number}, saved as float32; TensorBoard groups names by their prefix before the slash.

        Raises:
          ShapeError: if a value is not a single number.
          ConfigError: if the step is negative or not an integer, or the writer is closed.
        """
        from tensorboardX.proto.summary_pb2 import Summary

        pairs = [Summary.Value(tag=name, simple_value=_number(name, value)) for name, value in values.items()]
        self._write(_integer(step), summary=Summary(value=pairs))

    def image(self, step: int, name: str, png: bytes) -> None:
        """Write an image.

        Args:
          step: number of steps taken.
          name: shown by TensorBoard.
          png: content of a PNG file, for example from `jaxconv.viz.training.png`.

        Raises:
          ConfigError: if the bytes are no PNG, the step is negative or not an integer, or the writer is closed.
        """
        from tensorboardX.proto.summary_pb2 import Summary

        if len(png) < 24 or not png.startswith(_PNG):
            raise ConfigError(f"the image {name!r} must be a PNG file, got {png[:8]!r}; pictures.png(figure)")
        width, height = struct.unpack(">II", png[16:24])
        picture = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
        self._write(_integer(step), summary=Summary(value=[Summary.Value(tag=name, image=picture)]))

    def close(self, *, finished: bool = True) -> None:
        """Flush and close the file; a second call does nothing.

        Args:
          finished: unused; TensorBoard shows a run that was stopped as any other.
        """
        if not self._closed:
            self._closed = True
            with writing(self._folder):
                self._file.close()

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, step: int, **content: Any) -> None:
        if self._closed:
            raise ConfigError(f"this EventWriter is closed, got step {step}; write before close()")
        with writing(self._folder):
            self._file.write_event(self._proto.Event(wall_time=time.time(), step=step, **content))
            if time.monotonic() - self._flushed > FLUSH_SECONDS:
                self._file.flush()
                self._flushed = time.monotonic()


def _number(name: str, value: Any) -> float:
    shape = getattr(value, "shape", ())
    try:
        if not shape:
            return float(value)
    except (TypeError, ValueError):
        pass
    got = f"{name!r} of shape {tuple(shape)}" if shape else f"{name!r}: {value!r}"
    raise ShapeError("a scalar must be one number", got=got, fix="its mean, or one name for each") from None


def _integer(step: Any) -> int:
    """A step as an int, also from NumPy's and JAX's integers."""
    try:
        number = operator.index(step)
    except TypeError:
        number = -1
    if number < 0:
        raise ConfigError(f"a step must be a non-negative integer, got {step!r}")
    return number
