"""Writers of metrics: trackers in the background, whose failures cost one line; wandb and mlflow in files."""

import importlib.util
import json
import sys
import threading
import time

import pytest
from support.tiny_run import CONFIG, invoke

from jaxconv import run
from jaxconv._base.errors import ConfigError
from jaxconv.run import config, writers
from jaxconv.run.writers import Background

needs = {
    name: pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"needs {name}")
    for name in ("wandb", "mlflow")
}


class Fake:
    """A tracker that records its calls, or fails."""

    def __init__(self, fails_at=None, wait=None):
        self.calls, self.threads, self._fails_at, self._wait = [], set(), fails_at, wait

    def log(self, step, values, seconds):
        self.threads.add(threading.current_thread())
        if step == self._fails_at:
            raise OSError("the server\nis gone")
        if self._wait is not None:
            self._wait.wait()
        self.calls.append((step, values))

    def end(self, finished):
        self.calls.append(finished)


def test_a_tracker_works_in_a_thread_in_order():
    fake, notices = Fake(), []
    writer = Background("fake", lambda: fake, notices.append)
    for step in range(5):
        writer.scalars(step, {"train/loss": step / 2})
    writer.close(finished=True)
    assert fake.calls == [*((step, {"train/loss": step / 2}) for step in range(5)), True]
    assert threading.main_thread() not in fake.threads
    assert notices == []


def broken():
    raise ConnectionError("refused")


@pytest.mark.parametrize(
    ("make", "reason", "logged"), [(broken, "refused", 0), (lambda: Fake(2), "the server", 2), (lambda: 1 / 0, None, 0)]
)
def test_a_tracker_that_fails_is_left_out_with_one_notice(make, reason, logged):
    found, notices = [], []
    writer = Background("fake", lambda: found.append(make()) or found[0], notices.append)
    for step in range(5):
        writer.scalars(step, {"train/loss": 1.0})
        time.sleep(0.02)
    writer.close(finished=False)
    (notice,) = notices
    text = notice.text.removeprefix("fake is left out from here on: ").removesuffix("; the run continues")
    assert text == (reason or "division by zero")
    assert sum(len(fake.calls) for fake in found) == logged


def test_a_tracker_that_hangs_holds_up_nothing(monkeypatch):
    monkeypatch.setattr(writers, "CLOSE_SECONDS", 0.1)
    gate, notices = threading.Event(), []
    writer = Background("fake", lambda: Fake(wait=gate), notices.append)
    began = time.monotonic()
    for step in range(1000):
        writer.scalars(step, {"train/loss": 1.0})
    writer.close(finished=True)
    assert time.monotonic() - began < 5
    gate.set()
    assert [notice.text for notice in notices] == [
        "fake is left out from here on: took longer than 0 s at the end; the run continues"
    ]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_library_is_an_error_before_anything_is_written(tiny, tmp_path, monkeypatch, name):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    settings = config.read(tiny, [f'log.writers=["{name}"]'])
    for call in (lambda: run.train(settings, tmp_path / "run"), lambda: writers.check_writers(settings)):
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == (
            f'log.writers: {name} needs the "{name}" extra: python -m pip install "jaxconv[{name}]"; '
            'without it: log.writers=["tensorboard"]'
        )
    assert not (tmp_path / "run").exists()


def test_a_library_that_cannot_be_imported_costs_a_notice(tiny, tmp_path, monkeypatch):
    (tmp_path / "wandb.py").write_text("raise RuntimeError('no shared library')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    notices = []
    (writer,) = writers.open_writers(config.read(tiny, ['log.writers=["wandb"]']), tmp_path, 0, notices.append)
    writer.close(finished=True)
    assert [notice.text for notice in notices] == [
        "wandb is left out from here on: no shared library; the run continues"
    ]


def test_an_unknown_writer_is_refused(tiny):
    with pytest.raises(ConfigError, match=r"log\.writers\.0: must be 'tensorboard', 'wandb' or 'mlflow'"):
        config.read(tiny, ['log.writers=["tensorbored"]'])


@pytest.mark.slow
def test_no_writer_leaves_no_events(tiny, tmp_path):
    run.train(config.read(tiny, ["log.writers=[]"]), tmp_path / "run")
    assert not (tmp_path / "run" / "events").exists()
    assert (tmp_path / "run" / "metrics.jsonl").exists()


class Interrupt(Exception):
    pass


def interrupted(settings, folder):
    """A run that fails after its first checkpoint."""

    def report(event):
        if getattr(event, "step", 0) >= 8:
            raise Interrupt

    with pytest.raises(Interrupt):
        run.train(settings, folder, report)


@needs["mlflow"]
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # its own
def test_mlflow_has_the_scalars_of_a_run_that_was_resumed(tiny, tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    MlflowClient(uri).search_experiments()  # makes the tables, which takes a while
    settings = config.read(tiny, ['log.writers=["mlflow"]', "log.project=tests"])
    interrupted(settings, tmp_path / "run")
    client = MlflowClient(uri)
    names = json.loads((tmp_path / "run" / "trackers.json").read_text())
    assert client.get_run(names["mlflow"]).info.status == "KILLED"
    run.resume(tmp_path / "run")
    found = client.get_run(names["mlflow"])
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "run"
    assert client.get_experiment(found.info.experiment_id).name == "tests"
    assert found.data.params["optim.learning_rate"] == "0.1"
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    history = client.get_metric_history(names["mlflow"], "train/loss")
    wanted = {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert {each.step: each.value for each in history} == pytest.approx(wanted)
    assert found.data.metrics["test/accuracy"] == pytest.approx(lines[-1]["test_accuracy"])
    assert len(client.search_runs([found.info.experiment_id])) == 1


@needs["wandb"]
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # its own
def test_wandb_offline_has_the_scalars_of_a_run_that_was_resumed(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    settings = config.read(tiny, ['log.writers=["wandb", "tensorboard"]'])
    interrupted(settings, tmp_path / "run")
    name = json.loads((tmp_path / "run" / "trackers.json").read_text())["wandb"]
    run.resume(tmp_path / "run")
    files = sorted((tmp_path / "run" / "wandb").glob(f"offline-run-*/run-{name}.wandb"))
    assert len(files) == 2  # of one run, which `wandb sync` joins
    content = b"".join(path.read_bytes() for path in files)
    for text in (b"train/loss", b"test/accuracy", b"optim.learning_rate"):
        assert text in content
    assert list((tmp_path / "run" / "events").iterdir())


@needs["mlflow"]
@needs["wandb"]
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # their own
def test_servers_that_cannot_be_reached_cost_a_line_each(tmp_path, monkeypatch):
    import wandb

    wandb.teardown()  # of an earlier test, with its settings
    monkeypatch.setattr(writers, "INIT_SECONDS", 2.0)
    monkeypatch.setattr(writers, "CLOSE_SECONDS", 30.0)
    nowhere = "http://127.0.0.1:9"
    for name, value in (
        ("WANDB_BASE_URL", nowhere),
        ("WANDB_API_KEY", "0" * 40),
        ("WANDB_MODE", "online"),
        ("MLFLOW_TRACKING_URI", nowhere),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"),
    ):
        monkeypatch.setenv(name, value)
    (tmp_path / "tiny.toml").write_text(CONFIG)
    result = invoke("train", tmp_path / "tiny.toml", 'log.writers=["wandb", "mlflow"]', "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "result.json").exists()
    lines = [line for line in result.stdout.splitlines() if "left out" in line]
    assert sorted(line.split(" is left out from here on: ")[0] for line in lines) == ["mlflow", "wandb"]
    assert all(line.endswith("; the run continues") for line in lines)
