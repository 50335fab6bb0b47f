"""Ctrl-C at the command line, at moments when Python cannot answer it."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support import finished_run

from jaxconv._base import interrupt

HERE = str(pathlib.Path(interrupt.__file__).parents[2])
# The module alone: a process that need not import jax.
LOAD = f"""
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("interrupt", {interrupt.__file__!r})
interrupt = importlib.util.module_from_spec(spec)
spec.loader.exec_module(interrupt)
def busy():  # in C, without the lock and deaf to signals, as a compiler is
    import hashlib
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)
    print("done", flush=True)
"""


def start(code, **options):
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", LOAD + code], stdout=pipe, stderr=pipe, text=True, **options)


def outcome(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_process_that_is_busy_in_c(second):
    process = start(
        "with interrupt.at_the_command_line(), interrupt.saying(lambda: 'nothing was saved'), interrupt.saving():\n"
        "    for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, lambda *_: None)\n"
        "    busy()"
    )
    assert process.stdout.readline() == "busy\n"
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)  # two signals at the same moment are one
    process.send_signal(second)
    assert outcome(process) == (128 + second, "", "nothing was saved\n")


def test_a_first_ctrl_c_ends_what_has_nothing_to_save():
    process = start(
        "with interrupt.at_the_command_line():\n"
        "    try: busy()\n"
        "    except KeyboardInterrupt: interrupt.leave(signal.SIGINT)"  # it came a moment before C
    )
    assert process.stdout.readline() == "busy\n"
    process.send_signal(signal.SIGINT)
    assert outcome(process) == (130, "", "interrupted\n")


ME = "os.kill(os.getpid(), signal.SIGINT)"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (f"try:\n        {ME}\n    except KeyboardInterrupt: print('cleaned up')", (0, "cleaned up\n", "")),
        ("import halfway", (130, "", "interrupted\n")),
        (f"class Odd:\n        def __del__(self): {ME}\n    odd = Odd()\n    del odd", (130, "", "interrupted\n")),
    ],
)
def test_one_ctrl_c_raises_only_where_python_can_clean_up(tmp_path, code, expected):
    (tmp_path / "halfway.py").write_text(f"import os, signal\ntry:\n    {ME}\nfinally:\n    print('reached')\n")
    assert outcome(start(f"with interrupt.at_the_command_line():\n    {code}", cwd=tmp_path)) == expected


def test_after_the_command_ctrl_c_ends_the_process_silently():
    assert outcome(start(f"with interrupt.at_the_command_line(): pass\n{ME}")) == (-signal.SIGINT, "", "")


def test_a_command_that_imports_is_ended_silently(tmp_path):
    (tmp_path / "jax.py").write_text(f"import os, signal\n{ME}\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), HERE])}

    def run(*arguments):
        found = subprocess.run(
            [sys.executable, *arguments], capture_output=True, env=environment, text=True, check=False
        )
        return found.returncode, found.stdout, found.stderr

    assert run("-m", "jaxconv", "--help") == (-signal.SIGINT, "", "")
    (tmp_path / "jaxconv").write_text("from jaxconv.__main__ import main\nmain()\n")  # as the console script
    assert run(tmp_path / "jaxconv") == (-signal.SIGINT, "", "")
    code, _, err = run("-c", "import jaxconv")  # a library leaves signals alone
    assert (code, err.splitlines()[-1]) == (-signal.SIGINT, "KeyboardInterrupt")


def test_outside_a_command_a_second_signal_is_a_keyboard_interrupt():
    from jaxconv.run.callbacks import signals

    with pytest.raises(KeyboardInterrupt), signals() as received:  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        assert received() == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_a_second_ctrl_c_ends_a_training_that_compiles(tmp_path):
    text = finished_run.CONFIG.replace('"conv_pool"', '"resnet32"')
    lines = [
        line for line in text.splitlines() if not line.startswith(("features", "kernel_size", "padding", "hidden"))
    ]
    (tmp_path / "deep.toml").write_text("\n".join(lines))
    command = [sys.executable, "-m", "jaxconv", "train", "deep.toml", "--out", "run"]
    environment = os.environ | {"PYTHONPATH": HERE}
    for pause in (0.1, 2.0):
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path, env=environment)
        while not (tmp_path / "run" / "manifest.json").exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        process.wait(timeout=60)
        assert time.monotonic() - sent < 2
        assert outcome(process) == (
            130, "", "interrupted before the first checkpoint; to start it again:\n  jaxconv train --resume run\n",
        )  # fmt: skip
        shutil.rmtree(tmp_path / "run")
