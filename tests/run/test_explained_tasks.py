"""`jaxconv explain` of segmentation, multi-label and regression runs, and of nets of the registry without a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support import finished_run
from support.config_text import config_text
from support.figures import assert_nothing_cut
from support.tiny_run import invoke

from jaxconv import ConfigError, explain, models, port, run
from jaxconv.models._registry import make_net
from jaxconv.run.explanations import explainer, last_maps
from jaxconv.run.predict import pretrained
from jaxconv.run.readings import READINGS, Asked
from jaxconv.run.regions import Region, parse_region, region_mask

REST = {"optim": {"name": "adam", "learning_rate": 0.01}, "train": {"epochs": 1, "batch_size": 16}}
SHAPES = config_text(
    {"name": "unet", "width": 4, "depth": 1, "padding": "same"},
    data={"name": "shapes", "size": 16, "num_classes": 3, "train": 8, "test": 2},
    **REST,
)
LABELS = config_text({"features": [4], "hidden": []}, data={"name": "digits", "properties": True},
                     loss={"name": "bce"}, **REST)  # fmt: skip
AUTOENCODER = config_text({"name": "autoencoder", "code": 4, "widths": [4]}, task={"name": "reconstruction"},
                          loss={"name": "mse"}, **REST)  # fmt: skip
ALL = "gradcam, gradcam++, saliency, smoothgrad, integrated-gradients, guided-backprop, occlusion"


def untrained(folder, text):
    folder.mkdir()
    finished_run.write_untrained(folder, text)
    return folder


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("segmentation") / "shapes", SHAPES)


@pytest.fixture
def photo(tmp_path, rng):
    path = tmp_path / "photo.png"
    Image.fromarray(rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)).save(path)
    return path


def panels(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


# ---------------------------------------------------------------- readings


def asked(**words):
    return Asked(("background", "circle", "square"), **words)


def scores_of(mask):
    return np.eye(3, dtype=np.float32)[np.asarray(mask)]


def test_a_segmentation_is_explained_over_its_mask():
    mask = [[0, 0, 0], [0, 1, 1], [0, 0, 2]]
    found = READINGS["segmentation"](scores_of(mask), asked())
    assert found.labels == [1]  # the largest but the background
    np.testing.assert_array_equal(found.where, np.array(mask) == 1)
    assert found.caption == "circle\nover 2 pixels"
    assert found.lines == [("background", "66.7%"), ("circle", "22.2%"), ("square", "11.1%")]
    assert READINGS["segmentation"](scores_of(mask), asked(label=2)).caption == "square\nover 1 pixel"
    nothing = READINGS["segmentation"](scores_of(np.zeros([2, 2], int)), asked())
    assert (nothing.labels, nothing.where.all()) == ([0], True)


def test_pixels_of_a_segmentation_have_the_class_that_is_predicted_there():
    mask = np.array([[0, 0, 0], [0, 1, 1], [0, 0, 2]])
    where = np.zeros([3, 3], bool)
    where[2, 1:] = where[0, 0] = True
    found = READINGS["segmentation"](scores_of(mask), asked(where=where))
    assert found.labels == [0]
    np.testing.assert_array_equal(found.where, where)
    assert READINGS["segmentation"](scores_of(mask), asked(where=where, label=1)).labels == [1]


def test_a_class_that_is_predicted_nowhere():
    with pytest.raises(ConfigError) as caught:
        READINGS["segmentation"](scores_of([[0, 1]]), asked(label=2, name="a.png"))
    assert str(caught.value) == (
        "square is predicted at no pixel of a.png; --pixels ROW,COLUMN, to explain why not, or --class background"
    )


def test_each_predicted_label_is_explained():
    logits = np.array([2.0, -1.0, 0.5])
    p = 1 / (1 + np.exp(-logits))
    found = READINGS["multilabel"](logits, asked())
    assert found.labels == [0, 2]
    assert found.lines == [("background", f"{p[0]:.1%}"), ("square", f"{p[2]:.1%}")]
    assert found.caption == f"background, {p[0]:.1%}\nsquare, {p[2]:.1%}"
    one = READINGS["multilabel"](logits, asked(label=1))
    assert one.labels == [1]
    assert one.caption.endswith(f"\nexplained: circle, {p[1]:.1%}")
    none = READINGS["multilabel"](-5 - logits**2, asked())
    assert none.labels == [2]
    assert none.lines == [("no label", f"the most probable is square with {1 / (1 + np.exp(5.25)):.1%}")]
    many = READINGS["multilabel"](np.ones(9), Asked(tuple("abcdefghi")))
    assert many.labels == [0, 1, 2, 3, 4, 5]


def test_a_target_of_a_regression_is_named():
    values = np.array([1.0, -2.5])
    found = READINGS["regression"](values, Asked(("mass", "size"), label=1))
    assert (found.labels, found.caption) == ([1], "size -2.5")
    assert found.lines == [("mass", "1"), ("size", "-2.5")]
    assert READINGS["regression"](values[:1], Asked(("mass",))).labels == [0]
    with pytest.raises(ConfigError) as caught:
        READINGS["regression"](values, Asked(("mass", "size")))
    assert str(caught.value) == "--class must name the target to explain; expected one of mass, size"


# ---------------------------------------------------------------- regions


@pytest.mark.parametrize("text", ["", "3", "3,", "3,4,5", "a,b", "-1,2", "5:5,1", "5:3,1", "1.5,2", ":,:", "1,2:"])
def test_a_text_that_is_no_region(text):
    with pytest.raises(ConfigError) as caught:
        parse_region(text)
    message = f"--pixels must be ROW,COLUMN or ranges of them, as 30,40 or 10:40,20:60; got {text!r}"
    assert str(caught.value) == message


def test_a_region_has_the_pixels_that_it_names():
    mask = np.zeros([9, 7], bool)
    mask[2:5, 6] = True
    np.testing.assert_array_equal(region_mask(parse_region("2:5,6"), (9, 7), (9, 7), "a"), mask)
    larger = region_mask(parse_region("2:5,6"), (9, 7), (18, 14), "a")
    np.testing.assert_array_equal(larger, mask.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("shape", [(3, 2), (5, 7), (1, 1), (90, 4)])
def test_a_pixel_has_at_least_one_of_the_nets_image(shape):
    for row in range(0, 31, 5):
        for column in range(0, 17, 4):
            assert region_mask(Region((row, row + 1), (column, column + 1)), (31, 17), shape, "a").any()
    assert region_mask(Region((0, 31), (0, 17)), (31, 17), shape, "a").all()


# ---------------------------------------------------------------- the command


@pytest.mark.slow
def test_a_segmentation_with_every_method(segmenter, photo, tmp_path):
    result = invoke("explain", segmenter, photo, "--method", ALL, "--pixels", "4:12,30", "--class", "circle")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[1] == f"wrote {segmenter / 'explanations' / 'photo.png'}"
    found = run.load(segmenter)
    net = make_net("unet", found.settings.net.arguments, 3)
    pixels = found.picture(photo).pixels
    assert pixels.shape == (16, 24, 3)
    where = region_mask(parse_region("4:12,30"), (32, 48), (16, 24), "photo.png")
    assert where.sum() == 4
    explained = explainer(found, ALL.split(", "), label="circle")
    x = found.prepare(jnp.asarray(pixels)[None])

    def f(x):
        return net.apply(found.params, found.state, x)[0]

    def target(y):
        return y[:, 2:6, 15, 1].sum(1)

    got = explained.programs["integrated-gradients"](pixels[None], 1, where)[0]
    want = explain.integrated_gradients(f, x, target)[0].sum(-1)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
    layer = explained.layer
    assert layer == "bottom"
    cam = explain.grad_cam(explain.at_layer(net, found.params, found.state, layer), x, target)[0]
    np.testing.assert_allclose(explained.programs["gradcam"](pixels[None], 1, where)[0], cam, rtol=1e-3, atol=1e-6)
    figure = explained(pixels, "photo.png", where).figure
    assert panels(figure)[:2] == ["circle\nover 4 pixels", "gradcam\nbottom"]
    assert_nothing_cut(figure)
    [black, white] = (axes for axes in figure.axes[0].collections)
    assert len(black.get_segments()) == len(white.get_segments()) == 10  # around 4×1 pixels


@pytest.mark.slow
def test_labels_have_a_panel_each(tmp_path, rng):
    folder = untrained(tmp_path / "labels", LABELS)
    Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / "a.png")
    found = run.load(folder)
    pixels = found.picture(tmp_path / "a.png").pixels
    p = np.asarray(found.probabilities(pixels[None]))[0]
    present = [found.input.classes[k] for k in np.argsort(-p) if p[k] > 0.5] or [found.input.classes[p.argmax()]]
    explained = explainer(found, ["saliency"])(pixels, "a.png")
    if len(present) > 1:
        assert panels(explained.figure)[1:] == [f"saliency\n{name}" for name in present]
    result = invoke("explain", folder, tmp_path / "a.png", "--class", "loop", "--method", "occlusion")
    assert (result.exit_code, result.stderr) == (0, "")
    result = invoke("explain", folder, tmp_path / "a.png", "--class", "odd")
    known = "loop, even, above 4, or an index from 0 to 2"
    assert result.stderr.startswith(f"error: no label 'odd' of 3 labels; expected one of {known}")


@pytest.mark.slow
def test_a_target_of_a_regression(tmp_path, rng):
    images = rng.integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
    numbers = images.mean((1, 2)).repeat(2, 1) * [1, -1]
    np.savez(tmp_path / "set.npz", train_images=images, train_labels=numbers, test_images=images,
             test_labels=numbers, classes=["light", "dark"])  # fmt: skip
    text = config_text({"features": [4], "hidden": []}, data={"name": "npz", "root": str(tmp_path / "set.npz")},
                       loss={"name": "mse"}, **REST)  # fmt: skip
    folder = untrained(tmp_path / "numbers", text)
    Image.fromarray(images[0, ..., 0]).save(tmp_path / "a.png")
    result = invoke("explain", folder, tmp_path / "a.png", "--no-invert")
    message = "error: --class must name the target to explain; expected one of light, dark\n"
    assert (result.exit_code, result.stderr) == (2, message)
    assert not (folder / "explanations").exists()
    result = invoke("explain", folder, tmp_path / "a.png", "--no-invert", "--class", "dark")
    found = run.load(folder)
    values = np.asarray(found.outputs(found.picture(tmp_path / "a.png", False).pixels[None]))[0]
    first = f"{tmp_path / 'a.png'}: light  {values[0]:.4g}, dark  {values[1]:.4g}"
    assert result.stdout.splitlines()[0] == first
    for word, message in [
        ("age", "no target 'age' of 2 targets; expected one of light, dark, or an index from 0 to 1"),
        ("2", "no target '2' of 2 targets; expected one of light, dark, or an index from 0 to 1"),
    ]:
        assert invoke("explain", folder, tmp_path / "a.png", "--class", word).stderr.startswith(f"error: {message}")


@pytest.mark.slow
def test_errors_of_a_segmentation_are_lines(segmenter, photo, tmp_path):
    folder = untrained(tmp_path / "autoencoder", AUTOENCODER)
    known = "background, circle, square, or an index from 0 to 2"
    for words, message in [
        ((segmenter, photo, "--pixels", "32,0"),
         "--pixels must be within the image; photo.png has pixels 0,0 to 31,47, got 32,0"),
        ((segmenter, photo, "--pixels", "0,40:49"),
         "--pixels must be within the image; photo.png has pixels 0,0 to 31,47, got 0,40:49"),
        ((segmenter, photo, "--pixels", "five"),
         "--pixels must be ROW,COLUMN or ranges of them, as 30,40 or 10:40,20:60; got 'five'"),
        ((segmenter, photo, "--class", "star"), f"no class 'star' of 3 classes; expected one of {known}"),
        ((segmenter, photo, "--method", "pgd"),
         f"pgd attacks the class of an image, which segmentation has not; expected one of {ALL}"),
        ((segmenter,), "explain needs at least one image: jaxconv explain RUN photo.jpg"),
        ((folder, photo), "explain needs a net for classification, multilabel, regression, or segmentation; "
         f"{folder} is one for reconstruction"),
    ]:  # fmt: skip
        result = invoke("explain", *words)
        assert (result.exit_code, result.stdout) == (2, ""), words
        assert result.stderr.startswith(f"error: {message}"), result.stderr
    assert not (folder / "explanations").exists()


def test_the_layer_of_class_activation_maps():
    known = {"stem": (1, 16, 16, 8), "bottom": (1, 4, 4, 32), "up": (1, 8, 8, 32), "head": (1, 16, 16, 3)}
    assert last_maps(known, dense=False) == "head"
    assert last_maps(known, dense=True) == "up"
    assert last_maps({}, dense=True) == ""


# ---------------------------------------------------------------- without a run


@pytest.mark.slow
def test_a_net_of_the_registry(tmp_path, photo, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = models.lenet5(num_classes=10)
    params, state = net.init(jax.random.key(1), (1, 32, 32, 3))
    file = tmp_path / "lenet.safetensors"
    port.save(file, net, params, state, x=(1, 32, 32, 3))
    words = ("--net", "lenet5", "--weights", file, "--size", 32, "--shorter", 36)
    result = invoke("explain", photo, *words, "--method", "gradcam,saliency")
    assert (result.exit_code, result.stderr) == (0, "")
    found = pretrained("lenet5", file, size=32, shorter=36)
    assert found.input.classes == tuple("0123456789")
    pixels = found.picture(photo).pixels
    chance = np.asarray(found.probabilities(pixels[None]))[0]
    assert result.stdout.splitlines() == [
        f"{photo}: {chance.argmax()}  {chance.max():.1%}", "wrote explanations/photo.png",
    ]  # fmt: skip
    explained = explainer(found, ["saliency"], title="lenet5")
    x = found.prepare(jnp.asarray(pixels)[None])
    want = explain.saliency(lambda x: net.apply(params, state, x)[0], x, 3)[0]
    np.testing.assert_allclose(explained.programs["saliency"](pixels[None], 3, None)[0], want, rtol=1e-3, atol=1e-6)
    assert explained(pixels, "a").figure.get_suptitle() == "lenet5, a"
    (tmp_path / "two.txt").write_text("a\nb\n")
    for wrong, message in [
        (("--net", "resnet18", *words[2:]), f"error: {file} does not fit"),
        ((*words, "--names", tmp_path / "two.txt"), f"error: {file} does not fit"),
        (("--net", "lenet6", *words[2:]), "error: net.name: "),
        (("--net", "autoencoder", *words[2:]), "error: autoencoder must have a default number of classes; it has none"),
        (("--net", "lenet5"), "error: --net requires --weights FILE"),
        (("--weights", file), "error: --weights and --names require --net, the net that they belong to"),
        ((*words, "--pixels", "3,4"), "error: --pixels is of a net for segmentation; got one for classification"),
    ]:
        result = invoke("explain", photo, *wrong)
        assert (result.exit_code, result.stdout) == (2, ""), wrong
        assert result.stderr.startswith(message), (wrong, result.stderr)


@pytest.mark.slow
def test_a_segmentation_net_of_the_registry(tmp_path, photo):
    net = models.lraspp_mobilenet_v3_large()
    params, state = jax.jit(lambda: net.init(jax.random.key(1), (1, 64, 64, 3)))()
    file = tmp_path / "net.safetensors"
    port.save(file, net, params, state, x=(1, 64, 64, 3))
    words = ("--net", "lraspp_mobilenet_v3_large", "--weights", file, "--size", 64)
    found = pretrained("lraspp_mobilenet_v3_large", file, size=64)
    assert found.task_name == "segmentation"
    assert found.input.classes[:3] == ("background", "aeroplane", "bicycle")
    for command in ("explain", "predict"):
        result = invoke(command, photo, *words, "--out", tmp_path / command)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "explain" / "photo.png").is_file()
    assert (tmp_path / "predict" / "photo_mask.png").is_file()
