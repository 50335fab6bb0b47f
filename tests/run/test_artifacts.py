"""Failures after the last step: pictures, class names, test images, and tables of many classes."""

import csv
import json
import os

import matplotlib
import numpy as np
import pytest
from PIL import Image
from support.tiny_run import CONFIG

from jaxconv import run
from jaxconv._base.errors import DataError
from jaxconv.data import Arrays, Dataset
from jaxconv.run import config
from jaxconv.run.tasks.classification import confusion_table
from jaxconv.training.evaluation import Answers
from jaxconv.training.progress import Notice, Progress
from jaxconv.viz import training as pictures

PICTURES = {"curves.png", "confusion.png", "mistakes.png", "confusion.csv"}


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
    text = CONFIG.replace('"digits"', f'"images"\nroot = "{photographs}"\nsize = 8').replace(
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


@pytest.mark.slow
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
    table = confusion_table(found, tuple(f"c{number}" for number in range(100_000))).decode()
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
