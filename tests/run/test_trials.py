"""Sweeps that choose values: what they record, and that a kill at any moment loses nothing."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support.config_text import config_text
from support.finished_run import RESULT
from support.tiny_run import CONFIG, invoke

from jaxconv import run
from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data.fingerprint import fingerprint
from jaxconv.run import config, sweeps
from jaxconv.run.build import load_dataset
from jaxconv.run.manifest import manifest
from jaxconv.training.progress import Evaluation, Notice, Progress, Score
from jaxconv.training.running import DivergedError

OPTUNA = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="needs Optuna")
RANGE = "learning_rate=1e-3..10:log"


class Trainer:
    """Takes the place of `train`: writes a run whose accuracy falls with its learning rate."""

    def __init__(self):
        self.rates, self.stop_at = [], None

    def __call__(self, settings, folder, report, devices):
        rate = settings.optim.learning_rate
        self.rates.append(rate)
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(config.to_toml(settings))
        notes = manifest(settings, fingerprint(load_dataset(settings)))
        (folder / "manifest.json").write_text(json.dumps(notes))
        if len(self.rates) == self.stop_at:
            raise KeyboardInterrupt
        if rate > 1:
            raise DivergedError(5, float("nan"))
        for step in (6, 12):
            report(Progress(step, 12, 1.0, 0.5, 100.0, 0.0))
            report(Evaluation(step, Score(1.0, (1 - rate) * step / 12)))
        result = RESULT | {"validation_accuracy": 1 - rate}
        (folder / "result.json").write_text(json.dumps(result))
        return result


@pytest.fixture
def trainer(monkeypatch):
    found = Trainer()
    monkeypatch.setattr(sweeps, "train", found)
    monkeypatch.setattr(sweeps, "resume", lambda own, *rest: resumed(found, own, *rest))
    monkeypatch.setattr("jaxconv.run.manifest._revision", lambda: None)
    return found


def resumed(trainer, own, settings, report, devices):
    for path in own.iterdir():
        path.unlink()
    own.rmdir()
    return trainer(settings, own, report, devices)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.toml"
    path.write_text(
        config_text(
            data={"name": "digits", "validation": 100},
            optim={"name": "sgd", "learning_rate": 0.1},
            train={"epochs": 1, "batch_size": 64},
        )
    )
    return path


def record(folder):
    return json.loads((folder / "sweep.json").read_text())["trials"]


def test_random_runs_are_recorded_extended_and_not_repeated(source, tmp_path, trainer):
    out, notices = tmp_path / "swept", []
    report = lambda event, name: notices.append((name, event)) if isinstance(event, Notice) else None  # noqa: E731
    first = run.sweep(source, [RANGE, "seed=3"], out, report, method="random", trials=6)
    trials = record(out)
    assert [each["number"] for each in trials] == list(range(6))
    assert {each["values"]["seed"] for each in trials} == {"3"}
    diverged = [each["number"] for each in trials if each["state"] == "diverged"]
    assert 0 < len(diverged) < 6
    assert [number for number, result in enumerate(first) if not result] == diverged
    assert [text.text for _, text in notices] == [str(DivergedError(5, float("nan")))] * len(diverged)
    names = sorted(path.name for path in out.iterdir() if path.is_dir())
    assert names[0] == f"000-learning_rate={trials[0]['values']['learning_rate']}"  # without the seed of all
    again = run.sweep(source, [RANGE, "seed=3"], out, method="random", trials=8)
    assert len(trainer.rates) == 8
    assert again[:6] == first
    assert record(out)[:6] == trials
    assert run.best(out)[1] == max(each["accuracy"] for each in record(out) if each["state"] == "finished")
    whole = run.sweep(source, [RANGE, "seed=3"], tmp_path / "whole", method="random", trials=8)
    assert [each["values"] for each in record(tmp_path / "whole")] == [each["values"] for each in record(out)]
    assert len(whole) == 8


def test_an_interrupted_run_is_continued_with_its_values(source, tmp_path, trainer):
    out, trainer.stop_at = tmp_path / "swept", 3
    with pytest.raises(KeyboardInterrupt):
        run.sweep(source, [RANGE], out, method="random", trials=5)
    states = [each["state"] for each in record(out)]
    assert states[2:] == ["running"]
    run.sweep(source, [RANGE], out, method="random", trials=5)
    assert trainer.rates[2] == trainer.rates[3]  # once before and once after
    assert len(trainer.rates) == 6
    assert "running" not in {each["state"] for each in record(out)}


def test_a_result_that_was_not_recorded_is_read(source, tmp_path, trainer):
    out = tmp_path / "swept"
    before = run.sweep(source, ["learning_rate=1e-3..0.5"], out, method="random", trials=2)
    trials = record(out)
    content = json.loads((out / "sweep.json").read_text())
    content["trials"][1] |= {"state": "running", "accuracy": 0.0, "seen": {}}
    (out / "sweep.json").write_text(json.dumps(content))  # as a kill in between leaves it
    assert run.sweep(source, ["learning_rate=1e-3..0.5"], out, method="random", trials=2) == before
    assert len(trainer.rates) == 2
    assert record(out)[1]["accuracy"] == trials[1]["accuracy"]


@pytest.mark.slow
@OPTUNA
def test_tpe_prunes_and_finds_what_is_good(source, tmp_path, trainer):
    out = tmp_path / "swept"
    run.sweep(source, ["learning_rate=1e-3..0.9"], out, method="tpe", trials=9, prune=True)
    trainer.stop_at = 14
    with pytest.raises(KeyboardInterrupt):
        run.sweep(source, ["learning_rate=1e-3..0.9"], out, method="tpe", trials=20, prune=True)
    run.sweep(source, ["learning_rate=1e-3..0.9"], out, method="tpe", trials=20, prune=True)
    trials = record(out)
    assert len(trials) == 20
    states = [each["state"] for each in trials]
    assert set(states) == {"finished", "pruned"}
    assert "pruned" not in states[:5]
    for each in trials:
        assert (each["state"] == "pruned") == (list(each["seen"]) == ["50"])
    assert run.best(out)[1] > 0.9


def test_what_a_sweep_refuses_before_anything_is_written(source, tmp_path, trainer):
    out = tmp_path / "never"
    plain = tmp_path / "plain.toml"
    plain.write_text(source.read_text().replace("validation = 100", "validation = 0"))
    cases = [
        (source, ["foo=1..2"], {"method": "random", "trials": 2}, "unknown key 'foo'"),
        (source, ["train.epoch=1..2"], {"method": "random", "trials": 2}, "train.epoch: unknown key"),
        (source, ["momentum=0.5..1.5"], {"method": "random", "trials": 2}, "unknown key 'momentum'"),
        (source, ["label_smoothing=0.5..1.5"], {"method": "random", "trials": 2}, "train.label_smoothing: must be"),
        (source, [RANGE], {}, "a grid needs values of learning_rate, got a range"),
        (source, ["seed=1,2"], {"trials": 2}, "a grid has a run for each combination"),
        (source, ["seed=1,2"], {"processes": 0}, "--processes must be at least 1, got 0"),
        (source, [RANGE], {"method": "random"}, "--trials must be at least 1 for --method random; got none"),
        (source, [RANGE], {"method": "random", "trials": 0}, "--trials must be at least 1 for --method random; got"),
        (source, [RANGE], {"method": "random", "trials": 1, "prune": True}, "--prune is for --method tpe, got random"),
        (plain, [RANGE], {"method": "tpe", "trials": 1}, "--method tpe chooses by validation images"),
    ]
    for path, overrides, options, message in cases:
        with pytest.raises(ConfigError) as caught:
            run.sweep(path, overrides, out, **options)
        assert message in str(caught.value)
    assert not out.exists()
    assert trainer.rates == []


def test_a_folder_of_another_sweep_or_a_damaged_record_is_refused(source, tmp_path, trainer):
    out = tmp_path / "swept"
    run.sweep(source, ["learning_rate=0.1..0.5"], out, method="random", trials=2)
    before = (out / "sweep.json").read_text()
    with pytest.raises(ConfigError) as caught:
        run.sweep(source, ["learning_rate=0.1..0.6"], out, method="random", trials=3)
    assert str(caught.value) == (
        f"{out} has a sweep of another space, learning_rate=0.1..0.5; got learning_rate=0.1..0.6; "
        "give --out another folder"
    )
    with pytest.raises(ConfigError, match="--trials must be at least 2, as there are, for --method random; got 1"):
        run.sweep(source, ["learning_rate=0.1..0.5"], out, method="random", trials=1)
    assert (out / "sweep.json").read_text() == before
    (out / "sweep.json").write_text(before[:-20])
    with pytest.raises(DataError, match=r"sweep\.json was altered: JSONDecodeError"):
        run.sweep(source, ["learning_rate=0.1..0.5"], out, method="random", trials=3)
    assert len(trainer.rates) == 2


def start(*arguments):
    command = [sys.executable, "-m", "jaxconv", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def running(folder):
    """Process IDs of commands with a file of this folder open."""
    found = []
    for entry in (name for name in os.listdir("/proc") if name.isdigit()):
        try:
            names = [os.readlink(f"/proc/{entry}/fd/{handle}") for handle in os.listdir(f"/proc/{entry}/fd")]
        except OSError:
            continue
        if any(name.startswith(str(folder)) for name in names):
            found.append(int(entry))
    return found


def wait_for(condition, seconds=200):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_the_sweep_and_it_is_resumed(tmp_path, number):
    (tmp_path / "long.toml").write_text(CONFIG)
    out = tmp_path / "swept"
    words = ["sweep", tmp_path / "long.toml", "epochs=30", "seed=0,1", "--processes", "2", "--out", out]
    with start(*words) as process:
        wait_for(lambda: len([path for path in out.glob("*/metrics.jsonl") if path.stat().st_size]) == 2)
        process.send_signal(number)
        _, err = process.communicate(timeout=100)
    assert process.returncode == (143 if number == signal.SIGTERM else -9)
    assert err.startswith("stopped at step") == (number == signal.SIGTERM), err
    wait_for(lambda: not running(out))
    assert not list(out.glob("*/result.json"))
    assert len(list(out.glob("*/checkpoints/[0-9]*"))) >= 2
    if number == signal.SIGKILL:
        assert invoke(*words).exit_code == 0
        assert [json.loads(path.read_text())["steps"] for path in out.glob("*/result.json")] == [675, 675]
        assert all(json.loads(path.read_text())["resumed"][0]["step"] > 0 for path in out.glob("*/manifest.json"))


@pytest.mark.slow
def test_runs_in_processes_are_those_of_one_process(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    results = [
        run.sweep(tmp_path / "tiny.toml", ["seed=0,1,2"], tmp_path / str(count), processes=count) for count in (1, 2)
    ]
    for one, other in zip(*results, strict=True):
        assert one["seed"] == other["seed"]
        assert one["test_loss"] == pytest.approx(other["test_loss"], rel=1e-4)
    assert run.sweep(tmp_path / "tiny.toml", ["seed=0,1,2"], tmp_path / "2", processes=2) == results[1]


@pytest.mark.slow
def test_an_error_in_a_process_is_that_of_the_sweep(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    words = ["optim.learning_rate=1e30,0.1", "--processes", "2", "--out", tmp_path / "swept"]
    result = invoke("sweep", tmp_path / "tiny.toml", *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: the loss became ")
    assert "Traceback" not in result.stderr
