"""The launcher: lines with a prefix, the status of the first that fails, and no process left."""

import os
import signal
import sys
import textwrap
import threading
import time

import pytest
from support.tiny_run import invoke

from jaxconv.cli import launch
from jaxconv.cli.launch import launched


def launch_script(script, processes=3, **options):
    """Launch `script`, which knows its number as `me`."""
    start = "import os, signal, sys, time\nme = int(sys.argv[sys.argv.index('--process') + 1])\n"
    return launched([sys.executable, "-c", start + textwrap.dedent(script)], processes, **options)


def test_lines_have_the_number_of_their_process(capfd):
    code = launch_script("print('step', me); print(' '.join(sys.argv[1:]), file=sys.stderr)", 2)
    out, err = capfd.readouterr()
    assert code == (0, "")
    assert sorted(out.splitlines()) == ["[0] step 0", "[1] step 1"]
    first, second = sorted(err.splitlines())
    assert first.startswith("[0] --coordinator 127.0.0.1:")
    assert second == first.replace("[0]", "[1]").replace("--process 0", "--process 1")


def test_what_all_say_is_said_once(capfd):
    assert launch_script("print('error: no file', file=sys.stderr); sys.exit(2)") == (2, "")
    assert capfd.readouterr().err.split(maxsplit=1)[1:] == ["error: no file\n"]


@pytest.mark.parametrize(
    ("command", "got"),
    [
        ("tain", "got 'tain'; did you mean 'train'?\n  fix: jaxconv launch --processes 2 -- train CONFIG"),
        ("sweep", "got 'sweep'\n  fix: jaxconv sweep alone, which uses all devices"),
    ],
)
def test_only_training_is_launched(command, got):
    found = invoke("launch", "--processes", "2", "--", command, "configs/digits.toml")
    assert found.exit_code == 2
    assert found.stderr == f"error: launch starts several processes of train, {got}\n"


def test_each_process_has_its_devices(capfd):
    launch_script("print(os.environ['JAX_LOCAL_DEVICE_IDS'], os.environ['JAX_NUM_CPU_DEVICES'])", 2, devices=3)
    assert sorted(capfd.readouterr().out.splitlines()) == ["[0] 0,1,2 3", "[1] 3,4,5 3"]


@pytest.mark.parametrize("how", ["sys.exit(7)", "os.kill(os.getpid(), 9)"])
def test_all_end_when_one_fails(how, capfd, monkeypatch):
    monkeypatch.setattr(launch, "END_SECONDS", 0.3)
    began = time.monotonic()
    code, message = launch_script(f"print(os.getpid(), flush=True)\nif me == 1: {how}\ntime.sleep(60)")
    assert time.monotonic() - began < 20
    assert (code, message) == (
        (7, "") if "exit" in how else (137, "process 1 was ended by SIGKILL; the others are ended, too")
    )
    for line in capfd.readouterr().out.splitlines():
        with pytest.raises(ProcessLookupError):
            os.kill(int(line.split()[1]), 0)


def test_a_process_that_does_not_end_with_the_others(monkeypatch):
    monkeypatch.setattr(launch, "END_SECONDS", 0.3)
    assert launch_script("if me == 1: time.sleep(60)") == (1, "1 process did not end with the others: killed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_one_process_speaks(number, capfd):
    script = """
        def listen(number, frame):
            print('stopped by', number, flush=True)
            sys.exit(128 + number)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, listen)
        print('ready', flush=True)
        time.sleep(60)
    """
    threading.Timer(1.5, os.kill, [os.getpid(), number]).start()
    assert launch_script(script) == (128 + number, "")
    assert [line for line in capfd.readouterr().out.splitlines() if "ready" not in line] == [
        f"[0] stopped by {int(number)}"
    ]
