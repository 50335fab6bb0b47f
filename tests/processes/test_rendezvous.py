"""How processes find each other: what is given, what a cluster says, and one clear error for everything else."""

import concurrent.futures
import contextlib
import socket

import pytest

from jaxconv._base.errors import ConfigError
from jaxconv._base.rendezvous import Place, found_place, meet, seconds_to_start

CLUSTERS = {
    "Slurm": (
        {
            "SLURM_JOB_ID": "4711", "SLURM_STEP_NODELIST": "node[007-009],other", "SLURM_NTASKS": "4",
            "SLURM_PROCID": "2", "SLURM_LOCALID": "1",
        },
        Place("node007", 4711 % 4096 + 61440, 4, 2, [1]),
    ),
    "Open MPI": (
        {
            "OMPI_MCA_orte_hnp_uri": "1314521088.0;tcp://10.96.0.1,10.148.0.1:43370", "OMPI_COMM_WORLD_SIZE": "8",
            "OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_LOCAL_RANK": "3",
        },
        Place("10.96.0.1", 1314521088 // 4096 % 4096 + 61440, 8, 5, [3]),
    ),
    "Slurm, which shows each task its GPU": (
        {
            "SLURM_JOB_ID": "4711", "SLURM_STEP_NODELIST": "node007", "SLURM_NTASKS": "4", "SLURM_PROCID": "2",
            "SLURM_LOCALID": "2", "CUDA_VISIBLE_DEVICES": "0",
        },
        Place("node007", 4711 % 4096 + 61440, 4, 2, None),
    ),
    "Slurm, all GPUs of a node for each task": (
        {
            "SLURM_JOB_ID": "4711", "SLURM_STEP_NODELIST": "node[007-008]", "SLURM_NTASKS": "2", "SLURM_PROCID": "1",
            "SLURM_LOCALID": "0", "JAX_LOCAL_DEVICE_IDS": "0,1,2,3",
        },
        Place("node007", 4711 % 4096 + 61440, 2, 1, [0, 1, 2, 3]),
    ),
    "one task of Slurm": (
        {
            "SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "a", "SLURM_NTASKS": "1", "SLURM_PROCID": "0",
            "SLURM_LOCALID": "0",
        },
        None,
    ),
    "a pod without a job": ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
}  # fmt: skip


@pytest.fixture
def port():
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setenv("JAXCONV_START_SECONDS", "0.3")


def message(function, *arguments):
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    return str(caught.value)


def each(function, *rows):
    """The results of calls at the same time, or their errors."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        calls = [pool.submit(function, *row) for row in rows]
        return [call.exception() or call.result() for call in calls]


@pytest.mark.parametrize("name", CLUSTERS)
def test_clusters_that_jax_knows(name, monkeypatch):
    variables, place = CLUSTERS[name]
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert found_place() == place
    assert found_place(processes=1) is None


def test_no_process_of_several_trains_alone(monkeypatch):
    assert found_place() is None
    monkeypatch.setenv("PMI_SIZE", "4")
    assert message(found_place) == (
        "PMI_SIZE=4, but JAX finds no cluster here; fix: give --coordinator HOST:PORT --processes N --process I, or "
        "--processes 1 to train in this process alone"
    )
    assert found_place(processes=1) is None
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    assert message(found_place).startswith("cannot find the other processes of this cluster: ")


@pytest.mark.parametrize("text", ["soon", "-1", "0", "inf", "nan"])
def test_the_time_to_start(text, monkeypatch):
    monkeypatch.setenv("JAXCONV_START_SECONDS", text)
    assert message(seconds_to_start) == (f"JAXCONV_START_SECONDS must be a positive number of seconds; got {text!r}")
    monkeypatch.setenv("JAXCONV_START_SECONDS", "")
    assert seconds_to_start() == 120


def test_all_of_an_address_or_none():
    assert found_place("[fe80::1]:80", 2, 1) == Place("fe80::1", 80, 2, 1)
    assert message(found_place, "a:1").endswith("; missing: --processes, --process")
    assert message(found_place, None, 4).endswith("; missing: --coordinator, --process")
    assert message(found_place, "a:1", 4, 4) == "--process must be in 0..3, one of --processes 4; got 4"
    for address in ("a", "a:", ":1", "a:x", "a:0", "a:65536"):
        assert message(found_place, address, 2, 0) == (
            f"--coordinator must be HOST:PORT of process 0, as node001:12345; got {address!r}"
        )


def test_all_processes_meet_whoever_comes_first(port, monkeypatch):
    monkeypatch.setenv("JAXCONV_START_SECONDS", "20")
    first, second, third = each(meet, *([Place("localhost", port, 3, index)] for index in (0, 1, 2)))
    assert set(first) == {1, 2}
    assert set(second) == set(third) == {0}
    third[0].send("value", {"a": [1, None]})
    assert first[2].answer(5) == ("value", {"a": [1, None]})
    assert {peer.host for peer in (*first.values(), *second.values())} == {socket.gethostname()}


def test_a_stranger_is_not_counted(port, monkeypatch):
    def stranger(text):
        with contextlib.closing(_connected_to(port)) as connection:
            connection.sendall(text)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""

    monkeypatch.setenv("JAXCONV_START_SECONDS", "1")
    texts = [b"GET / HTTP/1.1\r\n\r\n"], [b"\0\0\0\2[]"]
    first, *answers = each(lambda what: what() if callable(what) else stranger(what), [first_of_two(port)], *texts)
    assert str(first).endswith("; missing: 1")
    assert answers == [None, None]


def first_of_two(port):
    return lambda: meet(Place("localhost", port, 2, 0))


def _connected_to(port):
    while True:
        with contextlib.suppress(OSError):
            return socket.create_connection(("localhost", port))


def test_who_is_missing_is_named(port):
    first, second = each(meet, [Place("localhost", port, 4, 0)], [Place("localhost", port, 4, 2)])
    assert str(first) == f"process 0 waited 0.3 s at localhost:{port} for 3 processes; missing: 1, 3"
    assert str(second) == f"process 2 cannot start: {first}"


def test_process_0_is_missing(port):
    where = f"localhost:{port}"
    assert message(meet, Place("localhost", port, 4, 2)) == (
        f"process 2 cannot reach process 0 at {where} within 0.3 s: Connection refused"
    )


def test_a_port_in_use():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        assert message(meet, Place("localhost", port, 2, 0)) == (
            f"process 0 cannot listen at port {port}: Address already in use; give another port"
        )


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (
            Place("localhost", 0, 3, 1),
            "every process must have the same --processes; process 1 was started with 3, process 0 with 2",
        ),
        (Place("localhost", 0, 2, 0), None),
    ],
)
def test_processes_that_were_started_otherwise(other, reason, port):
    other = Place(other.host, port, other.count, other.index)
    found = list(map(str, each(meet, [Place("localhost", port, 2, 0)], [other])))
    if reason is None:  # two processes 0 on one machine
        assert any("Address already in use" in text for text in found)
        return
    assert found == [reason, f"process 1 cannot start: {reason}"]


def test_two_processes_of_one_number(port):
    found = each(meet, *([Place("localhost", port, 3, index)] for index in (0, 1, 1)))
    assert str(found[0]) == "every process must have its own --process; two were started with 1"
    assert {str(error) for error in found[1:]} == {f"process 1 cannot start: {found[0]}"}
