"""A run that begins with somebody's weights: a new head, a frozen stem, the rest slowly."""

import re
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from jaxconv import run
from jaxconv._base.errors import ConfigError, DataError
from jaxconv.cli.commands import app
from jaxconv.port import PortError
from jaxconv.run import config

NET = """
import jax, jaxconv as jc

def backbone(num_classes: int = 10):
    return jc.chain(
        conv1=jc.Conv(4, 3), relu=jax.nn.relu, conv2=jc.Conv(6, 3), maxpool=jc.MaxPool(2), avgpool=jc.global_avg_pool,
        fc=jc.Dense(num_classes),
    )
"""
CONFIG = """
[data]
name = "images"
root = "{root}/photos"
size = 10
[net]
name = "tiny_backbone:backbone"
[pretrained]
weights = "{root}/weights.safetensors"
skip = ["fc"]
[optim]
name = "adam"
learning_rate = 0.05
freeze = ["conv1"]
lr_multipliers = {{ conv2 = 0.001 }}
[train]
epochs = 10
batch_size = 10
"""


@pytest.fixture
def root(tmp_path, rng, monkeypatch):
    """Bright and dark photographs, a backbone in a module of the user's own, and weights of it with five classes."""
    for name, level in (("bright", 200), ("dark", 40)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = (level + rng.integers(0, 50, (12, 15, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    (tmp_path / "tiny_backbone.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny_backbone", raising=False)
    arrays = {
        f"{name}.{leaf}": rng.normal(size=shape).astype(np.float32)
        for name, shape in {"conv1": (4, 3, 3, 3), "conv2": (6, 4, 3, 3), "fc": (5, 6)}.items()
        for leaf, shape in (("weight", shape), ("bias", shape[:1]))
    }
    save_file(arrays, tmp_path / "weights.safetensors")
    (tmp_path / "tiny.toml").write_text(CONFIG.format(root=tmp_path))
    return tmp_path


@pytest.mark.slow
def test_the_stem_stays_the_body_moves_slowly_and_the_head_is_new(root):
    result = run.train(config.read(root / "tiny.toml"), root / "run")
    assert result["test_accuracy"] == 1
    theirs, ours = load_file(root / "weights.safetensors"), load_file(root / "run" / "params.safetensors")
    np.testing.assert_array_equal(ours["params/conv1/kernel"], theirs["conv1.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(ours["params/conv1/bias"], theirs["conv1.bias"])
    moved = np.abs(ours["params/conv2/kernel"] - theirs["conv2.weight"].transpose(2, 3, 1, 0))
    # adam moves each weight by about its rate in each of 36 steps
    assert 0 < moved.max() < 36 * 0.05 * 0.001 * 1.5
    assert ours["params/fc/kernel"].shape == (6, 2)


@pytest.mark.slow
def test_a_run_starts_from_the_folder_of_another(root):
    first = config.read(root / "tiny.toml", ["train.epochs=1"])
    run.train(first, root / "first")
    weights = f'pretrained.weights="{root}/first"'
    _, _, training = run.build(config.read(root / "tiny.toml", [weights]))
    params, theirs = training.start().params, load_file(root / "first" / "params.safetensors")
    np.testing.assert_array_equal(params["conv2"]["kernel"], theirs["params/conv2/kernel"])
    assert np.abs(params["fc"]["kernel"] - theirs["params/fc/kernel"]).max() > 0  # skipped


@pytest.mark.slow
def test_each_member_of_an_ensemble_begins_with_them_and_has_a_head_of_its_own(root):
    _, _, training = run.build(config.read(root / "tiny.toml", ["ensemble.size=2"]))
    params = training.start().params
    np.testing.assert_array_equal(params["conv2"]["kernel"][0], params["conv2"]["kernel"][1])
    assert np.abs(params["fc"]["kernel"][0] - params["fc"]["kernel"][1]).max() > 0


def test_what_does_not_fit_is_refused_before_anything_is_written(root):
    for change, error, message in [
        ("pretrained.skip=[]", PortError, "fc/kernel"),
        ('pretrained.skip=["head"]', ConfigError, "'head'"),
        (f'pretrained.weights="{root}/none.safetensors"', DataError, "none.safetensors"),
        (
            "pretrained.source='keras'",
            ConfigError,
            "pretrained.source: must be 'torchvision', 'timm' or 'transformers', got",
        ),
        (
            'optim.freeze=["conv9"]',
            ConfigError,
            "optim.freeze: a pattern must match at least one parameter\n  got: 'conv9'",
        ),
        (
            "optim.lr_multipliers.conv9=0.5",
            ConfigError,
            "optim.lr_multipliers: a pattern must match at least one parameter\n  got: 'conv9'",
        ),
        ("optim.lr_multipliers.conv2=-1", ConfigError, "optim.lr_multipliers.conv2: must be greater than 0, got -1"),
    ]:
        with pytest.raises(error) as caught:
            run.train(config.read(root / "tiny.toml", [change]), root / "never")
        assert message in str(caught.value), change
        assert not (root / "never").exists()
    (root / "bare.toml").write_text(re.sub(r"weights = .*\n", "", CONFIG.format(root=root)))
    with pytest.raises(ConfigError) as caught:
        run.build(config.read(root / "bare.toml"))
    assert str(caught.value) == "pretrained.skip, ignore, entry and part require pretrained.weights, got none"


@pytest.mark.slow
def test_photographs_are_told_by_the_likeliest_classes(root):
    run.train(config.read(root / "tiny.toml"), root / "run")
    Image.fromarray(np.full([30, 60, 3], 230, np.uint8)).save(root / "wide.png")
    result = CliRunner().invoke(app, ["predict", str(root / "run"), str(root / "wide.png")])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{root}/wide.png: bright  ")
    assert ", dark  " in result.stdout


@pytest.mark.slow
def test_frozen_batch_norms_keep_their_running_statistics(root):
    """`optim.freeze` of a config: the statistics of frozen parts stay those of the file, others move."""
    (root / "tiny_backbone.py").write_text(
        NET.replace("relu=", "bn1=jc.BatchNorm(), relu=").replace("maxpool=", "bn2=jc.BatchNorm(), maxpool=")
    )
    changes = ["optim.freeze=['conv1', 'bn1']", "pretrained.weights=none", "pretrained.skip=[]", "train.epochs=1"]
    run.train(config.read(root / "tiny.toml", changes), root / "run")
    saved = load_file(root / "run" / "params.safetensors")
    np.testing.assert_array_equal(saved["state/bn1/mean"], 0)
    np.testing.assert_array_equal(saved["state/bn1/var"], 1)
    assert np.abs(saved["state/bn2/mean"]).min() > 0
