"""Runs that go wrong: NaN, damaged files, no space, and what fails when training is over."""

import contextlib
import csv
import json
import os
import resource
import shutil
import subprocess
import sys
import threading

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from PIL import Image
from support.flips import flips
from typer.testing import CliRunner

from jaxconv import run
from jaxconv._base.errors import ConfigError, DataError
from jaxconv._base.files import WriteError
from jaxconv.cli.commands import app
from jaxconv.data import Arrays, Dataset
from jaxconv.run import config
from jaxconv.run.artifacts import CHECKED, _confusion_table
from jaxconv.run.folder import made, new_folder, reserved
from jaxconv.training import checkpoint
from jaxconv.training.evaluation import Answers
from jaxconv.training.progress import Notice, Progress
from jaxconv.training.running import DivergedError
from jaxconv.viz import training as pictures

CONFIG = """
[data]
name = "digits"
[net]
name = "conv_pool"
features = [4]
kernel_size = 3
hidden = []
[optim]
name = "sgd"
learning_rate = 0.1
[train]
epochs = 0.5
batch_size = 64
log_every = 4
eval_every = 0
[checkpoint]
every_steps = 4
"""
PICTURES = {"curves.png", "confusion.png", "mistakes.png", "confusion.csv"}


@pytest.fixture
def tiny(tmp_path):
    """The config file of a run of 12 steps."""
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run; to be copied."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "tiny.toml").write_text(CONFIG)
    run.train(config.read(folder / "tiny.toml"), folder / "run")
    return folder / "run"


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def strict(path):
    """JSON without NaN and infinity, which Python would read."""

    def refuse(word):
        raise AssertionError(f"{path} holds {word}")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (["optim.learning_rate=1e36"], "the test loss became nan at step 1"),
        (
            ["optim.name=adamw", "optim.weight_decay=100", "optim.learning_rate=3e38"],
            "params/conv0/kernel became NaN or infinite at step 1",
        ),
    ],
)
def test_a_run_whose_last_update_diverges_is_not_saved(tiny, tmp_path, changes, what):
    settings = config.read(tiny, [*changes, "train.epochs=0.01", "train.log_norms=true"])
    with pytest.raises(DivergedError) as caught:
        run.train(settings, tmp_path / "run")
    assert str(caught.value).startswith(f"{what}; try a smaller optim.learning_rate")
    assert caught.value.__notes__ == [
        f"no state was saved before it; to resume with other settings: jaxconv train --resume {tmp_path}/run KEY=VALUE"
    ]
    assert not {"params.safetensors", "result.json"} & set(os.listdir(tmp_path / "run"))
    assert os.listdir(tmp_path / "run" / "checkpoints") == []
    assert [line["step"] for line in strict(tmp_path / "run" / "metrics.jsonl")] == [1]


def test_parameters_that_are_not_finite_are_refused(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    found = run.load(folder)
    bad = found.params | {"head": found.params["head"] | {"bias": jnp.full(10, jnp.nan)}}
    checkpoint.save(folder / "params.safetensors", {"params": bad, "state": found.state})
    (folder / "SHA256SUMS").unlink()
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    expected = (
        f"error: parameters must be finite; {folder}/params.safetensors has NaN or infinity in params/head/bias\n"
        "  fix: train again\n"
    )
    for command in (("evaluate", folder), ("predict", folder, tmp_path / "black.png")):
        result = invoke(*command)
        assert (result.exit_code, result.stderr, result.stdout) == (2, expected, "")


def test_a_flipped_bit_in_a_finished_run_is_reported(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    for name in CHECKED:
        for _ in flips(folder / name, 12):
            with pytest.raises(DataError) as caught:
                run.load(folder)
            assert str(caught.value) == (
                f"{folder}/{name} was altered: its checksum differs from SHA256SUMS\n"
                f"  fix: get the file again, or delete {folder}/SHA256SUMS to use it as it is"
            )
    for _ in flips(folder / "SHA256SUMS", 12):
        with pytest.raises(DataError, match="was altered: "):
            run.load(folder)
    assert run.load(folder).result == json.loads((finished / "result.json").read_text())
    listed = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=True)
    assert listed.stdout.splitlines() == [f"{name}: OK" for name in CHECKED]


def test_a_run_of_before_the_checksums_is_loaded(finished, tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "SHA256SUMS").unlink()
    save_file(load_file(folder / "params.safetensors"), folder / "params.safetensors")
    before, after = run.load(finished), run.load(folder)
    np.testing.assert_array_equal(after.params["head"]["kernel"], before.params["head"]["kernel"])


def test_resume_goes_back_to_the_state_before_a_damaged_one(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "result.json").unlink()
    (folder / "checkpoints" / "12" / "notes" / "metadata").write_text("{")
    result = invoke("train", "--resume", folder)
    assert result.exit_code == 0, result.output
    notice = result.stdout.splitlines()[0]
    assert notice.startswith(f"{folder}/checkpoints/12 is damaged: ")
    assert notice.endswith("; renamed to 12.damaged")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [each["step"] for each in manifest["resumed"]] == [8]
    assert (folder / "params.safetensors").read_bytes() == (finished / "params.safetensors").read_bytes()


@contextlib.contextmanager
def largest_file(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("size", "what", "state"),
    [
        (100, "config.toml", None),
        (700, "manifest.json", "0, the start"),
        pytest.param(1500, "checkpoints/4", "0, the start", marks=pytest.mark.slow),
        pytest.param(30_000, None, None, marks=pytest.mark.slow),
    ],
)
def test_a_limit_of_file_sizes_is_one_line(tiny, tmp_path, size, what, state):
    folder = tmp_path / "run"
    with largest_file(size):
        result = invoke("train", tiny, "--out", folder)
    if what is None:  # only pictures are larger
        assert result.exit_code == 0, result.output
        left_out = json.loads((folder / "result.json").read_text())["left_out"]
        assert left_out["curves.png"] == f"WriteError: cannot write {folder}/curves.png: File too large"
        assert f"curves.png is skipped: {left_out['curves.png']}" in result.stdout.splitlines()
        return
    intact = f"; the run is intact up to step {state}; to resume: jaxconv train --resume {folder}" if state else ""
    assert (result.exit_code, result.stderr) == (74, f"error: cannot write {folder}/{what}: File too large{intact}\n")
    if state is None:
        assert not folder.exists()
        return
    assert invoke("train", "--resume", folder).exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("option", ["size=8k", "size=80k", "size=160k", "nr_inodes=8", "nr_inodes=40", "nr_inodes=90"])
def test_a_full_disk_is_one_line_and_resume_goes_on(tiny, tmp_path, option):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a disk")
    try:
        command = [sys.executable, "-m", "jaxconv", "train", str(tiny), "train.epochs=2", "--out", str(disk / "run")]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert found.returncode == 74, found.stdout + found.stderr
        assert len(found.stderr.splitlines()) == 1
        assert found.stderr.startswith(f"error: cannot write {disk}/run/")
        assert ": No space left on device; the run is intact up to step " in found.stderr
        assert found.stderr.endswith(f"; to resume: jaxconv train --resume {disk}/run\n")
        subprocess.run(["mount", "-o", "remount,size=20m,nr_inodes=9999", str(disk)], check=True)
        run.resume(disk / "run")
        run.train(config.read(tiny, ["train.epochs=2"]), tmp_path / "undisturbed")
        ours, other = (path / "params.safetensors" for path in (disk / "run", tmp_path / "undisturbed"))
        assert ours.read_bytes() == other.read_bytes()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_folder_that_is_deleted_while_training_ends_the_run_at_once(tiny, tmp_path):
    folder, steps = tmp_path / "run", []

    def report(event):
        if isinstance(event, Progress):
            steps.append(event.step)
            shutil.rmtree(folder, ignore_errors=True)

    with pytest.raises(WriteError) as caught:
        run.train(config.read(tiny, ["checkpoint.every_steps=0", "train.epochs=2"]), folder, report)
    assert str(caught.value) == f"cannot write {folder}/metrics.jsonl: No such file or directory"
    assert caught.value.__notes__ == [f"{folder} was deleted or moved during the run"]
    assert steps == [4]
    assert not folder.exists()


def test_an_output_that_is_full_is_one_line(finished):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "jaxconv", "runs", str(finished)]
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (found.returncode, found.stderr) == (74, "error: cannot write the output: No space left on device\n")


@pytest.mark.parametrize("name", ["manifest.json", "metrics.jsonl"])
def test_what_cannot_be_read_is_one_line(finished, tmp_path, name):
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "result.json").unlink()
    (folder / name).unlink()
    (folder / name).mkdir()
    result = invoke("train", "--resume", folder)
    assert (result.exit_code, result.stderr) == (
        74,
        f"error: cannot read {folder}/{name}: Is a directory; "
        f"the run is intact up to step 12; to resume: jaxconv train --resume {folder}\n",
    )


@pytest.fixture
def photographs(tmp_path):
    """A folder of two classes, one of whose names is Latin-1."""
    rng = np.random.default_rng(0)
    for name in (b"caf\xe9", b"tea"):
        folder = os.fsencode(tmp_path / "photographs") + b"/" + name
        os.makedirs(folder)
        for number in range(10):
            pixels = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder + f"/{number}.png".encode())
    return tmp_path / "photographs"


def of_folder(tiny, photographs):
    text = CONFIG.replace('"digits"', f'"folder"\nroot = "{photographs}"\nsize = 8').replace(
        "epochs = 0.5", "epochs = 2"
    )
    tiny.write_text(text.replace("batch_size = 64", "batch_size = 4"))
    return config.read(tiny)


@pytest.mark.parametrize("name", ["caf\udce9", "tea"])
def test_class_names_can_be_written(name):
    part = Arrays(np.zeros([2, 4, 4, 1], np.uint8), np.zeros(2, np.int32))
    found = Dataset("two", part, part, (name,), (0.0,), (1.0,)).classes
    assert found == ({"caf\udce9": "caf\\udce9"}.get(name, name),)
    assert found[0].encode().decode() == found[0]


@pytest.mark.slow
def test_names_that_are_no_utf8_and_a_matplotlibrc_cost_nothing(tiny, photographs, tmp_path):
    with matplotlib.rc_context({"text.usetex": True}):
        result = run.train(of_folder(tiny, photographs), tmp_path / "run")
    assert "left_out" not in result
    assert set(os.listdir(tmp_path / "run")) >= PICTURES
    assert result["input"]["classes"] == ["caf\\udce9", "tea"]
    assert run.load(tmp_path / "run").input.classes == ("caf\\udce9", "tea")
    rows = list(csv.reader((tmp_path / "run" / "confusion.csv").read_text().splitlines()))
    assert [row[0] for row in rows] == ["", "caf\\udce9", "tea"]


def test_a_picture_that_fails_costs_that_picture(tiny, tmp_path, monkeypatch):
    def fail(*arguments, **words):
        raise RuntimeError("no font\nsecond line")

    monkeypatch.setattr(pictures, "mistakes", fail)
    events = []
    result = run.train(config.read(tiny), tmp_path / "run", events.append)
    assert result["left_out"] == {"mistakes.png": "RuntimeError: no font"}
    assert events[-1] == Notice("mistakes.png is skipped: RuntimeError: no font")
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == json.loads(json.dumps(result))
    assert set(os.listdir(tmp_path / "run")) & PICTURES == PICTURES - {"mistakes.png"}


@pytest.mark.slow
def test_an_image_that_is_gone_at_the_end_costs_no_step(tiny, photographs, tmp_path):
    """Without memory for it, the test set is first read after the last step where others validate."""
    settings = of_folder(tiny, photographs)
    changes = ["data.validation=4", "data.in_memory=false", "checkpoint.every_steps=0"]
    settings = config.read(tiny, changes)
    folder, taken = tmp_path / "run", []

    def report(event):
        if isinstance(event, Progress) and event.step == event.steps:
            taken.append(event.step)
            for path in (photographs / "tea").iterdir():
                path.rename(path.with_suffix(".gone"))

    with pytest.raises(DataError):
        run.train(settings, folder, report)
    assert os.listdir(folder / "checkpoints") == [str(taken[0])]
    for path in (photographs / "tea").iterdir():
        path.rename(path.with_suffix(".png"))
    events = []
    assert run.resume(folder, report=events.append)["steps"] == taken[0]
    assert not any(isinstance(event, Progress) for event in events)


def test_a_hundred_thousand_classes_are_a_list():
    label, answer = np.array([5, 5, 99_999, 5], np.int32), np.array([7, 5, 0, 7], np.int32)
    zeros = np.zeros(4, np.float32)
    found = Answers(label, answer, zeros, zeros, (label != answer).astype(np.int32))
    table = _confusion_table(found, tuple(f"c{number}" for number in range(100_000))).decode()
    assert table.splitlines() == ["truth,answer,images", "c5,c5,1", "c5,c7,2", "c99999,c0,1"]


@pytest.mark.slow
def test_a_run_of_a_hundred_thousand_classes_finishes(tiny, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (64, 4, 4, 1)).astype(np.uint8), rng.integers(0, 100_000, 64)
    classes = np.array([f"c{number}" for number in range(100_000)])
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels, "classes": classes}
    np.savez(tmp_path / "many.npz", **arrays)
    text = CONFIG.replace('"digits"', f'"npz"\nroot = "{tmp_path}/many.npz"')
    tiny.write_text(text.replace("[4]", "[]").replace("0.5", "2"))
    result = run.train(config.read(tiny), tmp_path / "run")
    assert "left_out" not in result
    assert "confusion.png" not in os.listdir(tmp_path / "run")
    counted = csv.DictReader((tmp_path / "run" / "confusion.csv").read_text().splitlines())
    assert sum(int(row["images"]) for row in counted) == 64


def test_folders_of_one_second_are_different(tmp_path):
    found, start = [], threading.Barrier(8)

    def make():
        start.wait()
        found.append(new_folder("digits", tmp_path))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 8
    assert all(path.is_dir() for path in found)


def test_a_reserved_folder_goes_where_nothing_was_written(tmp_path, tiny, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with reserved("digits") as used:
        (used / "config.toml").touch()
    with reserved("digits"):
        pass
    assert os.listdir("runs") == [used.name]
    assert invoke("train", tiny, "train.batch_size=4000").exit_code == 2
    assert invoke("sweep", tiny, "train.batch=1,2").exit_code == 2
    assert os.listdir("runs") == [used.name]
    with pytest.raises(WriteError, match=f"^cannot write {tiny}/digits-"):
        new_folder("digits", tiny)


def test_a_second_run_in_a_folder_changes_nothing(tmp_path):
    with made(tmp_path / "run", "first"):
        with pytest.raises(ConfigError, match="refusing to overwrite"), made(tmp_path / "run", "second"):
            pass
        assert (tmp_path / "run" / "config.toml").read_text() == "first"
