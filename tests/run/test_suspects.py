"""Possible label errors: planted ones, and the formula of confident learning written out."""

import dataclasses

import numpy as np
import pytest
from support.config_text import config_text

import jaxconv as jc
from jaxconv import run
from jaxconv.data import Arrays, load
from jaxconv.run import config
from jaxconv.run.suspects import confident_errors, suspects
from jaxconv.training.evaluation import Answers

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_the_formula_written_out(rng):
    n, classes = 200, 5
    p = rng.dirichlet(np.full(classes, 0.4), n)
    labels = rng.integers(0, classes - 1, n)  # no image of the last class: it has no threshold
    rows = np.arange(n)
    answers = Answers(labels, p.argmax(1), p.max(1), -np.log(p[rows, labels]), np.zeros(n, int))
    thresholds = [p[labels == k, k].mean() if (labels == k).any() else np.inf for k in range(classes)]
    want = []
    for i in range(n):
        j = int(p[i].argmax())
        if j != labels[i] and p[i, j] >= thresholds[j]:
            want.append((p[i, labels[i]] - p[i, j], i))
    assert want
    assert confident_errors(answers, classes).tolist() == [i for _, i in sorted(want)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("suspects")
    text = config_text(
        {"features": [16], "kernel_size": 3, "hidden": []},
        optim={"name": "adam", "learning_rate": 3e-3},
        train={"epochs": 12, "batch_size": 32, "eval_every": 0},
        log={"writers": []},
    )
    (folder / "config.toml").write_text(text)
    run.train(config.read(folder / "config.toml"), folder / "run")
    return run.load(folder / "run")


def test_planted_errors_come_first(trained, rng):
    digits = load("digits")
    labels = digits.test.labels.copy()
    planted = np.sort(rng.permutation(len(labels))[:12])
    labels[planted] = (labels[planted] + rng.integers(1, 10, 12)) % 10
    changed = dataclasses.replace(digits, test=Arrays(digits.test.images, labels))
    found = [each for each in suspects(trained, changed) if each.part == "test"]
    right = [each.index in planted for each in found]
    assert all(right[:5])
    assert right.count(True) >= 7
    assert right.count(False) <= 2
    for each in found:
        assert each.label == str(labels[each.index])
        assert each.answer != each.label
        assert each.confidence > each.probability
        assert each.name == f"test {each.index}"


def test_other_classes_and_tasks_are_refused(trained):
    with pytest.raises(jc.ConfigError, match="must be of the dataset's 10 classes, in their order; got 10"):
        suspects(trained, dataclasses.replace(load("digits"), classes=tuple("abcdefghij")))
    other = dataclasses.replace(trained, task_name="segmentation")
    with pytest.raises(jc.ConfigError, match=r"labels are checked by a classifier; .* is for segmentation"):
        suspects(other, load("digits"))
