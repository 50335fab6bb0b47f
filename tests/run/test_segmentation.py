"""Segmentation by a config: a run, its files, evaluation and prediction by the commands, and what is refused."""

import csv
import json

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from support.config_text import config_text
from support.tiny_run import invoke, killed_at_step_8, settings

from jaxconv import run
from jaxconv._base.errors import ConfigError
from jaxconv.data.mask_files import voc_colors
from jaxconv.data.shapes import shapes
from jaxconv.run.tasks import tasks

TEXT = config_text(
    {"name": "unet", "width": 4, "depth": 1, "padding": "same"},
    data={"name": "shapes", "size": 16, "num_classes": 3, "train": 128, "test": 20, "validation": 16},
    augment={"flip": True, "rotate": 20},
    loss__terms={"dice": 1.0},
    optim={"name": "adam", "learning_rate": 0.01},
    train={"epochs": 2, "batch_size": 16, "log_every": 4, "eval_every": 7},
    checkpoint={"every_steps": 4},
)


def given(folder, *changes):
    return settings(folder, *changes, text=TEXT)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run's folder and result."""
    folder = tmp_path_factory.mktemp("segmentation")
    return folder / "run", run.train(given(folder), folder / "run")


@pytest.mark.slow
def test_a_run_leaves_its_numbers_and_pictures(finished):
    folder, result = finished
    assert result["task"] == "segmentation"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"] for line in lines if "validation_miou" in line} == {7, 14}
    assert all("accuracy" in line for line in lines if "loss" in line)
    rows = list(csv.DictReader((folder / "classes.csv").read_text().splitlines()))
    test = shapes(16, 3, train=128, test=20).test
    pixels = np.bincount(test.labels.values.ravel(), minlength=3).tolist()
    assert [int(row["pixels"]) for row in rows] == pixels
    assert sum(int(row["predicted"]) for row in rows) == sum(pixels)
    known = [float(row["iou"]) for row in rows if row["iou"]]
    assert result["test_miou"] == pytest.approx(np.mean(known), abs=1e-5)
    assert result["test_iou/background"] == pytest.approx(float(rows[0]["iou"]), abs=1e-5)
    for name in ("worst.png", "curves.png"):
        with Image.open(folder / name) as picture:
            assert picture.size[0] > 500


@pytest.mark.slow
def test_an_auxiliary_classifier_trains_and_is_saved(tmp_path):
    text = config_text(
        {"name": "fcn", "aux": True, "encoder": "ENCODER"},
        data={"name": "shapes", "size": 16, "num_classes": 3, "train": 64, "test": 8},
        loss={"name": "cross_entropy", "auxiliary": 0.7},
        optim={"name": "adam", "learning_rate": 0.01},
        train={"epochs": 2, "batch_size": 16, "eval_every": 0},
    ).replace('"ENCODER"', '{ name = "resnet", blocks = [1, 1], width = 8 }')
    result = run.train(settings(tmp_path, text=text), tmp_path / "run")
    assert 0 < result["test_miou"] < 1
    one, other = (run.build(settings(tmp_path, "train.epochs=1", *change, text=text))[2].start().params for change in
                  ([], ["net.aux=false", "loss.auxiliary=0.4"]))  # fmt: skip
    assert one.keys() - other.keys() == {"aux_classifier"}
    shown = invoke("evaluate", tmp_path / "run")
    assert shown.exit_code == 0, shown.output
    with pytest.raises(ConfigError) as caught:
        run.train(settings(tmp_path, "net.aux=false", text=text), tmp_path / "other")
    assert str(caught.value) == (
        "loss.auxiliary needs a net with an auxiliary output, as fcn with net.aux=true; got fcn"
    )


@pytest.mark.slow
def test_an_encoder_starts_from_a_run_of_classification(tmp_path):
    small = {"blocks": [1, 1], "width": 8}
    shared = {"optim": {"name": "adam", "learning_rate": 0.01}, "train": {"epochs": 1, "batch_size": 64}}
    text = config_text({"name": "resnet", **small}, data={"name": "digits"}, **shared)
    run.train(settings(tmp_path, text=text), tmp_path / "classifier")
    gray = ["backbone/conv1"]  # of one channel
    text = config_text(
        {"name": "fcn", "encoder": "ENCODER"},
        data={"name": "shapes", "size": 16, "num_classes": 3, "train": 64, "test": 8},
        pretrained={"weights": str(tmp_path / "classifier"), "part": "backbone", "ignore": ["fc"], "skip": gray},
        **shared,
    ).replace('"ENCODER"', '{ name = "resnet", blocks = [1, 1], width = 8 }')
    params = run.build(settings(tmp_path, text=text))[2].start().params
    theirs = load_file(tmp_path / "classifier" / "params.safetensors")
    np.testing.assert_array_equal(
        params["backbone"]["layer2"]["0"]["conv2"]["kernel"], theirs["params/layer2/0/conv2/kernel"]
    )
    assert run.train(settings(tmp_path, text=text), tmp_path / "run")["test_miou"] > 0


@pytest.mark.slow
def test_the_commands_repeat_and_write_what_the_run_found(finished, tmp_path):
    folder, result = finished
    shown = invoke("evaluate", folder)
    assert (shown.exit_code, shown.stderr) == (0, ""), shown.output
    table = dict(line.rsplit("  ", 1) for line in shown.stdout.splitlines())
    numbers = {name.strip(): value.strip() for name, value in table.items()}
    assert numbers["test miou"] == numbers["when trained"] == f"{result['test_miou']:.2%}"
    flipped = invoke("evaluate", folder, "--tta", "flip=true")
    assert flipped.exit_code == 0
    tiled = invoke("evaluate", folder, "--tta", "window=12", "--tta", "scales=[1.0, 1.5]")
    assert (tiled.exit_code, tiled.stderr) == (0, ""), tiled.output
    refused = invoke("evaluate", folder, "--tta", "shift=1")
    assert (refused.exit_code, refused.stderr.strip()) == (
        2,
        "error: tta.shift must be unset for the task segmentation, whose predictions at the border of a shifted image "
        "are unknown; got 1",
    )
    test = shapes(16, 3, train=128, test=20).test
    Image.fromarray(test.images[0]).save(tmp_path / "scene.png")
    shown = invoke("predict", folder, tmp_path / "scene.png", "--out", tmp_path / "masks")
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.splitlines()[1:] == [f"wrote {tmp_path}/masks/scene_{kind}.png" for kind in ("mask", "overlay")]
    expected = np.asarray(run.load(folder).outputs(test.images[:1])).argmax(-1)[0]
    with Image.open(tmp_path / "masks" / "scene_mask.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), expected)
        np.testing.assert_array_equal(np.asarray(mask.convert("RGB")), voc_colors()[expected])
    assert invoke("runs", folder).stdout.splitlines()[0].split("\t")[:3] == ["run", "miou", "loss"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(40, 52), (16, 21), (9, 12)])
def test_masks_have_the_size_of_their_image(finished, tmp_path, size):
    """The most probable class of the probabilities resized by torch's rule; net and image meet at 16 pixels."""
    folder, height, width = finished[0], *size
    scene = Image.fromarray(shapes(16, 3, train=128, test=20).test.images[1]).resize((width, height))
    scene.save(tmp_path / "scene.png")
    shown = invoke("predict", folder, tmp_path / "scene.png", "--out", tmp_path / "masks", "--tta", "window=16")
    assert shown.exit_code == 0, shown.output
    loaded = run.load(folder, ["window=16"])
    log_p = np.asarray(loaded.outputs(loaded.picture(tmp_path / "scene.png").pixels[None]))
    want = np.asarray(jax.image.resize(log_p, (1, height, width, 3), "linear")).argmax(-1)[0]
    with (
        Image.open(tmp_path / "masks/scene_mask.png") as mask,
        Image.open(tmp_path / "masks/scene_overlay.png") as over,
    ):
        assert mask.size == over.size == (width, height)
        assert (np.asarray(mask) == want).mean() > 0.99


@pytest.mark.slow
def test_a_resumed_run_has_the_same_bits(tmp_path):
    whole, resumed = killed_at_step_8(given(tmp_path), tmp_path)
    assert whole["test_miou"] == resumed["test_miou"]


@pytest.mark.slow
def test_files_with_masks_are_streamed_and_predicted_in_their_own_shape(tmp_path):
    scenes = shapes(24, 3, train=20, test=1).train
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
    for number, (image, mask) in enumerate(zip(scenes.images, scenes.labels.values, strict=True)):
        Image.fromarray(image[:, :16]).save(tmp_path / f"data/images/{number}.png")
        Image.fromarray(mask[:, :16]).save(tmp_path / f"data/masks/{number}.png")
    (tmp_path / "data" / "classes.txt").write_text("background\ncircle\nsquare\n")
    names = {"name": "masks", "root": str(tmp_path / "data"), "size": 16, "test_share": 0.2, "in_memory": False}
    text = config_text(
        {"name": "unet", "width": 4, "depth": 1, "padding": "same"},
        data=names,
        optim={"name": "adam", "learning_rate": 0.01},
        train={"epochs": 1, "batch_size": 8, "eval_every": 0},
    )
    result = run.train(settings(tmp_path, text=text), tmp_path / "run")
    assert 0 < result["test_miou"] <= 1
    shown = invoke("predict", tmp_path / "run", tmp_path / "data/images/3.png")
    assert shown.exit_code == 0, shown.output
    with Image.open(tmp_path / "run" / "predictions" / "3_mask.png") as mask:
        assert mask.size == (16, 24)


ENCODER = {"name": "resnet", "blocks": [1, 1, 1], "width": 8}
NETS = {
    "fcn": {},
    "deeplabv3": {"width": 8, "rates": [1, 2]},
    "deeplabv3_plus": {"width": 8},
    "lraspp": {"width": 8},
    "pspnet": {"width": 8, "sizes": [1, 2]},
    "fpn": {"width": 8, "head_width": 8, "groups": 4},
    "encoder_unet": {"width": 4},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_every_net_of_the_zoo_trains_by_a_config(name, tmp_path):
    text = config_text(
        {"name": name, **NETS[name]},
        net__encoder=ENCODER,
        data={"name": "shapes", "size": 33, "num_classes": 3, "train": 64, "test": 8},
        optim={"name": "adam", "learning_rate": 0.01},
        train={"epochs": 1, "batch_size": 16, "eval_every": 0},
    )
    result = run.train(settings(tmp_path, text=text), tmp_path / "run")
    assert 0 < result["test_miou"] <= 1
    assert run.load(tmp_path / "run").settings.net.arguments["encoder"] == ENCODER


REFUSED = [
    ("tta.five_crop=0.5", "tta.five_crop must be unset for the task segmentation, whose predictions of crops do not "
                          "cover the image equally; got 0.5"),
    ("train.sampling=balanced", "train.sampling must be unset for the task segmentation, which has a class for each "
                                "pixel, not one for each image; got 'balanced'"),
    ("augment.mixup=0.2", "augment.mixup must be unset for the task segmentation, whose masks cannot be mixed; cutmix "
                          "pastes them; got 0.2"),
    ("net.padding=valid", "net.name: a net that is trained must return a logit for each class at each pixel, "
                          "[N, 24, 24, 3]; of one image unet returns [1, 8, 8, 3]"),
    ("early_stopping.patience=2 early_stopping.monitor=accuracy", "early_stopping.monitor must be loss or miou, the "
                                                                  "metric of the task segmentation; got 'accuracy'"),
    ("loss.class_weights=[1.0]", "loss.class_weights must be 3 numbers, one for each class; got 1"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_does_not_fit_is_refused_before_the_first_step(tmp_path, change, message):
    with pytest.raises(ConfigError) as caught:
        run.train(given(tmp_path, *change.split(), "data.train=32", "data.size=24"), tmp_path / "run")
    assert str(caught.value) == message
    assert not (tmp_path / "run").exists()


def test_the_config_knows_every_task():
    from typing import get_args, get_type_hints

    from jaxconv.run.config import TaskConfig

    words = [get_args(each) for each in get_args(get_type_hints(TaskConfig)["name"])]
    assert set(tasks) == {name for names in words for name in names}
