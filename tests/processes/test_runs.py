"""Runs of several processes: the losses of one, one saved step for all, and nothing lost when one is killed."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from support.config_text import config_text
from support.launched import children, end, launch, start

from jaxconv import run
from jaxconv.run import config
from jaxconv.training.rolling import saved_steps

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
    {"depth": 8, "width": 8},
    optim={"name": "sgd", "learning_rate": 1e-3, "momentum": 0.9},
    train={"epochs": 2.22, "batch_size": 64, "log_every": 1, "eval_every": 0},
    log={"writers": []},
).replace('name = "conv_pool"', 'name = "resnet_cifar"')


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
    assert "[1]" not in out + err
    assert_same_losses(tmp_path / "two", one)
    assert len(losses(one)[""]) >= 50
    found, want = (load_file(folder / "params.safetensors") for folder in (tmp_path / "two", one))
    for name, array in want.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5, err_msg=name)
    manifest, result = (json.loads((tmp_path / "two" / f"{name}.json").read_text()) for name in ("manifest", "result"))
    assert (manifest["device"]["processes"], manifest["device"]["count"]) == (2, 4)
    assert result["steps"] == 50


@pytest.fixture
def streamed(tmp_path, rng):
    """The config of a folder of images that are read while it trains, of which some are damaged."""
    for part, count in (("train", 30), ("val", 7)):
        for name, level in (("bright", 200), ("dark", 40)):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = (level + rng.integers(0, 50, (9, 12, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / part / name / f"{number}.png")
    for number in (3, 8):
        (tmp_path / "images" / "train" / "dark" / f"{number}.png").write_bytes(b"\x89PNG damaged")
    text = config_text(
        data={"name": "folder", "root": str(tmp_path / "images"), "size": 8, "in_memory": False, "corrupt": "skip"},
        optim={"name": "adam", "learning_rate": 0.01},
        train={"epochs": 3, "batch_size": 8, "log_every": 1, "eval_every": 8},
        augment={"flip": True},
        log={"writers": []},
    )
    (tmp_path / "streamed.toml").write_text(text)
    return tmp_path / "streamed.toml"


@pytest.mark.slow
def test_each_process_reads_its_share_of_a_streamed_folder(streamed, tmp_path):
    run.train(config.read(streamed, ["devices.data=1"]), tmp_path / "one")
    code, out, err = launch(streamed, "--out", tmp_path / "two", "devices.fsdp=2")
    assert code == 0, out + err
    assert_same_losses(tmp_path / "two", tmp_path / "one")
    one, two = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two"))
    assert len(one["skipped"]) == 2
    assert two["skipped"] == one["skipped"]


def after_a_checkpoint(launcher, folder, before=-1):
    """Wait until a run has saved a later step than `before`."""
    while not saved_steps(folder / "checkpoints")[-1:] > [before]:
        time.sleep(0.02)
        assert launcher.poll() is None, end(launcher)


def assert_killed(launcher, victim, killed, heard=(1,)):
    """Its launcher ended soon with a line of its own, and `heard` of them of the first process that is left."""
    code, out, err = end(launcher, seconds=60)
    assert time.monotonic() - killed < 20
    assert code == 128 + signal.SIGKILL, out + err
    lines = [line for line in err.splitlines() if "was ended by" in line]
    assert lines == [f"process {victim} was ended by SIGKILL; the others are ended, too"], err
    assert err.count("was killed or has crashed") in heard, err
    assert len(err.splitlines()) <= 3, err


@pytest.mark.slow
def test_after_a_signal_and_a_kill_resuming_gives_the_same_bits(small, tmp_path):
    (path, one), folder = small, tmp_path / "run"
    code, out, err = launch(path, "--out", tmp_path / "whole")
    assert code == 0, out + err
    assert "[1]" not in out + err

    launcher = start(path, "--out", folder)
    _, second = children(launcher, 2)
    after_a_checkpoint(launcher, folder)
    os.kill(second, signal.SIGTERM)
    code, out, err = end(launcher)
    step = saved_steps(folder / "checkpoints")[-1]
    assert code == 128 + signal.SIGTERM, out + err
    again = f"[0]   jaxconv train --resume {folder}\n"
    assert err == f"[0] stopped at step {step} of {STEPS} and saved; to resume:\n{again}"

    launcher = start("--resume", folder)
    _, second = children(launcher, 2)
    after_a_checkpoint(launcher, folder, step)
    os.kill(second, signal.SIGKILL)
    assert_killed(launcher, 1, time.monotonic())

    code, out, err = launch("--resume", folder)
    assert code == 0, out + err
    assert_same_losses(folder, tmp_path / "whole", rtol=0)
    assert_same_losses(folder, one)
    found, want = (load_file(path / "params.safetensors") for path in (folder, tmp_path / "whole"))
    for name, array in want.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.slow
def test_a_process_with_another_config_is_refused_by_name(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    command = f"-m jaxconv train {tmp_path / 'small.toml'} --out {tmp_path / 'run'}"
    with socket.create_server(("", 0)) as server:
        command += f" --coordinator localhost:{server.getsockname()[1]} --processes 2 --process"
    both = [
        subprocess.Popen([sys.executable, *f"{command} {rest}".split()], stderr=subprocess.PIPE, text=True)
        for rest in ("0", "1 seed=3")
    ]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 2
        assert err.startswith("error: every process of a run must have the same config, code, versions and data; ")
        assert err.endswith("has train.seed 3, process 0 has 0\n")
    assert not (tmp_path / "run").exists()


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
