"""Processes that agree, and that end when one of them ends; here they are threads, without JAX."""

import concurrent.futures
import contextlib
import os
import queue
import socket
import threading

import pytest

from jaxconv._base import interrupt, processes
from jaxconv._base.errors import ConfigError
from jaxconv._base.processes import LOST, _Group
from jaxconv._base.rendezvous import Place, meet


@pytest.fixture
def ends(monkeypatch):
    """What ends processes: their exit codes and causes."""
    found = queue.SimpleQueue()
    monkeypatch.setattr(interrupt, "end", lambda *arguments: found.put(arguments))
    monkeypatch.setattr(processes, "GRACE_SECONDS", 0.2)
    return found


@pytest.fixture
def groups(ends, monkeypatch):
    monkeypatch.setenv("JAXCONV_START_SECONDS", "20")
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    places = [Place("localhost", port, 3, index) for index in range(3)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        peers = list(pool.map(meet, places))
    groups = [_Group(place.index, 3, found) for place, found in zip(places, peers, strict=True)]
    yield groups
    for group in groups:
        group._ending.set()
    for group in groups:
        close(group)
        assert group._closed.wait(5)


def close(group):
    """What a kernel does for a process that ended."""
    for peer in group._peers.values():
        with socket.socket(fileno=os.dup(peer.connection.fileno())) as connection, contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def everywhere(groups, call):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(call, groups))


def test_all_have_the_value_of_the_first(groups):
    for round_ in range(20):
        assert everywhere(groups, lambda g, r=round_: g.agreed([g.index, r], "a")) == [[0, round_]] * 3
    assert everywhere(groups, lambda g: g.gathered(g.index, "b")) == [[0, 1, 2]] * 3


def test_processes_at_different_places_are_an_error(groups):
    groups[0].agreed(1, "steps")
    with pytest.raises(ConfigError, match="process 0 is at 'steps', process 2 at 'data'"):
        groups[2].gathered(1, "data")


def test_the_first_hears_of_a_signal(groups):
    assert [group.asked(None) for group in groups] == [None] * 3
    assert groups[2].asked(15) == groups[2].asked(15) == 15
    everywhere(groups, lambda group: group.gathered(None, "a"))  # what was sent before has arrived
    assert groups[0].asked(None) == 15
    assert groups[1].asked(None) is None


@pytest.mark.parametrize("victim", [0, 1])
def test_all_end_when_one_is_killed(victim, groups, ends):
    host, killed = socket.gethostname(), groups[victim]
    killed._ending.set()
    close(killed)
    found = [ends.get(timeout=5) for _ in range(2)]
    assert found == [(LOST, f"process {victim} on {host} was killed or has crashed")] * 2


def test_all_end_after_an_error_of_one(groups, ends):
    groups[2].leave(2)
    found = [ends.get(timeout=5) for _ in range(3)]
    assert found[0] == (2,)
    assert found[1:] == [(LOST, "process 2 ended with an error")] * 2


def test_a_process_with_the_same_error_ends_by_itself(groups, ends):
    everywhere(groups, lambda group: group.leave(2))
    assert [ends.get(timeout=5) for _ in range(3)] == [(2,)] * 3
    with pytest.raises(queue.Empty):
        ends.get(timeout=0.3)


def test_an_error_caused_by_the_end_of_another_process_is_not_told(groups, ends):
    """A collective fails at once: its process waits for the reader to end it with the cause."""
    waiting = threading.Thread(target=groups[1].wait_if_another_ended, daemon=True)
    waiting.start()
    groups[0]._ending.set()
    close(groups[0])
    assert [ends.get(timeout=5)[0] for _ in range(2)] == [LOST, LOST]
    waiting.join(0.3)
    assert waiting.is_alive()


def test_an_error_of_its_own_is_told(groups, monkeypatch):
    monkeypatch.setattr(processes, "NEWS_SECONDS", 0.1)
    groups[1].wait_if_another_ended()
