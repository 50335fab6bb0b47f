"""Runs that diverge, and finished runs whose files are damaged."""

import json
import os
import shutil
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support.flips import flips
from support.tiny_run import invoke

from jaxconv import run
from jaxconv._base.errors import DataError
from jaxconv.run import config
from jaxconv.run.trained import CHECKED
from jaxconv.training import checkpoint
from jaxconv.training.running import DivergedError


def strict(path):
    """JSON without NaN and infinity, which Python would read."""

    def refuse(word):
        raise AssertionError(f"{path} holds {word}")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
