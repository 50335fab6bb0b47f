"""Losses and sampling of a run: from the config to the step."""

import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from support.config_text import config_text

from jaxconv import run
from jaxconv._base.errors import ConfigError
from jaxconv.data import Batch
from jaxconv.run import config
from jaxconv.run.build import training_feed
from jaxconv.training.progress import Progress

CONFIG = config_text(
    optim={"name": "sgd", "learning_rate": 0.1},
    train={"epochs": 0.5, "batch_size": 64, "log_every": 4, "eval_every": 0},
)


@pytest.fixture
def settings(tmp_path):
    def settings(*overrides):
        path = tmp_path / "tiny.toml"
        path.write_text(CONFIG)
        return config.read(path, overrides)

    return settings


def first_step(settings):
    """Metrics and parameters after a step on the first 64 images."""
    inputs, _, training = run.build(settings)
    batch = Batch(inputs.train.images[:64], inputs.train.labels[:64], np.ones(64, np.float32))
    train, metrics = jax.jit(training.step)(training.start(), batch)
    return metrics, train.params


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cross_entropy", "bce", "focal", "mse"])
def test_class_weights_of_micro_batches_are_those_of_the_batch(settings, name):
    changes = [f"loss.name={name}", "loss.class_weights=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", "label_smoothing=0.1"]
    (whole, one), (parts, other) = (first_step(settings(*changes, f"optim.accumulate={n}")) for n in (1, 4))
    np.testing.assert_allclose(whole["loss"], parts["loss"], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one, other)
    assert whole["count"] == parts["count"] == 64


@pytest.mark.slow
def test_balanced_class_weights_are_of_the_training_images(settings):
    found = run.build(settings("loss.class_weights=balanced", "data.validation=1000"))[0]
    counts = np.bincount(found.train.labels, minlength=10)
    weights = [float(w) for w in len(found.train) / (10 * counts)]
    one, other = (
        first_step(settings(f"loss.class_weights={w}", "data.validation=1000"))[0]["loss"]
        for w in ("balanced", weights)
    )
    assert one == other
    assert one != first_step(settings("data.validation=1000"))[0]["loss"]


def test_balanced_sampling_of_an_imbalanced_set(settings):
    """Of digits without the last 1,418 images, a class has one image or none."""
    found = settings("train.sampling=balanced", "data.validation=1418", "train.batch_size=9")
    inputs, _, training = run.build(found)
    labels = inputs.train.labels
    feed = training_feed(inputs, found, training.seeds, 0, 100, training.devices)
    index, _ = feed.items(0, 50)
    drawn = labels[np.asarray(index)[:50].ravel()]
    counts = np.bincount(drawn, minlength=10)
    there = np.bincount(labels, minlength=10) > 0
    assert np.ptp(counts[there]) <= 1
    assert counts[~there].sum() == 0


@pytest.mark.slow
def test_a_run_of_balanced_sampling_and_weights_resumes_to_the_same_bits(settings, tmp_path):
    found = settings(
        "train.sampling=balanced", "loss.name=focal", "loss.class_weights=balanced", "checkpoint.every_steps=4"
    )

    class Stop:
        def __call__(self, event):
            if isinstance(event, Progress) and event.step == 8:
                raise KeyboardInterrupt

    run.train(found, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run.train(found, tmp_path / "run", Stop())
    run.resume(tmp_path / "run")
    one, other = (load_file(tmp_path / name / "params.safetensors") for name in ("whole", "run"))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    shutil.rmtree(tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["loss.class_weights=[1, 2]"], "loss.class_weights must be 10 numbers, one for each class; got 2"),
        (["loss.name=losses_of_runs:binary"],
         "loss.name: losses_of_runs:binary does not fit these labels: logits and labels must both be [N, C], and "
         "weights [N]\n  got: logits float32 [64, 10], labels float32 [64, 1], weights float32 [64]"),
        (["loss.name=losses_of_runs:each"],
         "loss.name: losses_of_runs:each must return a scalar, the weighted mean over images; got "
         "ShapeDtypeStruct(shape=(64,), dtype=float32)"),
        (["loss.name=losses_of_runs:each", "label_smoothing=0.1"],
         "train.label_smoothing must be unset for loss.name=losses_of_runs:each, which has no such argument"),
    ],
)  # fmt: skip
def test_what_does_not_fit(settings, tmp_path, monkeypatch, changes, message):
    (tmp_path / "losses_of_runs.py").write_text(
        "from jaxconv.training.losses import binary_cross_entropy\n"
        "def binary(logits, labels, weights):\n"
        "    return binary_cross_entropy(logits, labels[:, None].astype('float32'), weights)\n"
        "def each(logits, labels, weights):\n    return logits.mean(-1)\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        run.build(settings(*changes))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            "loss.class_weights=[1, -2]",
            "loss.class_weights: entry 1 must be greater than or equal to 0 or 'balanced', got [1, -2]",
        ),
        ("loss.class_weights=even", "loss.class_weights: must be a list or 'balanced', got 'even'"),
        ("loss.gamma=2", "loss.gamma: cross_entropy takes no arguments"),
        ("train.sampling=class", "train.sampling: must be 'shuffle' or 'balanced', got 'class'"),
    ],
)
def test_invalid_keys(settings, change, line):
    with pytest.raises(ConfigError) as caught:
        settings(change)
    assert line in str(caught.value)
