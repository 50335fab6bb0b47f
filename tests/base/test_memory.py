"""Huge pages and a kept heap: commands restart themselves once, other programs never, and nothing else changes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from jaxconv._base import memory

glibc = pytest.mark.skipif(not memory._glibc(), reason="not glibc")
MODULE, SCRIPT = ["python", "-m", "jaxconv", "doctor"], ["python", "-u", "/env/bin/jaxconv", "doctor"]
PLAIN = {"PATH": "/bin"}


@glibc
@pytest.mark.parametrize("argv", [MODULE, SCRIPT])
def test_a_command_is_restarted_once(argv):
    after = memory.restarted(PLAIN, argv, "/env/bin/python")
    assert after == {**PLAIN, "JAXCONV_MALLOC": "0", "GLIBC_TUNABLES": memory.TUNABLES}
    assert memory.restarted(after, argv, "/env/bin/python") is None


@glibc
def test_other_tunables_are_kept():
    after = memory.restarted({"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}, MODULE, "/env/bin/python")
    assert after["GLIBC_TUNABLES"] == f"glibc.pthread.rseq=0:{memory.TUNABLES}"


@pytest.mark.parametrize(
    ("environment", "argv", "executable"),
    [
        ({"JAXCONV_MALLOC": "0"}, MODULE, "/env/bin/python"),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}, MODULE, "/env/bin/python"),
        (PLAIN, MODULE, ""),
        (PLAIN, ["python", "-m", "jaxconv.engine.native"], "/env/bin/python"),
        (PLAIN, ["python", "-m", "mine", "jaxconv"], "/env/bin/python"),
        (PLAIN, ["python", "train.py", "jaxconv"], "/env/bin/python"),
        (PLAIN, ["python", "-c", "import jaxconv", "jaxconv"], "/env/bin/python"),
        (PLAIN, ["python"], "/env/bin/python"),
        (PLAIN, [], "/env/bin/python"),
    ],
)
def test_who_is_not_restarted(environment, argv, executable):
    assert memory.restarted(environment, argv, executable) is None


@pytest.fixture
def command(tmp_path):
    """Starts `python -m jaxconv`; at the exit of a Python its tunables are appended to a file."""
    said = tmp_path / "said"
    (tmp_path / "sitecustomize.py").write_text(
        f"import atexit, os\n"
        f"atexit.register(lambda: open({str(said)!r}, 'a').write(os.environ.get('GLIBC_TUNABLES', '-') + '\\n'))\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    plain = {name: value for name, value in os.environ.items() if name not in ("GLIBC_TUNABLES", "JAXCONV_MALLOC")}

    def start(*words, **env):
        return subprocess.Popen(
            [sys.executable, "-m", "jaxconv", *words],
            env={**plain, "PYTHONPATH": path, **env},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    start.said = said
    return start


@glibc
@pytest.mark.slow
def test_output_and_exit_code_are_those_of_the_command(command):
    outcomes = []
    for env in ({}, {"JAXCONV_MALLOC": "0"}):
        for words in (["--help"], ["train", "no-such-config.toml"]):
            with command(*words, **env) as process:
                out, err = process.communicate(timeout=100)
            outcomes.append((process.returncode, out, err))
    assert outcomes[:2] == outcomes[2:]
    assert [code for code, _, _ in outcomes[:2]] == [0, 2]
    assert command.said.read_text().split() == [memory.TUNABLES] * 2 + ["-"] * 2


@glibc
@pytest.mark.slow
def test_a_reader_that_leaves_and_a_signal(command):
    with command("--help") as process:
        process.stdout.close()
        assert process.wait(timeout=100) in (0, 1, -signal.SIGPIPE)
        assert "Traceback" not in process.stderr.read()
    for pause in (0.05, 0.3, 1.5):  # before the restart, after it, at work
        with command("doctor") as process:
            time.sleep(pause)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=20) in (-signal.SIGTERM, 128 + signal.SIGTERM)


@glibc
def test_a_kept_heap_does_not_fault_again():
    """Arrays of 64 MB, allocated and freed in turn, in a process of its own."""
    code = f"""
import resource, runpy, sys
if len(sys.argv) > 1: assert runpy.run_path({memory.__file__!r})["keep_heap"]()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(64 << 20)
before = faults()
for _ in range(4): bytearray(64 << 20)
print(faults() - before)
"""
    plain = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    default, kept = (
        int(subprocess.run([sys.executable, "-c", code, *words], env=plain, capture_output=True, check=True).stdout)
        for words in ([], ["kept"])
    )
    assert kept < default / 10


@glibc
@pytest.mark.parametrize("tunables", [memory.TUNABLES, ""])
def test_large_blocks_are_returned_after_all(tunables):
    """Of a kept heap: arrays of 256 MB stay resident after they are freed, until large blocks are returned again."""
    code = f"""
import os, runpy
again = runpy.run_path({memory.__file__!r})["return_large_blocks"]
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
def left(size):
    before = resident()
    block, after = bytearray(size << 20), bytearray(1 << 16)  # the second keeps the first from the heap's end
    del block
    return resident() - before, after
first, kept = left(256)
told = again()
second, _ = left(512)
print(first, told, second)
"""
    plain = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=plain | {"GLIBC_TUNABLES": tunables},
        capture_output=True,
        check=True,
        text=True,
    )
    first, told, second = process.stdout.split()
    assert (int(first) > 200, told) == (bool(tunables), str(bool(tunables)))
    assert int(second) < 50
