"""Distillation of a run: its teachers, and those that are refused."""

import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from support.tiny_run import CONFIG, killed_at_step_8, settings

from jaxconv import models, port, run
from jaxconv._base.errors import ConfigError, DataError
from jaxconv.data import Batch
from jaxconv.training.losses import cross_entropy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The folder of a finished ensemble."""
    folder = tmp_path_factory.mktemp("teacher")
    run.train(settings(folder, "ensemble.size=2", "net.hidden=[8]"), folder / "run")
    return folder / "run"


def test_the_loss_of_the_first_step_is_that_of_the_mean_of_the_ensemble(teacher, tmp_path):
    inputs, model, training = run.build(settings(tmp_path, f"distill.run={teacher}", "distill.alpha=1.0"))
    batch = Batch(inputs.train.images[:64], inputs.train.labels[:64], np.ones(64, np.float32))
    train = training.start()
    _, metrics = jax.jit(training.step)(train, batch)
    soft = np.asarray(run.load(teacher).probabilities(batch.image), np.float64) ** 0.5  # temperature 2
    soft /= soft.sum(-1, keepdims=True)
    logits = model.net.apply(train.params, train.state, model.prepare(batch.image))[0] / 2
    expected = cross_entropy(logits, soft.astype(np.float32)) + (soft * np.log(soft)).sum(-1).mean()
    assert metrics["loss"] == pytest.approx(4 * float(expected), rel=1e-4)


@pytest.mark.parametrize("more", ["optim.accumulate=2", "ensemble.size=2"])
def test_a_resumed_student_has_the_same_bits(teacher, tmp_path, more):
    found = settings(tmp_path, f"distill.run={teacher}", more, "augment.shift=1")

    killed_at_step_8(found, tmp_path)


def test_a_net_of_the_registry_with_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for label in "ab":
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(tmp_path / "pictures" / label / f"{number}.png")
    net = models.registry["resnet20"](num_classes=2)
    params, state = net.init(jax.random.key(1), (1, 8, 8, 3))
    port.save(tmp_path / "teacher.safetensors", net, params, state, x=(1, 8, 8, 3))
    text = CONFIG.replace('"digits"', '"images"\nroot = "pictures"\nsize = 8')
    distill = ["distill.net=resnet20", "distill.weights=teacher.safetensors", "train.batch_size=4"]
    training = run.build(settings(tmp_path, *distill, text=text))[2]
    batch = Batch(np.full((4, 8, 8, 3), 9, np.uint8), np.zeros(4, np.int32), np.ones(4, np.float32))
    assert np.isfinite(jax.jit(training.step)(training.start(), batch)[1]["loss"])
    net = models.registry["resnet20"](num_classes=3)
    port.save(tmp_path / "teacher.safetensors", net, *net.init(jax.random.key(1), (1, 8, 8, 3)), x=(1, 8, 8, 3))
    with pytest.raises((ConfigError, DataError), match=r"^distill\.weights: .*"):
        run.build(settings(tmp_path, *distill, text=text))


def test_teachers_that_do_not_fit(teacher, tmp_path):
    def message(*overrides):
        with pytest.raises((ConfigError, DataError)) as caught:
            run.build(settings(tmp_path, *overrides))
        return str(caught.value)

    assert message(f"distill.run={tmp_path / 'none'}").startswith(f"distill.run: there is no run {tmp_path / 'none'}")
    assert message("distill.net=resnet20") == (
        "distill.net and distill.weights must both be given: a model and a file of its weights"
    )
    assert message(f"distill.run={teacher}", "distill.net=resnet20") == (
        "distill.run is the teacher; leave out distill.net and distill.weights"
    )
    other = shutil.copytree(teacher, tmp_path / "other")
    text = (other / "result.json").read_text()
    (other / "SHA256SUMS").unlink()
    (other / "result.json").write_text(text.replace('"9"', '"nine"'))
    assert message(f"distill.run={other}") == (
        "distill.run: the teacher must have the data's classes; its class 9 is 'nine', not '9'"
    )
    (other / "result.json").write_text(text.replace('"peak": 16', '"peak": 255'))
    assert message(f"distill.run={other}") == (
        "distill.run: the teacher must take the data's pixels, 1 channel up to 16; it takes 1 channel up to 255"
    )
