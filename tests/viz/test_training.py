"""Confusion matrices and mistakes: what is drawn is what was given, and all of it can be read."""

import io
import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from support.figures import assert_nothing_cut, overlapping

from jaxconv._base.errors import ShapeError
from jaxconv.viz import training as pictures

pytestmark = pytest.mark.sampled

FASHION = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def draw_counts(rng, classes, images=1000):
    """A good net's matrix: most of each row right, some pairs mistaken often."""
    odds = 0.3 * rng.random([classes, classes]) ** 8 / classes + np.diag(rng.uniform(0.8, 0.99, classes))
    return np.stack([rng.multinomial(images, row / row.sum()) for row in odds])


def contrast(one, other):
    """By WCAG 2: from 1, the same, to 21, black on white."""
    light = []
    for color in (one, other):
        rgb = np.array(to_rgb(color))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        light.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return max(light) / min(light)


@pytest.mark.parametrize("classes", [2, 10, 20])
def test_every_count_is_printed_and_can_be_read(classes, rng):
    counts = draw_counts(rng, classes, 1000) * 7
    figure = pictures.confusion(counts, [f"class {number}" for number in range(classes)])
    axes, side, _ = figure.axes
    assert [text.get_text() for text in axes.texts] == [str(count) for count in counts.ravel()]
    image = axes.images[0]
    cells = image.to_rgba(image.get_array())[..., :3].reshape(-1, 3)
    assert min(contrast(text.get_color(), cell) for text, cell in zip(axes.texts, cells, strict=True)) > 4
    for text, (row, column) in zip(axes.texts, np.ndindex(counts.shape), strict=True):
        assert text.get_position() == (column, row)
    recall = 100 * np.diag(counts) / counts.sum(1)
    assert [text.get_text() for text in side.texts] == [f"{value:.1f} %" for value in recall]
    assert_nothing_cut(figure)
    assert not overlapping([*axes.texts[: 2 * classes], *side.texts, axes.title, side.title])
    assert not overlapping(axes.get_yticklabels())


def test_the_colors_are_the_mistakes_and_the_bars_the_recall(rng):
    counts = draw_counts(rng, 10)
    axes, side, bar = pictures.confusion(counts, FASHION).axes
    shown = axes.images[0].get_array()
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), np.eye(10, dtype=bool))
    off = ~np.eye(10, dtype=bool)
    np.testing.assert_allclose(shown.data[off], (counts / counts.sum(1, keepdims=True))[off])
    assert axes.images[0].norm.vmax == shown.max()
    np.testing.assert_allclose(side.patches[0].get_data().values, np.diag(counts) / counts.sum(1))
    assert side.get_ylim() == axes.get_ylim()
    assert side.get_position().y0 == pytest.approx(axes.get_position().y0)
    wrong = counts.sum() - np.trace(counts)
    assert axes.get_title() == f"{wrong:,} of 10,000 images misclassified"
    assert (axes.get_xlabel(), axes.get_ylabel(), side.get_title()) == ("answer", "truth", "recall")
    assert bar.get_ylabel() == "mistakes, share of the row"
    assert [label.get_text() for label in axes.get_xticklabels()] == FASHION
    assert [label.get_text() for label in axes.get_yticklabels()] == FASHION


@pytest.mark.parametrize("classes", [40, 100])
def test_many_classes_are_cells_without_text(classes, rng):
    counts = draw_counts(rng, classes, 100)
    figure = pictures.confusion(counts, [f"a long class name {number}" for number in range(classes)])
    axes, side, _ = figure.axes
    assert axes.images[0].get_array().shape == (classes, classes)
    assert not [*axes.texts, *side.texts]
    assert_nothing_cut(figure)
    assert not overlapping(axes.get_yticklabels())
    assert (len(axes.get_yticklabels()) == classes) == (classes <= 40)


def test_of_a_thousand_classes_the_largest_mistakes_are_seen(rng):
    counts = draw_counts(rng, 1001, 50)
    figure = pictures.confusion(counts, [str(number) for number in range(1001)])
    axes, _, bar = figure.axes
    shares = np.pad(counts / 50 * ~np.eye(1001, dtype=bool), (0, 4))  # 201 blocks of 5
    want = [[shares[i : i + 5, j : j + 5].max() for j in range(0, 1005, 5)] for i in range(0, 1005, 5)]
    np.testing.assert_allclose(axes.images[0].get_array().filled(0), want)
    assert axes.images[0].get_extent() == [-0.5, 1004.5, 1004.5, -0.5]
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 1000.5), (1000.5, -0.5))
    assert bar.get_ylabel() == "mistakes, share of the row, the largest of 5×5 cells"
    assert_nothing_cut(figure)


@pytest.mark.slow
def test_a_class_without_images_and_a_net_without_mistakes():
    names = ["a class name that is much longer than this", "$x$ and 5 $", "c"]
    figure = pictures.confusion(np.diag([9999, 0, 7]) + np.eye(3, k=2, dtype=int), names)
    axes, side, _ = figure.axes
    assert [text.get_text() for text in side.texts] == ["99.99 %", "no image", "100.0 %"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a class name that is …", "$x$ and 5 $", "c"]
    assert_nothing_cut(figure)
    assert_nothing_cut(pictures.confusion(np.diag([3, 5]), ["a", "b"]))
    assert_nothing_cut(pictures.confusion(np.array([[5]]), ["alone"]))


@pytest.mark.parametrize(
    ("names", "channels", "count"),
    [(FASHION, 1, 40), (FASHION, 1, 7), (CIFAR, 3, 9), (CIFAR, 3, 1), ([str(n) for n in range(10)], 1, 11)],
)
def test_mistakes_stand_in_the_order_of_how_sure(names, channels, count, rng):
    images = rng.integers(0, 256, [count, 8, 8, channels], np.uint8)
    labels = rng.integers(0, 10, count)
    answers = (labels + rng.integers(1, 10, count)) % 10
    sure = rng.random(count)
    figure = pictures.mistakes(images, labels, answers, sure, names)
    order = np.argsort(-sure)[:24]
    assert len(figure.axes) == len(order)
    for axes, k in zip(figure.axes, order, strict=True):
        (image,) = axes.images
        np.testing.assert_allclose(image.get_array(), images[k, ..., 0] / 255 if channels == 1 else images[k] / 255)
        assert image.get_interpolation() == "nearest"
        assert image.get_clim() == (0, 1)
        found = re.fullmatch(r"(.+?)\s→ (.+)\s(\d+) %", axes.get_title())
        assert found.groups() == (names[labels[k]], names[answers[k]], f"{100 * sure[k]:.0f}")
    shown = "the 24 surest of 40 mistakes" if count == 40 else "the surest first"
    assert figure.get_suptitle() == f"misclassified: truth → answer, {shown}"
    assert_nothing_cut(figure)
    assert not overlapping([axes.title for axes in figure.axes])


def test_right_answers_are_left_out_and_peak_is_white(rng):
    images = rng.uniform(0, 16, [3, 8, 8, 1])
    figure = pictures.mistakes(images, [0, 1, 2], [0, 2, 1], [1.0, 0.4, 0.6], ["a", "b", "c"], peak=16)
    assert [axes.get_title() for axes in figure.axes] == ["c → b\n60 %", "b → c\n40 %"]
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), images[2, ..., 0] / 16)
    one = pictures.mistakes(images, [0, 1, 2], [0, 2, 1], [1.0, 0.4, 0.6], ["a", "b", "c"], peak=16, most=1)
    assert len(one.axes) == 1


def test_without_a_mistake_the_figure_says_so():
    for images, labels in [(np.zeros([0, 8, 8, 1]), []), (np.zeros([2, 8, 8, 3]), [0, 1])]:
        figure = pictures.mistakes(images, labels, labels, np.ones(len(labels)), ["a", "b"])
        assert [text.get_text() for text in figure.texts] == ["nothing was misclassified"]
        assert_nothing_cut(figure)


def test_a_file_is_the_figure(tmp_path):
    figure = pictures.confusion(np.eye(2, dtype=int), ["a", "b"])
    pictures.save(figure, tmp_path / "confusion.png")
    assert [path.name for path in tmp_path.iterdir()] == ["confusion.png"]
    with Image.open(tmp_path / "confusion.png") as image, Image.open(io.BytesIO(pictures.png(figure))) as again:
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
        assert image.size == again.size == tuple(int(150 * inches) for inches in figure.get_size_inches())
        assert image.tobytes() == again.tobytes()


def test_bad_input_is_told():
    eye, ones = np.eye(2, dtype=int), np.ones(2)
    images = np.zeros([2, 8, 8, 1])
    square = (
        "confusion needs a matrix [C, C] and C classes\n  got: {}\n  fix: row: truth, column: answer, a name for each"
    )
    whole = "confusion needs counts: integers ≥ 0\n  got: {}\n  fix: the counts, not their shares"
    agree = (
        "mistakes needs images [K, H, W, C] of 1 or 3 channels, and labels, answers and probabilities [K]\n"
        "  got: images {}, labels {}, answers (2,), probabilities (2,)\n"
        "  fix: images as they are stored, channels last, and one of each for each"
    )
    named = (
        "each label and answer needs a name\n  got: classes {} and 2 names\n  fix: the names of all classes, in order"
    )
    for call, message in [
        (lambda: pictures.confusion(eye, ["a"]), square.format("shape (2, 2) and 1 classes")),
        (lambda: pictures.confusion(eye[0], ["a", "b"]), square.format("shape (2,) and 2 classes")),
        (lambda: pictures.confusion(eye[:0, :0], []), square.format("shape (0, 0) and 0 classes")),
        (lambda: pictures.confusion(eye / 2, ["a", "b"]), whole.format("dtype float64, smallest 0.0")),
        (lambda: pictures.confusion(-eye, ["a", "b"]), whole.format("dtype int64, smallest -1")),
        (lambda: pictures.mistakes(images[..., 0], [0, 1], [1, 0], ones, "ab"), agree.format((2, 8, 8), (2,))),
        (lambda: pictures.mistakes(images, [0], [1, 0], ones, "ab"), agree.format((2, 8, 8, 1), (1,))),
        (
            lambda: pictures.mistakes(np.zeros([2, 3, 8, 8]), [0, 1], [1, 0], ones, "ab"),
            agree.format((2, 3, 8, 8), (2,)),
        ),
        (lambda: pictures.mistakes(images, [0, 2], [1, 0], ones, "ab"), named.format("0 to 2")),
        (lambda: pictures.mistakes(images, [0, 1], [-1, 0], ones, "ab"), named.format("-1 to 1")),
    ]:
        with pytest.raises(ShapeError) as caught:
            call()
        assert str(caught.value) == message


@pytest.mark.slow
def test_pyplot_is_never_imported_and_matplotlib_only_when_drawing():
    code = """
import sys, numpy as np
from jaxconv.viz import training as pictures
print("matplotlib" in sys.modules)
figures = [
    pictures.training_curves([{"step": 1, "loss": 1.0, "test_accuracy": 0.5}]),
    pictures.confusion(np.eye(2, dtype=int), ["a", "b"]),
    pictures.mistakes(np.zeros([1, 8, 8, 1]), [0], [1], [0.5], ["a", "b"]),
]
print([pictures.png(figure)[1:4] for figure in figures], "matplotlib.pyplot" in sys.modules)
"""
    process = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (process.stderr, process.stdout) == ("", "False\n[b'PNG', b'PNG', b'PNG'] False\n")
