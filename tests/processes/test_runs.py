"""Runs of several processes: the losses of one, one saved step for all, and nothing lost when one is killed."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support import smooth_net
from support.config_text import config_text
from support.launched import children, end, launch, start
from support.streamed import write_streamed

from jaxconv import run
from jaxconv.run import config
from jaxconv.training.rolling import saved_steps

pytestmark = pytest.mark.usefixtures("no_pictures")

TRAIN = {"epochs": 1.7, "batch_size": 48, "log_every": 1, "eval_every": 20}
SMALL = config_text(
    {"features": [4], "kernel_size": 3, "hidden": [], "batch_norm": True},
    optim={"name": "sgd", "learning_rate": 0.02, "momentum": 0.9, "ema": 0.9},
    train=TRAIN,
    augment={"shift": 1},
    checkpoint={"every_steps": 5},
    log={"writers": []},
)
STEPS = 51
RESNET = config_text(
    {"name": smooth_net.NAME, "width": 8},
    optim={"name": "sgd", "learning_rate": 1e-3, "momentum": 0.9},
    train={"epochs": 2.22, "batch_size": 64, "log_every": 1, "eval_every": 0},
    log={"writers": []},
)


def losses(folder):
    """The loss of each step, and of each evaluation."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {
        part: {line["step"]: line[f"{part}loss"] for line in lines if f"{part}loss" in line} for part in ("", "test_")
    }


def assert_same_losses(one, other, rtol=1e-5):
    for part, want in losses(other).items():
        found = losses(one)[part]
        assert list(found) == list(want)
        np.testing.assert_allclose(list(found.values()), list(want.values()), rtol=rtol)


def trained(folder, text):
    """The config and the folder of an uninterrupted run of one process."""
    (folder / "config.toml").write_text(text)
    run.train(config.read(folder / "config.toml", ["devices.data=1"]), folder / "run")
    return folder / "config.toml", folder / "run"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("small"), SMALL)


@pytest.mark.slow
def test_losses_of_2x2_processes_are_those_of_one(tmp_path):
    path, one = trained(tmp_path, RESNET)
    layout = "devices.data=1", "devices.fsdp=4"
    code, out, err = launch(path, "--out", tmp_path / "two", *layout, devices=2)
    assert code == 0, out + err
    assert not re.search(r"\[1\] (compiled|step|run)", out + err)  # Gloo logs its connections
    assert_same_losses(tmp_path / "two", one)
    assert len(losses(one)[""]) >= 50
    found, want = (load_file(folder / "params.safetensors") for folder in (tmp_path / "two", one))
    for name, array in want.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5, err_msg=name)
    manifest, result = (json.loads((tmp_path / "two" / f"{name}.json").read_text()) for name in ("manifest", "result"))
    assert (manifest["device"]["processes"], manifest["device"]["count"]) == (2, 4)
    assert result["steps"] == 50


@pytest.mark.slow
def test_each_process_reads_its_share_of_a_streamed_folder(rng, tmp_path):
    path = write_streamed(tmp_path, rng)
    run.train(config.read(path, ["devices.data=1"]), tmp_path / "one")
    code, out, err = launch(path, "--out", tmp_path / "two", "devices.data=2", "devices.fsdp=2", devices=2)
    assert code == 0, out + err
    assert_same_losses(tmp_path / "two", tmp_path / "one")
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two"))
    assert one["steps"] == two["steps"] == 50
    assert len(one["skipped"]) == 2
    assert two["skipped"] == one["skipped"]


@pytest.mark.slow
def test_each_process_trains_its_members_of_an_ensemble(rng, tmp_path):
    """With the bits of a separate run, and the losses of all of them on one device."""
    path = write_streamed(tmp_path, rng)
    code, out, err = launch(path, "--out", tmp_path / "two", "ensemble.size=2", "epochs=3")
    assert code == 0, out + err
    run.train(config.read(path, ["devices.data=1", "ensemble.size=2", "epochs=3"]), tmp_path / "one")
    run.train(config.read(path, ["devices.data=1", "train.seed=1", "epochs=3"]), tmp_path / "second")
    assert_same_losses(tmp_path / "two", tmp_path / "one")
    found, want = (load_file(tmp_path / name / "params.safetensors") for name in ("two", "second"))
    for name, array in want.items():
        np.testing.assert_array_equal(found[name][1], array, err_msg=name)


def wait_until(condition, launcher):
    while not condition():
        time.sleep(0.02)
        assert launcher.poll() is None, end(launcher)


def after_a_checkpoint(launcher, folder, before=-1):
    """Wait until a run has saved a later step than `before`."""
    wait_until(lambda: saved_steps(folder / "checkpoints")[-1:] > [before], launcher)


def assert_killed(launcher, victim, killed, heard=(1,)):
    """Its launcher ended soon with a line of its own, and `heard` of them of the first process that is left."""
    code, out, err = end(launcher, seconds=60)
    assert time.monotonic() - killed < 20
    assert code == 128 + signal.SIGKILL, out + err
    lines = [line for line in err.splitlines() if "was ended by" in line]
    assert lines == [f"process {victim} was ended by SIGKILL; the others are ended, too"], err
    assert err.count("was killed or has crashed") in heard, err
    assert len(err.splitlines()) <= 3, err


def assert_stopped(launcher, folder):
    """It was saved once, at one step, and only the first process says so; returns the step."""
    code, out, err = end(launcher)
    assert code == 128 + signal.SIGTERM, out + err
    step = saved_steps(folder / "checkpoints")[-1]
    assert (
        err == f"[0] stopped at step {step} of {STEPS} and saved; to resume:\n[0]   jaxconv train --resume {folder}\n"
    )
    return step


@pytest.mark.slow
def test_after_signals_and_a_kill_resuming_gives_the_same_bits(small, tmp_path):
    """Signals during the first compilation and during an evaluation; the optimizer's state in parts (ZeRO-1)."""
    (path, one), folder = small, tmp_path / "run"
    layout = "devices.data=1", "devices.fsdp=2", 'devices.shard={"*" = "optimizer"}'
    launcher = start(path, "--out", folder, *layout)
    first, _ = children(launcher, 2)
    wait_until(lambda: (folder / "manifest.json").exists(), launcher)
    os.kill(first, signal.SIGTERM)
    assert assert_stopped(launcher, folder) == 0

    launcher = start("--resume", folder)
    _, second = children(launcher, 2)
    wait_until(lambda: 20 in losses(folder)[""], launcher)
    assert 20 not in losses(folder)["test_"]
    os.kill(second, signal.SIGTERM)
    step = assert_stopped(launcher, folder)
    assert 20 <= step < STEPS
    assert 20 in losses(folder)["test_"]

    launcher = start("--resume", folder)
    _, second = children(launcher, 2)
    after_a_checkpoint(launcher, folder, step)
    os.kill(second, signal.SIGKILL)
    assert_killed(launcher, 1, time.monotonic())

    for words in (["--resume", folder], [path, "--out", tmp_path / "whole", *layout]):
        code, out, err = launch(*words)
        assert code == 0, out + err
        assert not re.search(r"\[1\] (compiled|step|run)", out + err)  # Gloo logs its connections
    assert_same_losses(folder, tmp_path / "whole", rtol=0)
    assert_same_losses(folder, one)
    found, want = (load_file(path / "params.safetensors") for path in (folder, tmp_path / "whole"))
    for name, array in want.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


REFUSED = {
    "config": r"train\.seed 3, process 0 has 0",
    "code": r"code [0-9a-f]{64}, process 0 has [0-9a-f]{64}",
    "data": r"data, train \{'images': 64, 'sha256': '[0-9a-f]{64}'\}, process 0 has \{.*\}",
}


@pytest.mark.slow
@pytest.mark.parametrize("differs", REFUSED)
def test_a_process_that_differs_is_refused_by_name(differs, rng, tmp_path):
    """In another seed, source file or pixel; before the first step, and before anything is written."""
    path, folder, package = tmp_path / "small.toml", tmp_path / "run", Path(run.__file__).parents[1]
    path.write_text(SMALL.replace('name = "digits"', 'name = "npz"\nroot = "$IMAGES"'))
    images, labels = rng.integers(0, 256, (64, 8, 8, 1), np.uint8), np.arange(64) % 4
    for name in ("same", "other"):
        images[-1, 0, 0, 0] = name == "other"
        shown = {"train_images": images, "train_labels": labels, "test_images": images[:8], "test_labels": labels[:8]}
        np.savez(tmp_path / f"{name}.npz", **shown)
    shutil.copytree(package, tmp_path / "other" / "jaxconv", ignore=shutil.ignore_patterns("__pycache__", "lib"))
    with open(tmp_path / "other" / "jaxconv" / "typing.py", "a") as file:
        file.write("# another version\n")
    with socket.create_server(("", 0)) as server:
        command = f"-m jaxconv train {path} --out {folder} --coordinator localhost:{server.getsockname()[1]}"
    both = []
    for process in range(2):
        words = f"{command} --processes 2 --process {process}".split()
        words += ["seed=3"] if differs == "config" and process else []
        data = tmp_path / ("other.npz" if differs == "data" and process else "same.npz")
        code = tmp_path / "other" if differs == "code" and process else package.parent
        env = os.environ | {"IMAGES": str(data), "PYTHONPATH": str(code)}
        both.append(
            subprocess.Popen([sys.executable, *words], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True)
        )
    must = "error: every process of a run must have the same config, code, versions and data; process 1 on "
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 2
        assert re.fullmatch(rf"{must}\S+ has {REFUSED[differs]}\n", err), err
    assert not folder.exists()


KILLS = int(os.environ.get("JAXCONV_KILLS", "0"))


@pytest.mark.slow
@pytest.mark.skipif(KILLS == 0, reason="JAXCONV_KILLS says how often, of each seed JAXCONV_SEED")
def test_a_run_survives_kills_of_any_process_at_any_moment(tmp_path):
    """It is resumed by 4, 2 or 1 processes, in any layout, from where it was."""
    folder, whole = tmp_path / "run", tmp_path / "whole"
    moments, before = random.Random(os.environ.get("JAXCONV_SEED", "0")), -1
    longer = [f"train.epochs={1.7 * KILLS}"]
    (tmp_path / "small.toml").write_text(SMALL)
    run.train(config.read(tmp_path / "small.toml", ["devices.data=1", *longer]), whole)
    new = [tmp_path / "small.toml", "--out", folder, *longer]
    for kill in range(KILLS):
        processes = (4, 2, 1)[kill % 3]
        layout = moments.choice(["data=-1 devices.fsdp=1", f"data=1 devices.fsdp={processes}"])
        words = ["--resume", folder] if (folder / "config.toml").exists() else new
        launcher = start(*words, *f"devices.{layout}".split(), "checkpoint.every_steps=1", processes=processes)
        victims = children(launcher, processes)
        heard = (0, 1)  # before they have met, the others do not hear of each other
        if moments.random() < 0.7:  # while it trains and saves
            after_a_checkpoint(launcher, folder, before)
            heard = (1,)
        time.sleep(moments.uniform(0, 3))
        victim = moments.randrange(processes)
        assert launcher.poll() is None, end(launcher)
        os.kill(victims[victim], signal.SIGKILL)
        assert_killed(launcher, victim, time.monotonic(), heard if processes > 1 else (0,))
        latest = max([-1, *saved_steps(folder / "checkpoints")])
        assert latest >= before
        before = latest
    words = ["--resume", folder] if (folder / "config.toml").exists() else new
    code, out, err = launch(*words, "devices.data=-1", "devices.fsdp=1", processes=2)
    assert code == 0, out + err
    assert_same_losses(folder, whole, rtol=1e-4)  # rounding grows with the steps
