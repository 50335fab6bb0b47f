"""Files that cannot be written: limits, full disks, a deleted folder, a full output."""

import contextlib
import json
import resource
import shutil
import subprocess
import sys

import pytest
from support import finished_run
from support.tiny_run import invoke

from jaxconv import run
from jaxconv._base.files import WriteError
from jaxconv.run import config
from jaxconv.training.progress import Progress


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
        pytest.param(None, "manifest.json", "0, the start", marks=pytest.mark.slow),
        pytest.param(1500, "checkpoints/4", "0, the start", marks=pytest.mark.slow),
        pytest.param(30_000, None, None, marks=pytest.mark.slow),
    ],
)
def test_a_limit_of_file_sizes_is_one_line(tiny, tmp_path, size, what, state):
    folder = tmp_path / "run"
    if size is None:  # larger than the config, smaller than the manifest
        invoke("train", tiny, "--out", tmp_path / "one")
        sizes = [(tmp_path / "one" / name).stat().st_size for name in ("config.toml", "manifest.json")]
        size = sum(sizes) // 2
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_an_output_that_is_full_is_one_line(tmp_path):
    finished = finished_run.write(tmp_path / "run")
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "jaxconv", "runs", str(finished)]
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (found.returncode, found.stderr) == (74, "error: cannot write the output: No space left on device\n")
