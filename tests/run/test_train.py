"""Runs that are stopped, killed and gone on with, and what they leave."""

import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.digits_run import CONFIG, settings

from jaxconv import run
from jaxconv._base.errors import ConfigError, DataError
from jaxconv.run import config
from jaxconv.training.progress import Evaluation, Progress
from jaxconv.training.running import DivergedError

STEPS = 60
TIMES = ("images_per_second", "waiting")


def measured(folder):
    """metrics.jsonl without what differs from run to run."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def same_bits(one, other):
    a, b = (load_file(folder / "params.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


class Stop:
    """Sends this process a signal when training has come to a step."""

    def __init__(self, step, number=signal.SIGTERM):
        self.step, self.number = step, number

    def __call__(self, event):
        if isinstance(event, Progress | Evaluation) and event.step >= self.step:
            self.step = 10**9
            os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run.train(settings(), folder)
    return folder


def test_a_run_leaves_all_that_it_should(whole):
    names = {path.name for path in whole.iterdir() if not path.name.startswith(".")}
    pictures = {"curves.png", "confusion.png", "confusion.csv", "mistakes.png", "report.html"}
    files = {
        "config.toml",
        "layers.json",
        "manifest.json",
        "metrics.jsonl",
        "params.safetensors",
        "result.json",
        "SHA256SUMS",
    }
    assert names == pictures | files | {"events", "checkpoints"}
    manifest = json.loads((whole / "manifest.json").read_text())
    names = "started command versions device flags precision seed revision code data schedule"
    assert set(manifest) == set(names.split())
    result = json.loads((whole / "result.json").read_text())
    assert result["steps"] == STEPS
    assert result["test_accuracy"] > 0.6
    table = [line.split(",") for line in (whole / "confusion.csv").read_text().splitlines()]
    counts = np.array([row[1:] for row in table[1:]], int)
    assert table[0] == ["", *"0123456789"]
    assert np.trace(counts) / counts.sum() == pytest.approx(result["test_accuracy"])
    steps = [line["step"] for line in measured(whole)]
    assert steps == [7, 14, 21, 25, 25, 28, 35, 42, 49, 50, 50, 56, 60, 60]
    rates = [line["learning_rate"] for line in measured(whole) if "learning_rate" in line]
    assert max(rates) <= 0.1
    assert rates[-1] < 0.001


@pytest.mark.slow
def test_the_resolved_config_has_every_value_of_the_schedule_and_repeats_the_run(whole, tmp_path):
    again = config.read(whole / "config.toml")
    assert again.optim.learning_rate == 0.1  # the peak
    assert again.optim.schedule.arguments == {
        "init_value": 0.0, "warmup_steps": 12, "decay_steps": 60, "end_value": 0.0, "exponent": 1.0,
    }  # fmt: skip
    run.train(again, tmp_path / "again")
    same_bits(tmp_path / "again", whole)
    assert measured(tmp_path / "again") == measured(whole)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a run that Ctrl-C stopped, and what was raised; to be copied."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.raises(run.StoppedError) as caught:
        run.train(settings(), folder, Stop(49, signal.SIGINT))
    return folder, caught.value


@pytest.mark.slow
def test_going_on_gives_the_same_bits(whole, stopped, tmp_path):
    folder, error = stopped
    done = int(str(error).split()[3])
    assert 49 <= done < STEPS
    assert str(error) == f"stopped at step {done} of {STEPS} and saved; to resume:\n  jaxconv train --resume {folder}"
    assert error.signal_number == signal.SIGINT
    assert not (folder / "result.json").exists()
    again = shutil.copytree(folder, tmp_path / "run")
    result = run.resume(again)
    same_bits(again, whole)
    assert measured(again) == measured(whole)
    before = json.loads((whole / "result.json").read_text())
    assert result["test_loss"] == before["test_loss"]
    manifest = json.loads((again / "manifest.json").read_text())
    assert [each["step"] for each in manifest["resumed"]] == [done]


@pytest.mark.slow
def test_evaluations_by_default_change_no_number_and_a_resumption_neither(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("jaxconv.training.budget.SHARE", 1e9)
    automatic = settings("train.eval_every=none")
    with pytest.raises(run.StoppedError):
        run.train(automatic, tmp_path / "run", Stop(31))
    again = run.resume(tmp_path / "run")
    same_bits(tmp_path / "run", whole)
    lines = measured(tmp_path / "run")
    assert [line["step"] for line in lines if "test_loss" in line] == list(range(3, 61, 3))
    assert [line["step"] for line in lines if "loss" in line] == [7, 14, 21, 28, 35, 42, 49, 56, 60]
    assert again["test_loss"] == json.loads((whole / "result.json").read_text())["test_loss"]
    saved = sorted(int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert saved[-1] == STEPS
    assert len(saved) == 2  # evaluations by default save nothing


@pytest.mark.slow
def test_a_run_that_lost_its_last_states_goes_on_from_the_one_before(whole, tmp_path):
    with pytest.raises(run.StoppedError):
        run.train(settings(), tmp_path / "run", Stop(35))
    kept = sorted((tmp_path / "run" / "checkpoints").iterdir(), key=lambda path: int(path.name))
    shutil.rmtree(kept[-1])
    with open(tmp_path / "run" / "metrics.jsonl", "a", encoding="utf-8") as stream:
        stream.write('{"step": 5')  # cut off by a kill
    run.resume(tmp_path / "run")
    same_bits(tmp_path / "run", whole)
    assert measured(tmp_path / "run") == measured(whole)


@pytest.mark.slow
def test_a_finished_run_is_trained_further_as_if_it_had_been_longer(whole, tmp_path):
    """At a constant learning rate the longer run's bits; its metrics and manifest go on."""
    changes = ["optim.schedule=none"]
    run.train(settings("train.epochs=1", *changes), tmp_path / "long")
    short = settings("train.epochs=0.5", *changes)
    run.train(short, tmp_path / "run")
    steps = run.load(tmp_path / "run").result["steps"]
    result = run.resume(tmp_path / "run", settings("train.epochs=1", *changes))
    assert result["steps"] == 2 * steps
    same_bits(tmp_path / "run", tmp_path / "long")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert [(each["step"], each["changed"]["train.epochs"]) for each in manifest["resumed"]] == [
        (steps, {"before": 0.5, "now": 1.0})
    ]
    assert config.read(tmp_path / "run" / "config.toml").train.epochs == 1
    assert run.load(tmp_path / "run").result == result


@pytest.mark.slow
def test_what_cannot_be_gone_on_with(whole, stopped, tmp_path):
    def message(*arguments):
        with pytest.raises((ConfigError, DataError)) as caught:
            run.resume(*arguments)
        return str(caught.value)

    none = f"no run to resume in {tmp_path}: it must contain config.toml"
    assert message(tmp_path) == none
    finished = (
        f"{whole} is finished; to train it further: jaxconv train --resume {whole} train.epochs=N, more than so far; "
        f"to test it again: jaxconv evaluate {whole}"
    )
    assert message(whole) == message(whole, settings("train.label_smoothing=0.2")) == finished
    without = shutil.copytree(whole, tmp_path / "without", ignore=shutil.ignore_patterns("checkpoints"))
    assert message(without, settings("train.epochs=99")).startswith(f"{without} has no checkpoint to resume from")
    other = settings(
        "train.epochs=99", "optim.name=sgd", "optim.momentum=0.9", text=re.sub("adam_l.*|weight_d.*", "", CONFIG)
    )
    before = whole.joinpath("config.toml").read_bytes(), whole.joinpath("manifest.json").read_bytes()
    assert "is a checkpoint of another optimizer: " in message(whole, other).splitlines()[0]
    assert before == (whole.joinpath("config.toml").read_bytes(), whole.joinpath("manifest.json").read_bytes())
    assert run.load(whole).result["steps"] == STEPS
    folder = shutil.copytree(stopped[0], tmp_path / "run")
    told = message(folder, settings("net.hidden=[17]")).splitlines()
    assert told[0].startswith(f"{folder}/checkpoints/")
    assert "is a checkpoint of another net: " in told[0]
    assert "  ! params/dense0/kernel  [54, 16] float32 in the file, [54, 17] float32 in this net" in told
    (folder / "config.toml").write_text(config.to_toml(settings()))
    with run.folder.locked(folder):
        assert message(folder) == f"{folder} is being written by another process; wait for it, or stop it"
    changed = run.resume(folder, run.settings_of(folder, ["optim.learning_rate=0.01", "epochs=1.7"]))
    assert changed["steps"] == 51
    now = config.read(folder / "config.toml").optim
    assert (now.learning_rate, now.schedule.arguments["decay_steps"]) == (0.01, 51)
    assert json.loads((folder / "manifest.json").read_text())["resumed"][-1]["changed"] == {
        "optim.learning_rate": {"before": 0.1, "now": 0.01},
        "optim.schedule.decay_steps": {"before": 60, "now": 51},
        "optim.schedule.warmup_steps": {"before": 12, "now": 10},
        "train.epochs": {"before": 2.0, "now": 1.7},
    }


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_at_once_and_keeps_the_state_before(tmp_path):
    text = (
        CONFIG.replace("muon", "sgd")
        .replace("adam_learning_rate = 0.02", "")
        .replace("max_grad_norm = 5.0", "")
        .replace("ema = 0.9", "")
    )
    text = text.replace("batch_norm = true", "")
    bad = settings("optim.learning_rate=1e30", "optim.schedule.warmup_percent=0", text=text)
    with pytest.raises(DivergedError) as caught:
        run.train(bad, tmp_path / "run")
    assert caught.value.step < 11
    assert caught.value.__notes__ == [
        "no state was saved before it; to resume with other settings: "
        f"jaxconv train --resume {tmp_path / 'run'} KEY=VALUE"
    ]
    good = settings("optim.learning_rate=0.3", text=text)
    assert run.resume(tmp_path / "run", good)["test_accuracy"] > 0.2


@pytest.mark.slow
def test_an_ensemble_is_its_members(whole, tmp_path):
    both = run.train(settings("ensemble.size=2", "train.epochs=0.4"), tmp_path / "both")
    alone = run.train(settings("seed=1", "train.epochs=0.4"), tmp_path / "alone")
    pair, lone = (load_file(tmp_path / name / "params.safetensors") for name in ("both", "alone"))
    for name in lone:
        scale = np.abs(lone[name]).max()
        np.testing.assert_allclose(pair[name][1], lone[name], atol=2e-4 * scale, err_msg=name)
    assert both["test_member_accuracies"][1] == pytest.approx(alone["test_accuracy"], abs=0.01)
    assert both["parameters"] == alone["parameters"]
    finished = run.load(tmp_path / "both")
    found = finished.test()
    assert found.answer.shape == (2, 359)
    assert found.mean.accuracy == both["test_accuracy"]
    chances = finished.probabilities(np.zeros([3, 8, 8, 1], np.uint8))
    np.testing.assert_allclose(chances.sum(-1), 1, rtol=1e-5)


@pytest.mark.slow
def test_runs_are_compared_and_swept(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    folder = tmp_path / "sweep"
    begun = []
    overrides = ["train.epochs=0.2", "net.hidden=[4],[5, 6]"]
    results = run.sweep(path, overrides, folder, begin=lambda *event: begun.append(event))
    assert begun == [("epochs=0.2,hidden=_4_", 1, 2), ("epochs=0.2,hidden=_5_6_", 2, 2)]
    rows = run.compare(folder)
    assert len(rows) == 2
    assert set(rows[0]) == {"run", "accuracy", "loss", "step", "seconds", "net.hidden"}
    assert rows[0]["accuracy"] == f"{max(result['test_accuracy'] for result in results):.2%}"
    again = run.sweep(path, overrides, folder)
    assert again == results
    with pytest.raises(ConfigError, match="there are no runs in"):
        run.compare(tmp_path / "none")


@pytest.mark.slow
def test_what_a_run_would_be():
    found = run.describe(settings())
    assert found.steps == STEPS
    rows = found.net.rows
    assert found.net.parameters == sum(row.parameters for row in rows)
    assert [(row.path, row.output) for row in rows][:2] == [("conv0", (1, 6, 6, 6)), ("batch_norm0", (1, 6, 6, 6))]
    # parameters, muon's and adam's moments, averages: at least four times the parameters
    assert found.state_bytes > 4 * 3 * found.net.parameters
    assert found.data_bytes == 1438 * (64 + 4) + 2 * 256 * 48 * 4  # and which images 256 steps take, in which epoch


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_run_that_goes_on(whole, tmp_path):
    """`JAXCONV_KILLS` says how often; each at a random moment of loading, compiling, training or saving."""
    kills = int(os.environ.get("JAXCONV_KILLS", "3"))
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    folders = (tmp_path / f"run{number}" for number in itertools.count())
    folder = next(folders)
    moments = random.Random(0)
    done = 0
    while done < kills:
        begin = ["--resume", folder] if (folder / "config.toml").exists() else [path, "--out", folder]
        command = [sys.executable, "-m", "jaxconv", "train", *map(str, begin)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            _, err = process.communicate(timeout=moments.uniform(2, 14))
            assert (process.returncode, (folder / "result.json").exists()) == (0, True), err
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            done += 1
            time.sleep(0.05)
        if (folder / "result.json").exists():  # it came to its end, or was killed behind it: another one
            same_bits(folder, whole)
            assert measured(folder) == measured(whole)
            folder = next(folders)
    if (folder / "config.toml").exists() and not (folder / "result.json").exists():
        run.resume(folder)
        same_bits(folder, whole)
        assert measured(folder) == measured(whole)
