"""Rendezvous of the processes of a run: where each of them is, and its connection to process 0."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import socket
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from jaxconv._base.compat import detected_cluster
from jaxconv._base.errors import ConfigError, count

__all__ = ["Peer", "Place", "found_place", "listening", "meet", "relayed", "seconds_to_start"]

_RETRY_SECONDS = 0.2
_ANSWER_SECONDS = 10.0  # for the first message of a connection
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}  # a machine without power: half a minute
# Set by launchers of several processes that JAX does not always recognize.
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "JAX_COORDINATOR_ADDRESS")
_FIX = "fix: give --coordinator HOST:PORT --processes N --process I, or --processes 1 to train in this process alone"


def seconds_to_start() -> float:
    """Seconds to wait for all processes: the environment variable JAXCONV_START_SECONDS, or 120.

    Raises:
      ConfigError: if it is not a positive number.
    """
    text = os.environ.get("JAXCONV_START_SECONDS") or "120"
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) < math.inf:
            return seconds
    raise ConfigError(f"JAXCONV_START_SECONDS must be a positive number of seconds; got {text!r}")


@dataclasses.dataclass(frozen=True)
class Place:
    """Place of this process among those of a run.

    Args:
      host, port: address of process 0.
      count: number of processes.
      index: number of this one.
      devices: numbers of the local devices that it has; None for all.
    """

    host: str
    port: int
    count: int
    index: int
    devices: Sequence[int] | None = None


@dataclasses.dataclass
class Peer:
    """Another process: the connection to it, and its host."""

    connection: Connection
    host: str = ""

    def send(self, kind: str, content: Any = None) -> None:
        """Send a message whose content is of the kinds that JSON has."""
        self.connection.send_bytes(json.dumps([kind, content]).encode())

    def receive(self) -> tuple[str, Any]:
        """Wait for a message.

        Raises:
          EOFError, OSError: if the connection is closed.
          ValueError: if the peer is no process of ours.
        """
        kind, content = json.loads(self.connection.recv_bytes(2**26))
        return kind, content

    def answer(self, seconds: float) -> tuple[str, Any]:
        """`receive`, but raise ValueError after so many seconds."""
        if not self.connection.poll(seconds):
            raise ValueError("no answer")
        return self.receive()


def found_place(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None, *, fix: str = _FIX
) -> Place | None:
    """Place of this process: as given, or as JAX finds it in a cluster; None if it is alone.

    Args:
      coordinator: "HOST:PORT" of process 0.
      processes: number of processes; 1 for this one alone.
      process: number of this one.
      fix: end of a message about a cluster that does not answer.

    Raises:
      ConfigError: if only some are given, one is invalid, or the cluster does not answer.

    >>> found_place("node001:1234", 4, 2)
    Place(host='node001', port=1234, count=4, index=2, devices=None)
    """
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    missing = [name for name, value in given.items() if value is None]
    if processes == 1 and len(missing) == 2:
        return None
    if coordinator is not None and processes is not None and process is not None:
        if not 0 <= process < processes:
            raise ConfigError(f"--process must be in 0..{processes - 1}, one of --processes {processes}; got {process}")
        return Place(*_address(coordinator), processes, process)
    if len(missing) < len(given):
        raise ConfigError(
            "several processes need all of --coordinator HOST:PORT --processes N --process I; "
            f"missing: {', '.join(missing)}"
        )
    try:
        found = detected_cluster(round(seconds_to_start()))
    except Exception as error:  # of the cluster's API, its metadata server or its environment variables
        reason = " ".join(str(error).split())
        raise ConfigError(f"cannot find the other processes of this cluster: {reason}; {fix}") from error
    if found is not None:
        address, number, index, devices = found
        return None if number == 1 else Place(*_address(address), number, index, devices)
    for name in _SIZES:
        if os.environ.get(name, "1") not in ("", "1"):
            raise ConfigError(f"{name}={os.environ[name]}, but JAX finds no cluster here; {fix}")
    return None


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(f"--coordinator must be HOST:PORT of process 0, as node001:12345; got {text!r}")
    return host.strip("[]"), int(port)


def meet(place: Place) -> dict[int, Peer]:
    """Connect all processes with process 0.

    Returns:
      The other processes by number for process 0; process 0 alone for each of the others.

    Raises:
      ConfigError: if they do not connect in time.
    """
    deadline = time.monotonic() + seconds_to_start()
    return _accepted(place, deadline) if place.index == 0 else {0: _connected(place, deadline)}


def _accepted(place: Place, deadline: float) -> dict[int, Peer]:
    """Process 0: all others, who have said which they are."""
    try:
        server = listening(place.port)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigError(f"process 0 cannot listen at port {place.port}: {reason}; give another port") from None
    peers: dict[int, Peer] = {}
    with server:
        try:
            while len(peers) < place.count - 1:
                server.settimeout(max(0.01, deadline - time.monotonic()))
                _accept(server, place, peers)
        except ConfigError as error:
            for peer in peers.values():
                with contextlib.suppress(OSError):
                    peer.send("refused", str(error))
            raise
    for peer in peers.values():
        peer.send("welcome", socket.gethostname())
    return peers


def _accept(server: socket.socket, place: Place, peers: dict[int, Peer]) -> None:
    """Add the process that connects next to `peers`, if it is one of ours."""
    try:
        accepted, _ = server.accept()
    except TimeoutError:
        missing = ", ".join(str(i) for i in range(1, place.count) if i not in peers)
        raise ConfigError(
            f"process 0 waited {seconds_to_start():g} s at {place.host}:{place.port} for "
            f"{count(place.count - 1, 'process')}; missing: {missing}"
        ) from None
    peer = Peer(_prepared(accepted))
    try:
        _, content = peer.answer(_ANSWER_SECONDS)
        index, theirs, peer.host = content["process"], content["processes"], content["host"]
    except (OSError, EOFError, ValueError, TypeError, KeyError):  # none of ours
        peer.connection.close()
        return
    again = index in (0, *peers)
    peers[-1 if again else index] = peer
    if theirs != place.count:
        raise ConfigError(
            "every process must have the same --processes; "
            f"process {index} was started with {theirs}, process 0 with {place.count}"
        )
    if again:
        raise ConfigError(f"every process must have its own --process; two were started with {index}")


def _connected(place: Place, deadline: float) -> Peer:
    """Another process: process 0, which may start later."""
    where = f"{place.host}:{place.port}"
    try:
        peer = Peer(_prepared(_reached(place.host, place.port, deadline)))
    except OSError as error:
        raise ConfigError(
            f"process {place.index} cannot reach process 0 at {where} within {seconds_to_start():g} s: "
            f"{error.strerror or error}"
        ) from None
    try:
        peer.send("hello", {"process": place.index, "processes": place.count, "host": socket.gethostname()})
        kind, content = peer.answer(max(0.0, deadline - time.monotonic()) + _ANSWER_SECONDS)
    except (OSError, EOFError, ValueError):
        raise ConfigError(
            f"process {place.index} got no answer at {where}: it is not process 0 of this run, or that has an error"
        ) from None
    if kind != "welcome":
        raise ConfigError(f"process {place.index} cannot start: {content}")
    peer.host = content
    return peer


def _reached(host: str, port: int, deadline: float) -> socket.socket:
    """A connection to a port that may be opened later.

    Args:
      host, port: address.
      deadline: of `time.monotonic`.

    Raises:
      OSError: if there is none at the deadline.
    """
    while True:
        try:
            return socket.create_connection((host, port), timeout=max(0.01, deadline - time.monotonic()))
        except OSError:
            if time.monotonic() + _RETRY_SECONDS > deadline:
                raise
        time.sleep(_RETRY_SECONDS)


def listening(port: int) -> socket.socket:
    """A socket that accepts connections to a port of this machine; 0 for a free one."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=1024)


def relayed(host: str, port: int) -> str:
    """An address on this machine that leads to JAX's service in process 0, and does not close when that ends.

    JAX aborts a process whose connection to the service closes, with a stack trace, before that process can say why it
    ends.

    Args:
      host, port: of the service.
    """
    server, deadline = socket.create_server(("127.0.0.1", 0)), time.monotonic() + seconds_to_start()
    kept = []

    def copy(source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(2**16):
                to.sendall(content)

    def serve() -> None:
        while True:
            ours, _ = server.accept()
            kept.append(ours)
            with contextlib.suppress(OSError):
                theirs = _reached(host, port, deadline)
                theirs.settimeout(None)
                for pair in ((ours, theirs), (theirs, ours)):
                    pair[1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=copy, args=pair, daemon=True, name="relay").start()

    threading.Thread(target=serve, daemon=True, name="relay").start()
    return f"127.0.0.1:{server.getsockname()[1]}"


def _prepared(accepted: socket.socket) -> Connection:
    """A connection that notices a peer without power."""
    accepted.settimeout(None)
    accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            accepted.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return Connection(accepted.detach())
