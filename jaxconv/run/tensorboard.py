"""Numbers and pictures of a run as TensorBoard reads them, written as they come."""

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
    """Write scalars and pictures into a folder that `tensorboard --logdir` shows.

    Each writer makes a file of its own beside those already there; TensorBoard reads them as one run.
    Events are written by the caller's own thread, so that a full disk raises here and nothing waits for a
    thread that died, and are on the disk after 2 s of further events, or after `close`.

    Args:
      folder: where the event file goes; made if it is missing.
      purge_step: for a resumed run: TensorBoard drops the events of this step and later that earlier files
        hold. After a checkpoint of `step` steps that is `step + 1`.

    Raises:
      WriteError: the folder cannot be written to.

    >>> import tempfile
    >>> with EventWriter(tempfile.mkdtemp()) as events:
    ...     events.scalars(100, {"train/loss": 0.31, "train/accuracy": 0.91})
    """

    def __init__(self, folder: str | Path, *, purge_step: int | None = None):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._proto, self._closed, self._flushed = event_pb2, False, time.monotonic()
        first = None if purge_step is None else _whole(purge_step)
        self._folder = folder = Path(folder)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # Its file names tell seconds apart. A number after them keeps a run that is resumed within one
            # from writing over its own file, and keeps TensorBoard reading the files in their order.
            number = sum(1 for _ in folder.glob("events.out.tfevents.*"))
            self._file = EventsWriter(str(folder / "events"), f".{number:04}")
        # TensorBoard takes the first start that it reads for the run's own and drops nothing there, so that a
        # resumed run can only be told where the first file has a start too.
        if first is None and number == 0:
            first = 0
        if first is not None:
            self._write(first, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def scalars(self, step: int, values: Mapping[str, Any]) -> None:
        """Write the numbers of one step.

        Args:
          step: the number of steps taken.
          values: number by name, kept as float32; TensorBoard groups names by what stands before the slash.

        Raises:
          ShapeError: a value is no single number.
          ConfigError: the step is no whole number from 0, or the writer is closed.
        """
        from tensorboardX.proto.summary_pb2 import Summary

        pairs = [Summary.Value(tag=name, simple_value=_number(name, value)) for name, value in values.items()]
        self._write(_whole(step), summary=Summary(value=pairs))

    def image(self, step: int, name: str, png: bytes) -> None:
        """Write a picture.

        Args:
          step: the number of steps taken.
          name: under which TensorBoard shows it.
          png: a PNG file's bytes, from `jaxconv.viz.training.png` for example.

        Raises:
          ConfigError: the bytes are no PNG, the step is no whole number from 0, or the writer is closed.
        """
        from tensorboardX.proto.summary_pb2 import Summary

        if len(png) < 24 or not png.startswith(_PNG):
            raise ConfigError(f"the image {name!r} must be a PNG file's bytes, got {png[:8]!r}; pictures.png(figure)")
        width, height = struct.unpack(">II", png[16:24])
        picture = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
        self._write(_whole(step), summary=Summary(value=[Summary.Value(tag=name, image=picture)]))

    def close(self) -> None:
        """Put everything on the disk; a second time does nothing."""
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
            raise ConfigError(f"this EventWriter is closed, and step {step} came; write before close()")
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
    raise ShapeError("a scalar must be one number", got=got, fix="its mean, or a name for each") from None


def _whole(step: Any) -> int:
    """A step as an int, NumPy's and JAX's too."""
    try:
        number = operator.index(step)
    except TypeError:
        number = -1
    if number < 0:
        raise ConfigError(f"a step must be a whole number from 0, got {step!r}")
    return number
