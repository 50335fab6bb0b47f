"""Profile of a run: its trace, the table of its times, and a speed that is that of its arithmetic."""

import gzip
import json
import time

import numpy as np
import pytest
from support.tiny_run import invoke

from jaxconv import run
from jaxconv._base.errors import ConfigError
from jaxconv.run import config
from jaxconv.run.profiling import Profiler, peak_flops, read_profile


class Traces:
    """Takes the place of `jax.profiler`."""

    def __init__(self, monkeypatch):
        self.calls = []
        monkeypatch.setattr("jax.profiler.start_trace", lambda folder: self.calls.append(("start", folder)))
        monkeypatch.setattr("jax.profiler.stop_trace", lambda: self.calls.append("stop"))


def test_a_trace_has_whole_dispatches_after_the_first(tmp_path, monkeypatch):
    traces, seen = Traces(monkeypatch), []
    with Profiler(tmp_path, 4, 10, 100) as profiler:
        due = profiler.due(lambda done: seen.append(done) or 99)
        for done in (10, 10, 11, 11):
            assert due(done) == 99
        assert traces.calls == [("start", str(tmp_path / "profile"))]
        for done in (13, 13, 17, 17):  # that up to 17 may still run, that up to 13 has too few
            due(done)
        assert len(traces.calls) == 1
        due(25)
        assert traces.calls[1:] == ["stop"]
        for done in (33, 41):
            due(done)
    assert len(traces.calls) == 2
    assert (profiler._begin, profiler._end) == (11, 17)
    assert seen == [10, 10, 11, 11, 13, 13, 17, 17, 25, 33, 41]


def test_a_run_that_fails_ends_its_trace(tmp_path, monkeypatch):
    traces = Traces(monkeypatch)

    def fails():
        with Profiler(tmp_path, 4, 0, 100) as profiler:
            profiler.due(lambda done: None)(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert traces.calls[1:] == ["stop"]


def test_without_steps_nothing_is_wrapped(tmp_path):
    def due(done): ...

    with Profiler(tmp_path, 0, 0, 100) as profiler:
        assert profiler.due(due) is due
        assert profiler.save(due) is due
        profiler.finish(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_the_time_of_checkpoints_is_measured(tmp_path):
    profiler = Profiler(tmp_path, 1, 0, 100)
    save = profiler.save(lambda *state: time.sleep(0.05))
    for _ in range(2):
        save(None, 1, None)
    assert 0.1 <= profiler._saving < 1


@pytest.mark.parametrize("steps", [13, -1])
def test_more_steps_than_there_are_is_an_error_before_anything_is_written(tiny, tmp_path, steps):
    with pytest.raises(ConfigError) as caught:
        run.train(config.read(tiny), tmp_path / "run", profile=steps)
    assert str(caught.value) == f"--profile must be from 1 to 12, the steps of the run; got {steps}"
    assert not (tmp_path / "run").exists()


def test_the_table_as_text(tmp_path):
    table = {
        "seconds": {"data": 1.0, "step": 6.0, "evaluation": 2.0, "checkpoint": 0.5, "compilation": 0.5},
        "traced": [3, 23],
        "flops": 80e9,
        "peak_flops": 200e9,
    }
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "table.json").write_text(json.dumps(table))
    assert read_profile(tmp_path) == {
        "data": "1.00 s, 10.0%",
        "step": "6.00 s, 60.0%",
        "evaluation": "2.00 s, 20.0%",
        "checkpoint": "0.50 s, 5.0%",
        "compilation": "0.50 s, 5.0%",
        "arithmetic": "80 GFLOP/s, 40% of the 200 of a matrix product",
        "trace": f"{tmp_path / 'profile'}, steps 4 to 23",
    }


@pytest.mark.slow
def test_the_peak_is_that_of_a_matrix_product_in_numpy():
    a = np.ones((1024, 1024), np.float32)
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - began)
    assert 0.2 < peak_flops() / (2 * 1024**3 / min(seconds)) < 5


@pytest.mark.slow
def test_the_command_traces_and_prints(tiny, tmp_path):
    out = tmp_path / "run"
    result = invoke("train", tiny, "--profile", "2", "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = dict(line.split("  ", 1) for line in result.stdout.splitlines()[-7:])
    assert list(rows) == ["data", "step", "evaluation", "checkpoint", "compilation", "arithmetic", "trace"]
    table = json.loads((out / "profile" / "table.json").read_text())
    fitted = json.loads((out / "result.json").read_text())["seconds"]
    assert table["seconds"]["step"] == pytest.approx(fitted["training"] - fitted["waiting"])
    macs = 6 * 6 * 9 * 4 + 3 * 3 * 4 * 10  # of the convolution and the head
    assert table["flops"] == pytest.approx(6 * macs * 64 * 12 / table["seconds"]["step"])
    assert table["traced"][0] >= 1
    (trace,) = (out / "profile").rglob("*.trace.json.gz")
    assert json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert run.load(out).result["steps"] == 12
