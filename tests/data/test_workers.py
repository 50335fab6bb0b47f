"""Processes that read: they change nothing, and end with the run that started them."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from jaxconv import data

WORKERS = """
    import functools, os, signal, sys, time
    import numpy as np
    from jaxconv import data
    from jaxconv.data.order import batch_indices
    from jaxconv.data.stream import evaluation_stream, stream

    if __name__ == "__main__":
        train = data.load("images", sys.argv[1], size=8, in_memory=False, corrupt="skip").train
        def read(workers, start=0):
            order = functools.partial(batch_indices, 0, batch_size=3, size=len(train))
            batches = stream(train, order, start, 7, workers=workers)
            return [[leaf.tolist() for leaf in batch[:3]] for batch in batches], dict(batches.skipped)
        if sys.argv[2] == "compare":
            alone = read(0)
            assert len(alone[0]) == 7 and len(alone[1]) == 1, alone[1]
            assert read(2) == alone
            assert read(2, 3)[0] == alone[0][3:]
            one, two = (list(evaluation_stream(train, 4, workers=workers)) for workers in (0, 2))
            for left, right in zip(one, two, strict=True):
                assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))
            try:
                list(evaluation_stream(train, 4, workers=2, corrupt="fail"))
            except data.dataset.DataError as error:
                print(error)
        else:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs do not have
            batches = stream(train, lambda step: np.arange(3), 0, 10**6, workers=2)
            next(batches)
            import multiprocessing
            print(*[child.pid for child in multiprocessing.active_children()], flush=True)
            time.sleep(60)
"""


@pytest.fixture
def launch(tmp_path, photographs):
    root = photographs({"train/a": 7, "val/a": 1})
    (root / "train" / "a" / "002.jpg").write_bytes(b"")
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(WORKERS))
    package = str(pathlib.Path(data.__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": package, "PYTHONWARNINGS": "error::UserWarning"}

    def launch(what):
        return subprocess.Popen(
            [sys.executable, script, root, what], text=True, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return launch


@pytest.mark.slow
def test_workers_change_nothing(launch):
    process = launch("compare")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert out.strip().endswith("002.jpg is not a readable picture")
    assert "leaked" not in err
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_worker_outlives_a_run(launch, how):
    process = launch("wait")
    children = [int(word) for word in process.stdout.readline().split()]
    assert len(children) == 2
    process.send_signal(how)
    process.communicate(timeout=60)
    deadline = time.perf_counter() + 20
    while any(alive(child) for child in children) and time.perf_counter() < deadline:
        time.sleep(0.05)
    assert not [child for child in children if alive(child)]


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
