"""`jaxconv launch`: several processes of a run on this machine."""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, Annotated, Any

import typer

from jaxconv._base.errors import ConfigError, count, did_you_mean
from jaxconv.cli.errors import fail, user_errors
from jaxconv.cli.options import examples

__all__ = ["end_with_launcher", "launch", "launched"]

END_SECONDS = 10.0  # for the others to end, after one has ended; then they are killed
_LAUNCHER = "_JAXCONV_LAUNCHER"  # environment variable: the launcher's process number
_SAID = 100  # lines of errors that other processes do not repeat
_NOISE = b"[Gloo] Rank "  # a line of Gloo's for each connection

LAUNCH = examples("jaxconv launch --processes 4 -- train configs/digits.toml")


def launch(
    command: Annotated[
        list[str], typer.Argument(metavar="-- train …", help="A command of jaxconv with its arguments.")
    ],
    processes: Annotated[int, typer.Option(min=1, metavar="N", help="Number of processes.")],
    devices: Annotated[int, typer.Option(min=1, metavar="K", help="Devices of each process.")] = 1,
) -> None:
    """Train in several processes on this machine: their lines have a prefix, and all end when one ends."""
    with user_errors():
        if command[0] != "train":
            fix = f"jaxconv launch --processes {processes} -- train CONFIG"
            raise ConfigError(
                f"launch starts several processes of train, got {command[0]!r}{did_you_mean(command[0], ['train'])}\n"
                f"  fix: {'jaxconv sweep alone, which uses all devices' if command[0] == 'sweep' else fix}"
            )
        if "--dry-run" in command:
            raise ConfigError("a dry run needs no processes; fix: jaxconv train CONFIG --dry-run --devices N")
        code, message = launched([sys.executable, "-m", "jaxconv", *command], processes, devices)
        if message:
            fail(message, code)
        raise typer.Exit(code)


def launched(command: Sequence[str], processes: int, devices: int = 1) -> tuple[int, str]:
    """Run a command in several processes until one has ended, and with it all.

    SIGINT and SIGTERM are passed on to all of them.

    Args:
      command: its words, to which `--coordinator`, `--processes` and `--process` are added.
      processes: number of processes.
      devices: devices of each.

    Returns:
      The exit code of the first process that failed, 128 + its number for a signal; 0 if none has. A message if that
      process could not print one itself.
    """
    port = _free_port()
    children = [
        subprocess.Popen(
            [*command, "--coordinator", f"127.0.0.1:{port}", "--processes", str(processes), "--process", str(index)],
            env=os.environ | _environment(index, devices),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C reaches the launcher alone, which passes it on once
        )
        for index in range(processes)
    ]
    output = _Output(children)
    ended: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
    for index, child in enumerate(children):
        threading.Thread(target=lambda i=index, c=child: ended.put((i, c.wait())), daemon=True).start()
    codes: dict[int, int] = {}
    deadline: float | None = None
    with _passed_on(children, output):
        while len(codes) < processes:
            try:
                index, code = ended.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            codes[index] = code
            deadline = deadline or time.monotonic() + END_SECONDS
            output.ended(index, code)
        for child in children:
            child.kill()
            child.wait()
    output.finish()
    failed = next(((index, code) for index, code in codes.items() if code), None)
    if failed is None:
        late = processes - len(codes)
        return (1, f"{count(late, 'process')} did not end with the others: killed") if late else (0, "")
    index, code = failed
    if code > 0:
        return code, ""
    return 128 - code, f"process {index} was ended by {signal.Signals(-code).name}; the others are ended, too"


def end_with_launcher() -> None:
    """In a launched process: receive SIGTERM when the launcher has been killed."""
    launcher = os.environ.get(_LAUNCHER)
    if launcher is None:
        return

    def watch() -> None:
        while os.getppid() == int(launcher):
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="launcher").start()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _environment(index: int, devices: int) -> dict[str, str]:
    """Variables that give a process its share of the devices: of the GPUs, or so many of the CPU."""
    own = range(index * devices, (index + 1) * devices)
    return {
        "JAX_LOCAL_DEVICE_IDS": ",".join(map(str, own)),
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONUNBUFFERED": "1",
        _LAUNCHER: str(os.getpid()),
    }


class _Output:
    """Prints the lines of all processes with their number; once one has failed, its own and those of the first left."""

    def __init__(self, children: Sequence[subprocess.Popen[bytes]]) -> None:
        self._lock = threading.Lock()
        self._alive = set(range(len(children)))
        self._speakers: set[int] | None = None  # None: all of them speak
        self._said: collections.deque[tuple[int, bytes]] = collections.deque(maxlen=_SAID)
        width = len(str(len(children) - 1))
        self._threads = [
            threading.Thread(target=self._copy, args=[index, f"[{index:>{width}}] ".encode(), *pair], daemon=True)
            for index, child in enumerate(children)
            for pair in ((child.stdout, sys.stdout), (child.stderr, sys.stderr))
        ]
        for thread in self._threads:
            thread.start()

    def one_speaks(self) -> None:
        """From now on print the lines of one process alone: all of them say the same."""
        with self._lock:
            self._speakers = {min(self._alive, default=0)}

    def ended(self, index: int, code: int) -> None:
        """A process has ended; if it failed, all others say that they end, too."""
        with self._lock:
            self._alive.discard(index)
            if code and self._speakers is None:
                self._speakers = {index, min(self._alive, default=index)}

    def finish(self) -> None:
        """Print what is left."""
        for thread in self._threads:
            thread.join(1.0)

    def _copy(self, index: int, prefix: bytes, lines: IO[bytes], to: Any) -> None:
        for line in lines:  # which ends with the process
            with self._lock, contextlib.suppress(OSError, ValueError):  # the reader of a pipe is gone
                if line.startswith(_NOISE) or (self._speakers is not None and index not in self._speakers):
                    continue
                if to is sys.stderr:  # all of them have the same error
                    if any(said == line and by != index for by, said in self._said):
                        continue
                    self._said.append((index, line))
                to.buffer.write(prefix + line.rstrip(b"\r\n") + b"\n")
                to.flush()
        lines.close()


@contextlib.contextmanager
def _passed_on(children: Sequence[subprocess.Popen[bytes]], output: _Output) -> Iterator[None]:
    """Pass SIGINT and SIGTERM on to all processes; this one ends after them, or with them if it is killed."""

    def pass_on(number: int, frame: Any) -> None:
        output.one_speaks()
        for child in children:
            child.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, pass_on) for number in numbers]
    watcher = signal.set_wakeup_fd(-1)  # of `interrupt`, which would end this process
    try:
        yield
    finally:
        signal.set_wakeup_fd(watcher)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
