"""`jaxconv explain RUN IMAGE`: the pictures, and the command's errors as a user meets them."""

import jax
import numpy as np
import pytest
from PIL import Image
from support import finished_run
from support.config_text import config_text
from support.figures import assert_nothing_cut
from typer.testing import CliRunner

from jaxconv import explain, run
from jaxconv.cli.commands import app
from jaxconv.cli.explain import _METHODS
from jaxconv.models._registry import make_net
from jaxconv.run.explanations import explainer
from jaxconv.run.methods import METHODS
from jaxconv.training.ensemble import member

CONFIG = config_text(
    {"features": [4, 6], "kernel_size": 3, "padding": "same", "hidden": [8]},
    optim={"name": "sgd", "learning_rate": 0.5},
    train={"epochs": 1, "batch_size": 48},
)
LAYERS = "conv0, max_pool0, relu0, conv1, max_pool1, relu1"
NAMES = "gradcam, gradcam++, saliency, smoothgrad, integrated-gradients, guided-backprop, occlusion, fgsm, pgd"


def invoke(*arguments):
    return CliRunner().invoke(app, ["explain", *map(str, arguments)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain") / "a run"
    folder.mkdir()
    finished_run.write_untrained(folder, CONFIG)
    return folder


@pytest.fixture
def image(tmp_path, rng):
    path = tmp_path / "three.png"
    Image.fromarray(rng.integers(0, 200, (24, 61), dtype=np.uint8)).save(path)
    return path


def own(folder, path):
    """f of prepared images, and the prepared image, [1, 8, 8, 1]."""
    found = run.load(folder)
    net = make_net("conv_pool", found.settings.net.arguments, 10)
    return found, net, found.prepare(found.picture(path).pixels[None])


def panels(figure):
    """Titles of the panels, without those of their scales."""
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_a_picture_for_each_image_goes_to_the_runs_folder(finished, image, rng):
    other = image.with_name("wide.jpg")
    Image.fromarray(rng.integers(0, 200, (20, 90, 3), dtype=np.uint8)).save(other)
    result = invoke(finished, image, other)
    assert (result.exit_code, result.stderr) == (0, "")
    expected = []
    for path in (image, other):
        chance = np.asarray(run.load(finished).probabilities(run.load(finished).picture(path).pixels[None]))[0]
        expected += [f"{path}: {chance.argmax()}  {chance.max():.1%}"]
        expected += [f"wrote {finished / 'explanations' / path.stem}.png"]
        with Image.open(finished / "explanations" / f"{path.stem}.png") as picture:
            assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)
    assert result.stdout.splitlines() == expected


@pytest.mark.slow
def test_every_method_is_drawn_with_its_values(finished, image):
    found, net, x = own(finished, image)
    assert list(METHODS) == NAMES.split(", ")
    assert _METHODS == NAMES
    pixels = found.picture(image).pixels
    explained = explainer(found, list(METHODS), epsilon=0.25)(pixels, "three.png")
    assert panels(explained.figure)[1:3] == ["gradcam\nrelu1", "gradcam++\nrelu1"]
    last = panels(explained.figure)[-2:]
    assert last[0].startswith("pgd\n")
    assert last[1] == "pgd: perturbation\nε = 0.25 of the range"
    assert explained.figure.get_suptitle() == "a run, three.png"
    assert_nothing_cut(explained.figure)

    def f(x):
        return net.apply(found.params, found.state, x)[0]

    best = int(f(x).argmax())
    assert explained.lines == [(str(best), f"{jax.nn.softmax(f(x))[0, best]:.1%}")]
    assert panels(explained.figure)[0] == f"{best}, {jax.nn.softmax(f(x))[0, best]:.1%}"
    shown = explainer(found, ["saliency"])
    heat = np.asarray(explain.saliency(f, x, best))[0]
    got = shown.programs["saliency"](jax.numpy.asarray(pixels[None]), best, None)[0]
    np.testing.assert_allclose(got, heat, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_layer_and_a_class_are_chosen(finished, image, tmp_path):
    words = ("--method", "gradcam,saliency", "--method", "fgsm", "--layer", "conv0", "--class", 7, "--epsilon", 0.02)
    result = invoke(finished, image, *words, "--out", tmp_path / "deep" / "er")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["three.png"]
    found, net, x = own(finished, image)
    picture = explainer(found, ["gradcam", "fgsm"], layer="conv0", label="7", epsilon=0.02)
    explained = picture(found.picture(image).pixels, "three.png")
    chance = jax.nn.softmax(net.apply(found.params, found.state, x)[0])[0]
    best = int(chance.argmax())
    assert best != 7
    first, second = panels(explained.figure)[:2]
    assert first == f"{best}, {chance[best]:.1%}\nexplained: 7, {chance[7]:.1%}"
    assert second == "gradcam\nconv0"
    pixels = jax.numpy.asarray(found.picture(image).pixels)[None]
    toward = picture.programs["fgsm"](pixels, 7, None)
    assert toward.min() >= 0
    assert toward.max() <= 16
    assert np.abs(toward - pixels).max() == pytest.approx(0.32, rel=1e-4)
    then = jax.nn.softmax(picture.programs["scores"](toward)[0])
    assert then[7] > chance[7]  # an attack towards the class


@pytest.mark.slow
def test_the_first_member_of_an_ensemble_is_explained(image, tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    finished_run.write_untrained(folder, CONFIG + "\n[ensemble]\nsize = 2\n")
    found, net, x = own(folder, image)
    explained = explainer(found, ["integrated-gradients"])(found.picture(image).pixels, "three.png")
    first, state = member(found.params, 0), member(found.state, 0)
    chance = jax.nn.softmax(net.apply(first, state, x)[0])[0]
    assert explained.lines == [(str(int(chance.argmax())), f"{float(chance.max()):.1%}")]
    assert explained.figure.get_suptitle() == "two, member 1 of 2, three.png"


def test_errors_are_lines(finished, image, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    ten = "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    cases = [
        (("--method", "gradcm"), f"unknown method 'gradcm'; expected one of {NAMES}; did you mean 'gradcam'?"),
        (("--method", "saliency,x"), f"unknown method 'x'; expected one of {NAMES}"),
        (("--layer", "conv2"), f"no layer 'conv2' with feature maps; expected one of {LAYERS}; did you mean 'conv1'?"),
        (("--layer", "head"), f"no layer 'head' with feature maps; expected one of {LAYERS}"),
        (("--class", 10), f"no class '10' of 10 classes; expected one of {ten}, or an index from 0 to 9"),
        (("--class", -1), f"no class '-1' of 10 classes; expected one of {ten}, or an index from 0 to 9"),
        (("--epsilon", 0), "--epsilon must be a fraction of the range of pixels, above 0 and at most 1; got 0.0"),
        ((text,), f"{text} is not a readable picture"),
        ((image,), "pictures are named after their images, whose names must differ; got three twice"),
    ]
    for words, message in cases:
        result = invoke(finished, image, *words)
        assert (result.exit_code, result.stdout) == (2, ""), words
        assert result.stderr.startswith(f"error: {message}"), result.stderr
        assert "Traceback" not in result.stderr
    missing = invoke("runs/nowhere", image)
    assert (missing.exit_code, missing.stderr.split(";")[0]) == (2, "error: there is no run runs/nowhere\n")
    taken = invoke(finished, image, "--out", finished / "result.json")
    assert (taken.exit_code, taken.stderr) == (74, f"error: cannot write {finished}/result.json: File exists\n")


@pytest.mark.slow
def test_a_net_without_feature_maps_and_another_task(image, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    finished_run.write_untrained(plain, CONFIG.replace("features = [4, 6]", "features = []"))
    result = invoke(plain, image)
    message = "error: gradcam needs a layer with feature maps; this net has none: --method saliency\n"
    assert (result.exit_code, result.stderr) == (2, message)
    assert invoke(plain, image, "--method", "integrated-gradients").exit_code == 0
