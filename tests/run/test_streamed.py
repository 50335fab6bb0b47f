"""Runs on images that are read from files while it trains."""

import json
import os
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.streamed import write_images

from jaxconv import run
from jaxconv._base.errors import DataError
from jaxconv.run import config
from jaxconv.training.progress import Progress

CONFIG = """
[data]
name = "images"
root = "{root}"
size = 8
in_memory = false
[net]
name = "conv_pool"
features = [4]
kernel_size = 3
hidden = []
[augment]
flip = true
[optim]
name = "adam"
learning_rate = 0.01
[train]
epochs = 4
batch_size = 10
log_every = 3
eval_every = 8
[checkpoint]
every_steps = 4
"""


@pytest.fixture
def images(tmp_path, rng):
    """Bright and dark PNG files, 30 of each to train on and 5 of each to test on."""
    write_images(tmp_path / "images", rng)
    return tmp_path / "images"


@pytest.fixture
def read(tmp_path, images):
    def read(*overrides):
        path = tmp_path / "stream.toml"
        path.write_text(CONFIG.format(root=images))
        return config.read(path, overrides)

    return read


@pytest.mark.slow
def test_a_stream_trains_and_goes_on_to_the_same_bits(tmp_path, read):
    whole = run.train(read(), tmp_path / "whole")
    assert whole["steps"] == 24
    assert whole["test_accuracy"] == 1
    assert whole["seconds"]["waiting"] > 0
    assert whole["skipped"] == []
    assert "test_top5" not in whole  # of two classes

    def stop(event):
        if isinstance(event, Progress) and event.step == 12:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(run.StoppedError):
        run.train(read(), tmp_path / "part", stop)
    run.resume(tmp_path / "part")
    one, other = (load_file(tmp_path / name / "params.safetensors") for name in ("whole", "part"))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.slow
def test_a_damaged_image_is_named_or_skipped_and_counted(tmp_path, read, images):
    damaged = images / "train" / "dark" / "7.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    with pytest.raises(DataError, match=str(damaged)):
        run.train(read(), tmp_path / "fails")
    result = run.train(read('data.corrupt="skip"'), tmp_path / "skips")
    assert len(result["skipped"]) == 1
    assert str(damaged) in result["skipped"][0]
    assert result["test_accuracy"] == 1
    assert json.loads((tmp_path / "skips" / "result.json").read_text())["skipped"] == result["skipped"]


@pytest.mark.slow
def test_another_folders_images_are_refused_on_going_on(tmp_path, read, images):
    def stop(event):
        if isinstance(event, Progress):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(run.StoppedError):
        run.train(read(), tmp_path / "run", stop)
    (images / "train" / "dark" / "3.png").unlink()
    with pytest.raises(DataError, match="a run must be resumed with the same data; "):
        run.resume(tmp_path / "run")
