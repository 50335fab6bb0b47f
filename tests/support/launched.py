"""Runs of `jaxconv launch` in processes of their own."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

CACHE = tempfile.TemporaryDirectory(prefix="jaxconv-cache-")  # each program is compiled once for all launches
TESTS = str(pathlib.Path(__file__).parents[1])
LAUNCH = [sys.executable, "-m", "jaxconv", "launch"]


def start(*words, processes=2, devices=1):
    """The launcher of `jaxconv train WORDS`; its output is in its attributes when `end` has returned."""
    command = [*LAUNCH, "--processes", str(processes), "--devices", str(devices), "--", "train", *map(str, words)]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "PYTHONFAULTHANDLER": "1",
        "XDG_CACHE_HOME": CACHE.name,
        "PYTHONPATH": os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]),  # nets of configs
    }
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def launch(*words, **options):
    """Exit code, output and errors of `jaxconv launch -- train WORDS`."""
    return end(start(*words, **options))


def end(launcher, seconds=280):
    """Exit code, output and errors of a launcher; of one that still runs, where each of its processes is."""
    try:
        out, err = launcher.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        for process in _children(launcher):
            os.kill(process, signal.SIGABRT)
        out, err = launcher.communicate()
        raise AssertionError(f"still running after {seconds} s:\n{out[-3000:]}\n{err[-12000:]}") from None
    return launcher.returncode, out, err


def children(launcher, processes):
    """The process numbers of its processes, in their order; waits until there are so many."""
    while launcher.poll() is None:
        if len(found := _children(launcher)) == processes:
            return found
        time.sleep(0.01)
    return []


def _children(launcher):
    with open(f"/proc/{launcher.pid}/task/{launcher.pid}/children") as file:
        return sorted(map(int, file.read().split()))
