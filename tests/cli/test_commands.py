"""The command line as a user meets it."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from support.config_text import config_text
from support.tiny_run import invoke

from jaxconv import run
from jaxconv.cli.commands import _advice

CONFIG = config_text(
    {"features": [8], "kernel_size": 3, "padding": "same", "hidden": []},
    optim={"name": "adam", "learning_rate": 0.02},
    train={"epochs": 3, "batch_size": 64, "log_every": 20, "eval_every": 0},
)


def start(*arguments, **options):
    """The real command in a process of its own."""
    command = [sys.executable, "-m", "jaxconv", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, encoding="utf-8", **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A config, a finished run, and what the command printed into a pipe."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.toml").write_text(CONFIG)
    result = invoke("train", folder / "tiny.toml", "--out", folder / "run")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return folder / "run", result.stdout


def test_training_prints_plain_lines_into_a_pipe(finished):
    _, out = finished
    lines = out.splitlines()
    assert "\x1b" not in out
    assert re.fullmatch(r"compiled in \d+\.\d s", lines[0])
    pattern = r"step 20/68  loss \d\.\d{3}  accuracy [01]\.\d{3}  [\d,]+ images/s  \d+:\d\d left"
    assert re.fullmatch(pattern, lines[1])
    assert max(map(len, lines[:-1])) <= 80
    assert lines[-1] == f"run            {finished[0]}"


@pytest.mark.slow
def test_a_reader_that_leaves_costs_no_result(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    with start("train", tmp_path / "tiny.toml", "--out", tmp_path / "run") as process:
        assert process.stdout.readline().startswith("compiled in")
        process.stdout.close()  # as `| head -1` does
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 68


@pytest.mark.slow
def test_an_output_that_is_full_costs_no_result(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "jaxconv", "train", tmp_path / "tiny.toml", "--out", tmp_path / "run"]
    with open("/dev/full", "w", encoding="utf-8") as full:
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    warning = "warning: cannot write the output: No space left on device; the run continues\n"
    assert (found.returncode, found.stderr) == (0, warning)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 68


def test_the_run_folder_is_whole(finished):
    folder, out = finished
    assert sorted(path.name for path in folder.iterdir() if path.name != ".lock") == [
        "SHA256SUMS",
        "checkpoints",
        "config.toml",
        "confusion.csv",
        "confusion.png",
        "curves.png",
        "events",
        "layers.json",
        "manifest.json",
        "metrics.jsonl",
        "mistakes.png",
        "params.safetensors",
        "report.html",
        "result.json",
    ]
    result = json.loads((folder / "result.json").read_text())
    assert result["test_accuracy"] > 0.9
    assert f"{result['test_accuracy']:.2%}" in out
    assert result["parameters"] == (9 + 1) * 8 + (4 * 4 * 8 + 1) * 10
    assert result["steps"] == 68
    assert result["seed"] == 0
    assert set(result["seconds"]) == {"training", "waiting", "compiling", "evaluating", "total"}
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [20, 40, 60, 68, 68]
    assert metrics[-1] == {
        "step": 68,
        "test_loss": result["test_loss"],
        "test_accuracy": result["test_accuracy"],
        "test_top5": result["test_top5"],
        "test_calibration_error": result["test_calibration_error"],
    }


def test_evaluate_repeats_the_accuracy(finished):
    folder, _ = finished
    accuracy = json.loads((folder / "result.json").read_text())["test_accuracy"]
    result = invoke("evaluate", folder)
    assert result.exit_code == 0
    lines = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    assert lines["test accuracy"].strip() == lines["when trained"].strip() == f"{accuracy:.2%}"


def test_evaluate_and_predict_with_test_time_augmentation(finished, tmp_path):
    """A shift of an 8×8 digit by 5 pixels leaves little of it: the views change the answers."""
    folder, _ = finished
    plain, shifted = (invoke("evaluate", folder, *more) for more in ((), ("--tta", "shift=5", "--tta", "flip=true")))
    assert (shifted.exit_code, shifted.stderr) == (0, "")
    assert shifted.stdout.splitlines()[1] != plain.stdout.splitlines()[1]  # the test loss
    views = run.load(folder, ["shift=5", "flip=true"])
    assert f"{views.test().mean_loss:.4f}" in shifted.stdout
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "seven.png")
    picture = views.picture(tmp_path / "seven.png")
    chance = views.probabilities(picture.pixels[None])[0]
    result = invoke("predict", folder, tmp_path / "seven.png", "--top", 1, "--tta", "shift=5", "--tta", "flip=true")
    assert result.stdout.startswith(f"{tmp_path / 'seven.png'}: {chance.argmax()}  {chance.max():.1%}")
    for change, line in [
        ("flips=true", "tta.flips: unknown key; expected one of flip, shift, padding_mode, five_crop, mean_of, scales, "
         "window, overlap; did you mean 'flip'?"),
        ("shift=-1", "tta.shift: must be greater than or equal to 0, got -1"),
        ("shift=8", "tta.shift of 8×8 images must be at most 7 pixels\n  got: shift=8"),
    ]:  # fmt: skip
        wrong = invoke("evaluate", folder, "--tta", change)
        assert (wrong.exit_code, wrong.stderr) == (2, f"error: {line}\n")


def test_predict_an_odd_picture_light_or_dark(finished, tmp_path):
    from sklearn.datasets import load_digits

    digit = (load_digits().images[0] / 16 * 255).astype(np.uint8)
    large = Image.fromarray(digit).resize((61, 61))
    dark = Image.new("RGB", (61, 63))
    dark.paste(large, (0, 1))
    dark.save(tmp_path / "dark.png")
    Image.fromarray(255 - np.asarray(dark)).save(tmp_path / "light.png")
    result = invoke("predict", finished[0], tmp_path / "dark.png", tmp_path / "light.png")
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()
    five = r"0  \d+\.\d%(, \d  \d+\.\d%){4}"
    assert re.fullmatch(rf"{tmp_path}/dark\.png: {five}", first)
    assert re.fullmatch(rf"{tmp_path}/light\.png: {five}  \(light background: inverted\)", second)
    kept = invoke("predict", finished[0], tmp_path / "light.png", "--no-invert")
    assert "inverted" not in kept.stdout


def test_errors_are_lines_and_not_tracebacks(finished, tmp_path):
    folder, _ = finished
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    config = folder.parent / "tiny.toml"
    keys = "epochs, batch_size, sampling, seed, label_smoothing, log_every, eval_every, norm_group, "
    keys += "progressive_resizing, temperature_scaling, log_norms"
    files = "config.toml, params.safetensors, result.json"
    finished_run = (
        f"{folder} is finished; to train it further: jaxconv train --resume {folder} train.epochs=N, more than so far; "
        f"to test it again: jaxconv evaluate {folder}"
    )
    cases = [
        (("train",), "train needs a config file, or --resume RUN: jaxconv train configs/digits.toml"),
        (("train", "--resume", folder), finished_run),
        (
            ("train", "--resume", folder, "--out", tmp_path),
            "--resume continues in the run's own folder; leave out --out",
        ),
        (("runs", tmp_path), f"there are no runs in {tmp_path}: a run's folder contains config.toml"),
        (("predict", folder, text), f"{text} is not a readable picture"),
        (("evaluate", tmp_path), f"{tmp_path} is not a run: {files} missing"),
        (("predict", text), f"{text} is a file, not a run's folder"),
        (("train", tmp_path / "tine.toml"), f"there is no config file {tmp_path}/tine.toml"),
        (
            ("train", config, "--out", folder),
            f"refusing to overwrite {folder}; give --out another folder",
        ),
        (
            ("train", config, "train.epoch=3"),
            f"{config} with train.epoch=3: 1 error\n  train.epoch: unknown key; expected one of {keys}; "
            "did you mean 'epochs'?",
        ),
    ]
    for arguments, message in cases:
        result = invoke(*arguments)
        assert (result.exit_code, result.stderr, result.stdout) == (2, f"error: {message}\n", "")


def test_a_net_that_cannot_work_is_told_before_anything_is_written(finished, tmp_path):
    folder, _ = finished
    out = tmp_path / "never"
    wrong = ("net.features=[8,8]", "net.padding=valid", "precision.compute=bfloat16")
    for command, *words in [
        ("train", "--out", out),
        ("train", "--dry-run"),
        ("train", "ensemble.size=2", "--out", out),
        ("summary",),
    ]:
        result = invoke(command, folder.parent / "tiny.toml", *wrong, *words)
        assert result.exit_code == 2
        assert result.stderr == (
            "error: at max_pool1: max_pool: a window of 2 must fit into the padded input of 1 + 0 + 0 cells on spatial "
            "axis 0\n"
            "  got: spatial shape (1, 1); out = floor((1 + 0 + 0 - 1*(2 - 1) - 1) / 2) + 1 = 0\n"
            "  before: x (1, 8, 8, 1) → conv0 6×6×8 → max_pool0 3×3×8 → relu0 3×3×8 → conv1 1×1×8\n"
            "  cause: 8×8 is too small for this net; its smallest legal input is 10×10\n"
            "  fix: a larger input or a window of at most 1\n"
        )
    assert not out.exists()


def test_another_nets_parameters_are_refused(finished, tmp_path):
    folder, _ = finished
    for name in ("config.toml", "params.safetensors", "result.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    settings = tmp_path / "config.toml"
    settings.write_text(settings.read_text().replace("hidden = []", "hidden = [5]"))
    result = invoke("evaluate", tmp_path)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[0] == (f"error: {tmp_path}/params.safetensors is a checkpoint of another net: 3 of 6 leaves differ")
    assert "  + params/dense0/bias  [5] float32  only in this net" in lines


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, number, code):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    process = start("train", "tiny.toml", "train.epochs=10000", "--out", "mine", cwd=tmp_path, env=environment())
    deadline = time.monotonic() + 200
    metrics = tmp_path / "mine" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    words = r"stopped at step [\d,]+ of 224,688 and saved; to resume:\n  jaxconv train --resume mine\n"
    assert re.fullmatch(words, err)
    refused = invoke("evaluate", tmp_path / "mine")
    assert refused.exit_code == 2
    assert refused.stderr == (
        f"error: {tmp_path}/mine is not a finished run: params.safetensors, result.json missing; it is still running, "
        f"or was interrupted; to resume it: jaxconv train --resume {tmp_path}/mine\n"
    )


def test_a_dry_run_says_what_would_be_trained(finished, tmp_path):
    result = invoke("train", finished[0].parent / "tiny.toml", "--dry-run", "--out", tmp_path / "never")
    assert result.exit_code == 0, result.output
    rows = [line.split("\t") for line in result.stdout.splitlines()[:7]]
    assert rows == [
        ["layer", "output", "parameters"],
        ["conv0", "8×8×8", "80"],
        ["max_pool0", "4×4×8", "0"],
        ["relu0", "4×4×8", "0"],
        ["flatten0", "128", "0"],
        ["head", "10", "1,290"],
        ["parameters  1,370"],
    ]
    numbers = r"^images +1,438\nsteps +68\nbatch +64\nmemory +[\d.]+ kB\n  state +[\d.]+ kB\n  data +[\d.]+ kB\n"
    assert re.search(numbers, result.stdout, re.M)
    assert not (tmp_path / "never").exists()


@pytest.mark.slow
def test_a_dry_run_for_more_devices_than_there_are(finished):
    """In a process of its own: JAX looks for devices once."""
    config = str(finished[0].parent / "tiny.toml")

    def dry_run(*words):
        command = [sys.executable, "-m", "jaxconv", "train", config, "--dry-run", *words]
        return subprocess.run(command, capture_output=True, text=True)

    done = dry_run("--devices", "16", "devices.fsdp=2")
    assert done.returncode == 0, done.stderr
    assert "devices     16: data 8, fsdp 2\nbatch       64, 4 on each device\n" in done.stdout
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert ["collective", "pass", "among", "calls", "size", "sent by each"] in rows
    assert {tuple(row[:3]) for row in rows} >= {("all-reduce", "backward", "16"), ("all-gather", "forward", "2")}
    refused = dry_run("--devices", "48")
    assert refused.returncode == 2
    assert refused.stderr.endswith("equal parts for 48 devices; got 64, the nearest that do are 48 or 96\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--devices", "8"],
            "--devices is for --dry-run; for a run, set devices.data, devices.fsdp and devices.model of its config",
        ),
        (["--dry-run", "--devices", "0"], "--devices must be at least 1; got 0"),
        (
            ["--dry-run", "--devices", "9"],
            "devices must be given before JAX has looked for devices; got 9, JAX has 1",
        ),
    ],
)
def test_devices_that_cannot_be(finished, words, message):
    refused = invoke("train", finished[0].parent / "tiny.toml", *words)
    assert (refused.exit_code, refused.stderr) == (2, f"error: {message}\n")


def test_a_summary_says_what_the_net_is(finished, tmp_path):
    config = finished[0].parent / "tiny.toml"
    result = invoke("summary", config)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert " ".join(lines[4].split()) == "conv0 8×8×8 3×3 p1 80 4.61 k 3.87 k 2.05 kB 3×3"
    assert "MACs              5,888; 5,152 excluding taps on padding" in lines
    files = [tmp_path / name for name in ("net.md", "net.json", "net.html")]
    result = invoke("summary", config, "--markdown", files[0], "--json", files[1], "--html", files[2])
    assert (result.exit_code, result.stdout) == (0, "".join(f"wrote {file}\n" for file in files))
    assert json.loads(files[1].read_text())["parameters"] == 1370
    assert files[0].read_text().count("| conv0 |") == 1
    assert "<td" in files[2].read_text()
    refused = invoke("summary", config, "--json", tmp_path / "none" / "net.json")
    assert (refused.exit_code, refused.stderr) == (
        74, f"error: cannot write {tmp_path}/none/net.json: No such file or directory\n",
    )  # fmt: skip


@pytest.mark.slow
def test_runs_and_a_sweep_in_a_table(tmp_path):
    (tmp_path / "tiny.toml").write_text(CONFIG)
    result = invoke("sweep", tmp_path / "tiny.toml", "train.epochs=0.5", "seed=0,1", "--out", tmp_path / "sweep")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "[1/2] epochs=0.5,seed=0"
    assert lines.pop() == f"wrote {tmp_path}/sweep"
    header, *rows = (line.split("\t") for line in lines[-3:])
    assert header == ["run", "accuracy", "loss", "step", "seconds", "train.seed"]
    assert {row[0] for row in rows} == {"epochs=0.5,seed=0", "epochs=0.5,seed=1"}
    assert {row[3] for row in rows} == {"12"}
    assert invoke("runs", tmp_path / "sweep").stdout.splitlines() == lines[-3:]


def test_a_tilde_is_the_home_folder(finished, tmp_path, monkeypatch):
    folder = finished[0]
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.chdir(tmp_path)
    taken = f"error: refusing to overwrite {folder}"
    assert invoke("train", "~/tiny.toml", "--out=~/run").stderr.startswith(taken)
    assert invoke("runs", "~/run").stdout.splitlines()[1].startswith("run\t")
    result = invoke("summary", "~/tiny.toml", "--json=~/summary.json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert (folder.parent / "summary.json").is_file()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("CONFIGS", str(folder.parent))
    assert invoke("train", "$CONFIGS/tiny.toml", "--out=${CONFIGS}/run").stderr.startswith(taken)
    missing = invoke("train", "~nobody-here/x.toml")
    assert (missing.exit_code, missing.stderr) == (2, "error: there is no config file ~nobody-here/x.toml\n")


def test_names_longer_than_a_file_system_takes_are_one_line(finished, tmp_path):
    long = "x" * 256
    config = finished[0].parent / "tiny.toml"
    for arguments in [
        ("train", config, "--out", long), ("train", long), ("train", "--resume", long), ("evaluate", long),
        ("runs", long), ("sweep", config, "seed=0", "--out", long), ("predict", finished[0], long), ("plot", long),
    ]:  # fmt: skip
        result = invoke(*arguments)
        assert isinstance(result.exception, SystemExit), arguments
        assert result.exit_code in (2, 74)
        assert len(result.stderr.splitlines()) == 1
        assert long in result.stderr


def environment():
    """This process's variables, and the checkout where a command runs elsewhere."""
    here = os.path.dirname(os.path.dirname(__file__))
    return os.environ | {"PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize(("waiting", "advised"), [(0.0, False), (0.99, False), (1.01, True)])
def test_a_run_that_waited_for_data_is_told_how_to_read_faster(waiting, advised):
    result = {"seconds": {"training": 10.0, "waiting": waiting}}
    assert ("jaxconv pack" in _advice(result)) is advised
    assert not _advice({"seconds": {"training": 0.0, "waiting": 0.0}})
