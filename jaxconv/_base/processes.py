"""Processes of a run: they meet before the first step, agree while it lasts, and end together.

Each of the others holds a connection to process 0 from the start to the end. Over it they agree on whatever depends on
the clock, a file or a signal, and learn at once that one of them ended. Arrays travel by JAX's own collectives.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import traceback
from collections.abc import Iterator
from multiprocessing.connection import wait
from typing import Any, NoReturn, TypeVar

from jaxconv._base import interrupt
from jaxconv._base.errors import ConfigError
from jaxconv._base.rendezvous import Peer, Place, found_place, listening, meet, relayed, seconds_to_start

T = TypeVar("T")

__all__ = ["LOST", "agreed", "asked", "first", "gathered", "joined", "number_of", "own_parts"]

GRACE_SECONDS = 3.0  # to wait for a process that ends by itself, since it had the same error
NEWS_SECONDS = 1.0  # to hear that another process ended, after an error that this may have caused
HEARTBEAT_SECONDS = 100  # after which JAX ends all if one is silent, as a suspended one is
LOST = 75  # exit code if another process ended: EX_TEMPFAIL of sysexits.h

_group: _Group | None = None


def number_of() -> int:
    """Number of processes of this run."""
    return 1 if _group is None else _group.count


def first() -> bool:
    """Whether this process is the first: the one that decides, prints and writes the run's folder."""
    return _group is None or _group.index == 0


def agreed(value: T, what: str) -> T:
    """The value that process 0 has.

    Every process must call this at the same place.

    Args:
      value: of the kinds that JSON has; that of other processes is ignored.
      what: name of the place, to find out that processes execute different programs.

    Raises:
      ConfigError: if process 0 is at another place.

    >>> agreed(3, "a number")
    3
    """
    return value if _group is None else _group.agreed(value, what)


def gathered(value: T, what: str) -> list[T]:
    """The values of all processes in their order.

    Args:
      value: of the kinds that JSON has.
      what: as in `agreed`.

    Raises:
      ConfigError: if another process is at another place.

    >>> gathered(3, "a number")
    [3]
    """
    return [value] if _group is None else _group.gathered(value, what)


def asked(number: int | None) -> int | None:
    """A signal that this process received, or process 0 has heard of.

    Args:
      number: the signal that this process received, or None; process 0 is notified.
    """
    return number if _group is None else _group.asked(number)


def own_parts(array: Any) -> list[tuple[tuple[int, ...], Any]]:
    """The parts of an array that are this process's: each cell of the array belongs to one process.

    Args:
      array: a NumPy array, or a JAX array of any sharding.

    Returns:
      The place of the first cell, and the cells, of each part.

    >>> import numpy as np
    >>> own_parts(np.zeros(2))
    [((0,), array([0., 0.]))]
    """
    shards = getattr(array, "addressable_shards", None)
    if shards is None:
        return [((0,) * array.ndim, array)]
    own = [shard for shard in shards if shard.replica_id == 0]
    return [(tuple(index.start or 0 for index in shard.index), shard.data) for shard in own]


@contextlib.contextmanager
def joined(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> Iterator[None]:
    """Join the processes of a run, if it has several, for the duration of the block.

    They are found by JAX under Slurm, Open MPI, Kubernetes and on Cloud TPU, else given by all three arguments. Must be
    entered before JAX's first computation. If one of them ends early, the others end with exit code `LOST` and a
    message; if the block raises, this process ends with the exit code of the exception.

    Args:
      coordinator: "HOST:PORT" of process 0.
      processes: their number; 1 for none but this one, also within a cluster.
      process: the number of this one, from 0.

    Raises:
      ConfigError: if only some arguments are given, one is invalid, or a process does not arrive in time.
    """
    global _group
    place = found_place(coordinator, processes, process)
    if place is None:
        yield
        return
    _group = group = _Group(place.index, place.count, meet(place))
    _initialize(group, place)
    try:
        yield
        group.finish()
    except BaseException as error:
        if (code := _exit_code(error)) is None:
            group.wait_if_another_ended()
            traceback.print_exception(error)
            code = 1
        if code:
            group.leave(code)
        group.finish()
        raise
    finally:
        _group = None


def _exit_code(error: BaseException) -> int | None:
    """The exit code of an exception that ends a program; None of any other."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return getattr(error, "exit_code", None)  # of typer


def _initialize(group: _Group, place: Place) -> None:
    """Start JAX's own service, at a free port of process 0."""
    import jax

    port = 0
    if group.index == 0:
        with listening(0) as server:
            port = server.getsockname()[1]
    port = group.agreed(port, "start")
    address = relayed(place.host, port) if group.index else f"127.0.0.1:{port}"
    # SIGTERM is handled by the run, in every process alike; JAX's own service would swallow it.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        address,
        group.count,
        group.index,
        local_device_ids=place.devices,
        cluster_detection_method="deactivate",
        initialization_timeout=round(seconds_to_start()),
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    )
    jax.devices()  # the topology is exchanged: all processes are here


class _Group:
    """The processes of a run; this one is `index` of `count`, and has connections to `peers`."""

    def __init__(self, index: int, count: int, peers: dict[int, Peer]) -> None:
        self.index, self.count, self._peers = index, count, peers
        self._values = {peer: queue.SimpleQueue[Any]() for peer in peers}
        self._signal: int | None = None
        self._told = False
        self._ending, self._closed, self._another_ended = (threading.Event() for _ in range(3))
        threading.Thread(target=self._read, daemon=True, name="processes").start()

    def agreed(self, value: Any, what: str) -> Any:
        if self.index == 0:
            self._tell("value", [what, value])
            return value
        return self._value(0, what)

    def gathered(self, value: Any, what: str) -> list[Any]:
        if self.index:
            self._tell("value", [what, value])
            return self._value(0, what)
        values = [value, *(self._value(peer, what) for peer in range(1, self.count))]
        self._tell("value", [what, values])
        return values

    def asked(self, number: int | None) -> int | None:
        if number is not None and self.index and not self._told:
            self._told = True
            self._tell("signal", number)
        return self._signal if number is None else number

    def finish(self) -> None:
        """End together with the others."""
        import jax

        self.gathered(None, "end")
        self._ending.set()
        jax.distributed.shutdown()
        for peer in self._peers.values():
            peer.connection.close()

    def wait_if_another_ended(self) -> None:
        """After an error, as of a collective: if another process ended, wait until the reader ends this one."""
        if self._another_ended.wait(NEWS_SECONDS):
            threading.Event().wait()

    def leave(self, code: int) -> NoReturn:
        """End this process because of an error; the others learn of it. Process 0 waits, since JAX's service is its."""
        self._ending.set()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        self._tell("ended", f"process {self.index} ended with an error")
        if self.index == 0:
            self._closed.wait(GRACE_SECONDS)
        interrupt.end(code)

    def _value(self, peer: int, what: str) -> Any:
        place, value = self._values[peer].get()
        if place != what:
            raise ConfigError(
                f"every process must be started with the same command; process {peer} is at {place!r}, "
                f"process {self.index} at {what!r}"
            )
        return value

    def _tell(self, kind: str, content: Any) -> None:
        for peer in self._peers.values():
            with contextlib.suppress(OSError):  # it ended: the reader knows
                peer.send(kind, content)

    def _read(self) -> None:
        """Receive what the others send until they have ended."""
        content: Any
        numbers: dict[Any, int] = {peer.connection: number for number, peer in self._peers.items()}
        while numbers:
            for connection in wait(list(numbers)):
                number = numbers[connection]
                peer = self._peers[number]
                try:
                    kind, content = peer.receive()
                except (EOFError, OSError, ValueError):
                    kind, content = "lost", f"process {number} on {peer.host} was killed or has crashed"
                if kind == "value":
                    self._values[number].put(content)
                elif kind == "signal":
                    self._signal = self._signal or content
                elif self._ending.is_set():
                    del numbers[connection]
                else:  # "ended": with an error that this process may have, too; "lost": without a word
                    self._end(kind, content)
        self._closed.set()

    def _end(self, kind: str, cause: str) -> None:
        """End this process since another one ended, unless it ends within the grace with a message of its own."""
        self._another_ended.set()
        if self.index == 0:
            self._tell(kind, cause)
        if not self._ending.wait(GRACE_SECONDS if kind == "ended" else 0.0):
            interrupt.end(LOST, cause)
