"""Multi-label classification by a config: a run, its files, evaluation and prediction by the commands."""

import csv

import numpy as np
import pytest
from PIL import Image
from support.config_text import config_text
from support.tiny_run import invoke, settings

from jaxconv import data, run
from jaxconv._base.errors import ConfigError

SMALL_NET = {"features": [8], "kernel_size": 3, "hidden": [], "dropout": 0.0}
REST = {
    "loss": {"name": "bce"},
    "optim": {"name": "adam", "learning_rate": 0.01},
    "train": {"epochs": 3, "batch_size": 64, "eval_every": 0},
}
DIGITS = config_text(SMALL_NET, data={"name": "digits", "properties": True}, **REST)


@pytest.mark.slow
def test_a_run_and_its_files(tmp_path):
    result = run.train(settings(tmp_path, "data.validation=100", text=DIGITS), tmp_path / "run")
    assert (result["task"], "left_out" in result) == ("multilabel", False)
    assert 0.6 < result["test_map"] < 1
    assert result["validation_map"] > 0.6
    rows = {row["label"]: row for row in csv.DictReader((tmp_path / "run" / "labels.csv").read_text().splitlines())}
    assert list(rows) == ["loop", "even", "above 4"]
    assert result["test_map"] == pytest.approx(
        np.mean([float(r["average_precision"]) for r in rows.values()]), rel=1e-5
    )
    assert result["test_f1_macro"] == pytest.approx(np.mean([float(r["f1"]) for r in rows.values()]), rel=1e-5)
    with Image.open(tmp_path / "run" / "worst.png") as picture:
        assert picture.size[0] > 500
    assert "worst" in (tmp_path / "run" / "report.html").read_text()
    shown = invoke("evaluate", tmp_path / "run")
    assert shown.stdout.splitlines()[0].split() == ["test", "map", f"{result['test_map']:.2%}"]
    flipped = invoke("evaluate", tmp_path / "run", "--tta", "shift=1")
    assert flipped.exit_code == 0, flipped.output


@pytest.mark.slow
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_table_of_the_same_images_gives_the_same_run(tmp_path, in_memory):
    digits = data.load("digits", properties=True)
    for part in ("train", "test"):
        source, names = getattr(digits, part), [f"{part}{k:04}.png" for k in range(len(getattr(digits, part)))]
        for name, image in zip(names, source.images, strict=True):
            Image.fromarray(image[..., 0]).save(tmp_path / name)
        lines = (",".join([name, *map(str, row)]) for name, row in zip(names, source.labels.tolist(), strict=True))
        (tmp_path / f"{part}.csv").write_text("\n".join([f"path,{','.join(digits.classes)}", *lines]))
    images = {"name": "images", "root": str(tmp_path), "size": 8, "channels": 1, "in_memory": in_memory}
    images |= {"labels": list(digits.classes), "mean": list(digits.mean), "std": list(digits.std)}
    found = []
    for given in ({"name": "digits", "properties": True}, images):
        text = config_text(SMALL_NET, data=given, **REST)
        result = run.train(settings(tmp_path, "train.epochs=1", text=text), tmp_path / f"run{len(found)}")
        found.append((result["test_loss"], result["test_map"]))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.slow
def test_the_labels_above_one_half_are_predicted(tmp_path):
    result = run.train(settings(tmp_path, "ensemble.size=2", "train.epochs=10", text=DIGITS), tmp_path / "run")
    assert result["test_map"] > 0.8
    zero = np.kron(
        [[0, 1, 1, 1, 0], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 0, 0, 0, 1], [0, 1, 1, 1, 0]], np.ones([9, 6])
    )
    Image.fromarray((255 * zero).astype(np.uint8)).save(tmp_path / "zero.png")
    shown = invoke("predict", tmp_path / "run", tmp_path / "zero.png")
    assert shown.exit_code == 0, shown.output
    assert {"loop", "even"} <= {word for line in shown.stdout.splitlines() for word in line.split()}
    assert "above 4" not in shown.stdout
    explained = invoke("explain", tmp_path / "run", tmp_path / "zero.png", "--method", "saliency")
    assert explained.exit_code == 0, explained.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("loss.name=cross_entropy", "loss.name: cross_entropy does not fit these labels: logits must be [N, C], and "
                                    "labels integers [N] or floating [N, C]"),
        ("loss.positive_weights=[1.0]", "loss.name: bce does not fit these labels: positive_weights must be [C], one "
                                        "for each class"),
        ("train.label_smoothing=0.1", "train.label_smoothing must be unset for the task multilabel, which has several "
                                      "labels for each image, not one class; got 0.1"),
        ("loss.class_weights=balanced", "balanced sampling and class weights need the labels of all images"),
        ("tta.window=4", "tta.window must be unset for the task multilabel, which has no labels of pixels; got 4"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path, change, message):
    with pytest.raises(ConfigError) as caught:
        run.train(settings(tmp_path, change, text=DIGITS), tmp_path / "run")
    assert str(caught.value).startswith(message)
