"""Exported runs of every task, with what their outputs mean, and of photographs that the program resizes itself."""

import json

import jax
import jax.export
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from support.config_text import config_text
from support.tiny_run import invoke, settings

from jaxconv import run
from jaxconv.run import exporting
from jaxconv.run.build import load_dataset

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TRAIN = {"epochs": 0.1, "batch_size": 32, "eval_every": 0}
SGD = {"name": "sgd", "learning_rate": 0.05}
MODULE = """
import numpy as np

from jaxconv import data
from jaxconv.data import Arrays, Dataset


def brightness():
    digits = data.load("digits")
    parts = [Arrays(p.images, p.images.astype(np.float64).mean((2, 3))[:, :2] - 3) for p in (digits.train, digits.test)]
    return Dataset("brightness", *parts, ("top", "second"), digits.mean, digits.std, 16, task="regression")
"""
RESNET = {"name": "resnet_cifar", "depth": 8, "width": 4}
SHAPES = {"name": "shapes", "size": 24, "num_classes": 3, "train": 64, "test": 8}
ENCODER = {"name": "resnet", "blocks": [1, 1], "width": 4}
TASKS = {
    "classification": config_text(RESNET, optim=SGD, train=TRAIN),
    "multilabel": config_text(
        RESNET, data={"name": "digits", "properties": True}, loss={"name": "bce"}, optim=SGD, train=TRAIN
    ),
    "segmentation": config_text(
        {"name": "fcn", "dropout": 0.0}, net__encoder=ENCODER, data=SHAPES, optim=SGD, train=TRAIN,
        tta={"flip": True, "scales": [0.5, 1.0]},
    ),
    "segmentation, U-Net": config_text(
        {"name": "unet", "width": 4, "depth": 1, "padding": "same"}, data=SHAPES, optim=SGD, train=TRAIN
    ),
    "segmentation, windows": config_text(
        {"name": "unet", "width": 4, "depth": 1, "padding": "same"}, data=SHAPES, optim=SGD, train=TRAIN,
        tta={"window": 16},
    ),
    "regression": config_text(
        RESNET, data={"name": "brightness_of_rows:brightness"}, loss={"name": "mse"}, optim=SGD, train=TRAIN
    ),
    "reconstruction": config_text(
        {"name": "autoencoder", "code": 8, "widths": [4]}, task={"name": "reconstruction"}, loss={"name": "mse"},
        optim=SGD, train=TRAIN,
    ),
}  # fmt: skip
OUTPUTS = {
    "classification": ("log_probabilities", "log-probability of each class", [10]),
    "multilabel": ("log_probabilities", "log-probability that each label is present", [3]),
    "segmentation": ("log_probabilities", "log-probability of each class at each pixel", [24, 24, 3]),
    "regression": ("predictions", "each target, in the units of its labels", [2]),
    "reconstruction": ("predictions", "the image, normalized: pixel = prediction * std + mean", [8, 8, 1]),
}


def trained(text, folder, monkeypatch):
    (folder / "brightness_of_rows.py").write_text(MODULE)
    monkeypatch.chdir(folder)
    run.train(settings(folder, text=text), folder / "run")
    return run.load(folder / "run")


def session(path):
    made = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return made, lambda images: made.run(None, {"images": images})[0]


def close(got, want):
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, atol=1e-4 * max(1, np.abs(want).max()), rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_every_task_in_every_format(name, tmp_path, no_pictures, monkeypatch):
    """Random images and real ones, of batches of 1 and several, against the run's own predictions."""
    loaded = trained(TASKS[name], tmp_path, monkeypatch)
    for target in ("net.onnx", "net.jaxexport", "net.safetensors"):
        result = invoke("export", "run", target)
        assert (result.exit_code, result.stderr) == (0, ""), target
    result = invoke("export", "run", "--triton", "models")
    assert (result.exit_code, result.stderr) == (0, "")

    file, answer = session("net.onnx")
    scale = np.float32(loaded.input.peak / 255)
    random = np.random.default_rng(0).integers(0, 256, (5, *loaded.input.shape)).astype(np.uint8)
    real = np.round(_test_images(loaded) / scale).astype(np.uint8)
    for images in (random, random[:1], real):
        want = np.asarray(loaded.outputs(images.astype(np.float32) * scale))
        close(answer(images), want)
        exported = jax.export.deserialize(bytearray((tmp_path / "net.jaxexport").read_bytes()))
        close(np.asarray(exported.call(images)), want)
    _, served = session(str(tmp_path / "models" / "run" / "1" / "model.onnx"))
    close(served(real), want)
    labels = (tmp_path / "models" / "run" / "labels.txt").read_text().splitlines()
    assert labels == list(loaded.input.classes)

    metadata = {key: json.loads(value) for key, value in file.get_modelmeta().custom_metadata_map.items()}
    task = name.partition(",")[0]
    assert (metadata["task"], metadata["classes"]) == (task, list(loaded.input.classes))
    assert tuple(metadata["output"].values()) == OUTPUTS[task]
    assert file.get_outputs()[0].name == OUTPUTS[task][0]
    assert json.loads((tmp_path / "net.jaxexport.json").read_text()) == metadata
    operators = {each.op_type for each in _nodes("net.onnx")}
    assert "Sqrt" not in operators
    theirs, ours = (load_file(file) for file in ("net.safetensors", tmp_path / "run" / "params.safetensors"))
    assert sorted(a.size for name, a in theirs.items() if "num_batches" not in name) == sorted(
        a.size for a in ours.values() if a.ndim
    )


def _test_images(loaded):
    return np.stack([load_dataset(loaded.settings).test[number][0] for number in range(4)]).astype(np.float32)


def _nodes(path):
    return onnx.load(path).graph.node


@pytest.mark.slow
def test_branches_are_merged(tmp_path, no_pictures, monkeypatch):
    text = config_text({"name": "repvgg", "blocks": [1, 2], "widths": [4, 8]}, optim=SGD, train=TRAIN)
    loaded = trained(text, tmp_path, monkeypatch)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1)).astype(np.uint8)
    want = np.asarray(loaded.outputs(images.astype(np.float32) * 16 / 255))
    for fold, convolutions in ((None, 4), (False, 8)):
        run.export(loaded, tmp_path / "net.onnx", fold=fold)
        assert sum(each.op_type == "Conv" for each in _nodes("net.onnx")) == convolutions
        close(session("net.onnx")[1](images), want)
    ensemble = exporting._folded(loaded.net, *_stacked(loaded), loaded.input.shape, True)
    assert ensemble[1]["stem"]["branches"]["kernel"].shape == (2, 3, 3, 1, 4)


def _stacked(loaded):
    return jax.tree.map(lambda leaf: np.stack([leaf, leaf]), (loaded.params, loaded.state))


# ---------------------------------------------------------------- resizing


@pytest.fixture
def photos(tmp_path):
    """A folder of photographs in two classes, of several sizes."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 4)):
        for number in range(count):
            place = tmp_path / "photos" / part / "ab"[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (30, 40, 3)).astype(np.uint8)).save(place / f"{number}.png")
    return tmp_path / "photos"


def of_photos(root, **data):
    return config_text(
        RESNET,
        data={"name": "images", "root": str(root), "size": 16, **data},
        optim=SGD,
        train=TRAIN | {"batch_size": 4},
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "channels"), [({}, 3), ({"interpolation": "bilinear"}, 3), ({"interpolation": "bicubic"}, 1)]
)
def test_photographs_are_resized_inside(options, channels, tmp_path, photos, no_pictures, monkeypatch):
    """The answers of `jaxconv predict` about files of one size, from their pixels."""
    loaded = trained(of_photos(photos, channels=channels, **options), tmp_path, monkeypatch)
    assert loaded.input.interpolation == options.get("interpolation", "lanczos")
    files = sorted((photos / "val").rglob("*.png"))
    want = np.asarray(loaded.outputs(np.stack([loaded.picture(file).pixels for file in files])))
    images = np.stack([np.asarray(Image.open(file).convert("L" if channels == 1 else "RGB")) for file in files])
    images = images.reshape(4, 30, 40, channels)
    for target in ("net.onnx", "net.jaxexport"):
        result = invoke("export", "run", target, "--image-size", "30x40")
        assert (result.exit_code, result.stderr) == (0, "")
    file, answer = session("net.onnx")
    close(answer(images), want)
    assert file.get_inputs()[0].shape == ["n", 30, 40, channels]
    close(np.asarray(jax.export.deserialize(bytearray((tmp_path / "net.jaxexport").read_bytes())).call(images)), want)
    found = json.loads(file.get_modelmeta().custom_metadata_map["input"])
    assert found["shape"] == [30, 40, channels]
    assert found["resize"] == {"size": [16, 16], "shorter": 16, "filter": loaded.input.interpolation}
    run.write_repository(loaded, tmp_path / "models", image_size=(30, 40))
    assert "dims: [30, 40, " in (tmp_path / "models" / "run" / "config.pbtxt").read_text()


@pytest.mark.slow
def test_pixels_are_predicted_of_whole_images(tmp_path, no_pictures, monkeypatch):
    loaded = trained(TASKS["segmentation, U-Net"], tmp_path, monkeypatch)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    Image.fromarray(pixels).save("x.png")
    run.export(loaded, tmp_path / "net.onnx", image_size=(30, 40))
    want = np.asarray(loaded.outputs(loaded.picture("x.png").pixels[None]))
    assert want.shape == (1, 24, 32, 3)
    close(session("net.onnx")[1](pixels[None]), want)


@pytest.mark.slow
def test_what_cannot_be_resized(tmp_path, no_pictures, monkeypatch):
    text = config_text(optim=SGD, train=TRAIN)
    trained(text, tmp_path, monkeypatch)
    said = {
        ("--image-size", "30x40"): "images can be resized inside of an exported program if they are photographs\n"
        "  got: a run whose images are padded with their background, which ONNX cannot measure\n"
        "  fix: leave out --image-size, and resize images to 8×8 before",
        ("--image-size", "30"): "--image-size must be HEIGHTxWIDTH in pixels, such as 375x500; got 30",
        ("--image-size", "30x40", "--no-preprocess"): "images that are normalized already cannot be resized; "
        "leave out --image-size or --no-preprocess",
    }
    for options, message in said.items():
        result = invoke("export", "run", "net.onnx", *options)
        assert (result.exit_code, result.stderr) == (2, f"error: {message}\n")
    result = invoke("export", "run", "net.safetensors", "--image-size", "30x40")
    assert result.stderr == (
        "error: a .safetensors file has the weights alone; leave out --image-size, or export .onnx or .jaxexport\n"
    )
    assert not (tmp_path / "net.onnx").exists()
