"""Averages of runs: the weights' mean, batch statistics of the training images, and a choice by validation images."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from support.config_text import config_text
from support.finished_run import RESULT
from support.tiny_run import invoke

from jaxconv import run
from jaxconv._base.errors import ConfigError
from jaxconv.data import load as load_dataset
from jaxconv.run import config
from jaxconv.run.build import build_model
from jaxconv.run.trained import trained
from jaxconv.training import checkpoint

NET = {"features": [4], "kernel_size": 3, "hidden": [], "batch_norm": True, "dropout": 0.5}


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture
def write(tmp_path, digits):
    """Writes a finished run of untrained weights; returns its folder."""

    def write(name, seed=0, change=lambda tree: tree, **sections):
        folder = tmp_path / name
        folder.mkdir()
        base = {"data": {"name": "digits", "validation": 100}, "optim": {"name": "sgd", "learning_rate": 0.1}}
        base |= {"net": NET, "train": {"epochs": 1, "batch_size": 50, "seed": seed}}
        (folder / "config.toml").write_text(config_text(**{**base, **sections}))
        settings = config.read(folder / "config.toml")
        (folder / "config.toml").write_text(config.to_toml(settings))
        net = build_model(settings, digits).net
        members = settings.ensemble.size
        keys = jax.random.split(jax.random.key(seed), members)
        made = jax.vmap(lambda key: net.init(key, (1, 8, 8, 1)))(keys)
        params, state = made if members > 1 else jax.tree.map(lambda leaf: leaf[0], made)
        checkpoint.save(folder / "params.safetensors", change(trained(params, state)))
        about = {"mean": list(digits.mean), "std": list(digits.std), "classes": list(digits.classes)}
        about |= {"shape": [8, 8, 1], "peak": 16.0, "photographs": digits.photographs}
        (folder / "result.json").write_text(json.dumps(RESULT | {"input": about}))
        return folder

    return write


def statistics(images, weights, digits):
    """Mean and variance of the first convolution's output by NumPy."""
    x = (images.astype(np.float64) - digits.mean) / digits.std
    taps = [x[:, i : i + 6, j : j + 6] @ weights["params/conv0/kernel"][i, j] for i in range(3) for j in range(3)]
    y = sum(taps).reshape(-1, 4)
    return y.mean(0), y.var(0)


@pytest.mark.slow
def test_weights_are_the_mean_and_statistics_those_of_the_training_images(write, tmp_path, digits):
    folders = [write("a", 0), write("b", 1), write("c", 2)]
    found = run.average(folders, tmp_path / "soup")
    each, mean = (
        [load_file(path / "params.safetensors") for path in folders],
        load_file(tmp_path / "soup/params.safetensors"),
    )
    for name in mean:
        if name.startswith("params/"):
            np.testing.assert_allclose(mean[name], np.mean([own[name] for own in each], 0), atol=1e-7)
    assert found.chosen == [True] * 3
    # 1,338 images are trained on; those of the order's last, incomplete batch are left out
    images = digits.train.images[:-100]
    wanted_mean, wanted_var = statistics(images, mean, digits)
    np.testing.assert_allclose(mean["state/batch_norm0/mean"], wanted_mean, rtol=0.02, atol=0.01)
    np.testing.assert_allclose(mean["state/batch_norm0/var"], wanted_var, rtol=0.05)


@pytest.mark.slow
def test_the_average_is_a_finished_run(write, tmp_path):
    folders = [write("a", 0), write("b", 1)]
    found = run.average(folders, tmp_path / "soup")
    soup = run.load(tmp_path / "soup")
    assert soup.result == found.result
    answers = soup.test()
    assert answers.accuracy == found.result["test_accuracy"]
    assert answers.mean_loss == pytest.approx(found.result["test_loss"], rel=1e-6)
    assert found.result["average_of"] == [str(folder) for folder in folders]
    assert sorted(path.name for path in (tmp_path / "soup").iterdir()) == [
        "SHA256SUMS",
        "config.toml",
        "manifest.json",
        "params.safetensors",
        "result.json",
    ]
    assert {row["run"] for row in run.compare(tmp_path)} == {"a", "b", "soup"}
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "soup"}  # nothing temporary is left
    assert (tmp_path / "soup").stat().st_mode == (tmp_path / "a").stat().st_mode


@pytest.mark.slow
def test_a_greedy_average_leaves_out_what_makes_it_worse(write, tmp_path, digits):
    """Class templates classify two fifths of the digits; noise is what a greedy average leaves out."""

    def good(tree):
        """A net whose head is the mean image of each class under the convolution's center."""
        kernel = np.zeros((3, 3, 1, 4), np.float32)
        kernel[1, 1] = [1, -1, 1, -1]
        x = (digits.train.images - np.float32(digits.mean)) / np.float32(digits.std)
        y = np.maximum(x[:, 1:7, 1:7] * kernel[1, 1], 0)
        pooled = y.reshape(len(y), 3, 2, 3, 2, 4).max((2, 4)).reshape(len(y), -1)
        means = np.stack([pooled[digits.train.labels == label].mean(0) for label in range(10)])
        tree["params"]["conv0"]["kernel"] = kernel
        tree["params"]["head"] = {"kernel": means.T.copy(), "bias": -0.5 * (means**2).sum(1)}
        return tree

    def bad(tree):
        tree["params"]["head"]["kernel"] = -10 * good(tree)["params"]["head"]["kernel"]
        return tree

    folders = [write("bad", 1, bad), write("good", 0, good), write("same", 2, good)]
    found = run.average(folders, tmp_path / "soup", greedy=True)
    assert found.chosen == [False, True, True]
    assert found.result["validation_accuracy"] >= found.accuracies[1] > 0.5 > found.accuracies[0]
    everything = run.average(folders, tmp_path / "all")
    assert everything.result["validation_accuracy"] < 0.5


@pytest.mark.slow
def test_what_cannot_be_averaged(write, tmp_path):
    a, other = write("a"), write("other", net=NET | {"features": [5]})
    ensemble = write("ensemble", ensemble={"size": 2})
    plain, more = write("plain", data={"name": "digits"}), write("more", 1, data={"name": "digits"})
    cases = [
        ([a], False, f"average needs two or more different runs, got {a}"),
        ([a, a], False, f"average needs two or more different runs, got {a}, {a}"),
        (
            [a, other],
            False,
            f"average needs runs of the same net and data; {other} has net.features=[5], not [4] as {a}",
        ),
        (
            [a, plain],
            False,
            f"average needs runs of the same net and data; {plain} has data.validation=0, not 100 as {a}",
        ),
        (
            [a, ensemble],
            False,
            f"average needs runs of one net each; {ensemble} is an ensemble of 2, "
            "whose predictions are averaged already",
        ),
        (
            [plain, more],
            True,
            "a greedy average needs validation images that no run was trained on; got data.validation=0",
        ),
    ]
    for folders, greedy, message in cases:
        with pytest.raises(ConfigError) as caught:
            run.average(folders, tmp_path / "soup", greedy=greedy)
        assert str(caught.value) == message
    with pytest.raises(ConfigError, match="refusing to overwrite"):
        run.average([a, other], a)
    assert not (tmp_path / "soup").exists()


def test_the_command_prints_what_was_averaged(write, tmp_path):
    a, b = write("a", 0), write("b", 1)
    result = invoke("average", a, b, "--out", tmp_path / "soup")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "run\tvalidation accuracy\taveraged"
    assert [line.split("\t")[0] for line in lines[1:4]] == [str(a), str(b), "average"]
    assert lines[-1].split() == ["run", str(tmp_path / "soup")]
    again = invoke("average", a, b, "--out", tmp_path / "soup")
    assert (again.exit_code, again.stdout) == (2, "")
    assert again.stderr == f"error: refusing to overwrite {tmp_path / 'soup'}; give --out another folder\n"
