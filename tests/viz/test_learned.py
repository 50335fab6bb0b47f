"""Kernels, feature maps, activations and norms: what is drawn is what was given, and all of it can be read."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.figures import assert_nothing_cut, overlapping

import jaxconv as jc
from jaxconv._base.errors import DataError
from jaxconv.viz.activations import Activation, activations, draw_activations
from jaxconv.viz.features import draw_features
from jaxconv.viz.kernels import draw_kernels, first_kernel, kernel_pixels
from jaxconv.viz.norms import norm_curves

# ---------------------------------------------------------------- kernels


@pytest.mark.parametrize(("size", "count"), [((5, 5), 20), ((3, 3), 64), ((7, 3), 3), ((1, 1), 1), ((3, 3), 100)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kernel_has_its_tile(size, count, channels, rng):
    kernel = rng.normal(size=(*size, channels, count))
    figure = draw_kernels(kernel, "a run: conv0")
    axes, shown = figure.axes[0], min(count, 64)
    pixels = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
    largest = np.abs(kernel[..., :shown]).max()
    fine = max(1, 12 // max(size))
    high, wide = fine * size[0], fine * size[1]
    across = (pixels.shape[1] + 1) // (wide + 1)
    for number in range(shown):
        row, column = divmod(number, across)
        top, left = row * (high + 1), column * (wide + 1)
        tile = pixels[top : top + high : fine, left : left + wide : fine]
        want = kernel[..., 0, number] if channels == 1 else 0.5 + kernel[..., number] / (2 * largest)
        np.testing.assert_allclose(tile, want, atol=1e-12)
    if channels == 1:
        assert axes.images[0].get_clim() == (-largest, largest)
        assert figure.axes[1].get_ylabel() == "weight"
        assert np.isnan(pixels).sum() == pixels.size - shown * high * wide
    else:
        assert axes.get_xlabel() == f"as red, green and blue: gray is 0, white {largest:.2g} and black −{largest:.2g}"
        assert pixels.min() >= 0
        assert pixels.max() <= 1
    many = "the first 64 of 100 kernels" if count > 64 else f"{count} kernel{'s' * (count > 1)}"
    assert axes.get_title() == f"{many} of {size[0]}×{size[1]}"
    assert figure.get_suptitle() == "a run: conv0"
    assert_nothing_cut(figure)


def test_on_other_numbers_of_channels_each_has_a_row(rng):
    kernel = rng.normal(size=(3, 4, 12, 30))
    figure = draw_kernels(kernel)
    axes = figure.axes[0]
    pixels = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
    assert pixels.shape == (8 * 10 - 1, 24 * 13 - 1)  # each weight is 3×3 pixels
    np.testing.assert_array_equal(pixels[5 * 10 : 5 * 10 + 9 : 3, 7 * 13 : 7 * 13 + 12 : 3], kernel[:, :, 5, 7])
    assert axes.get_title() == "the first 24 of 30 kernels of 3×4 on the first 8 of 12 channels"
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"channel {i}" for i in range(8)]
    assert list(axes.get_yticks()) == [4 + 10 * i for i in range(8)]
    assert_nothing_cut(figure)
    assert not overlapping(axes.get_yticklabels())
    assert draw_kernels(kernel[:, :, :2, :5]).axes[0].get_title() == "5 kernels of 3×4 on 2 channels"


def test_kernels_of_one_tap_are_a_matrix(rng):
    kernel = rng.normal(size=(1, 1, 5, 120))
    pixels, words = kernel_pixels(kernel)
    assert pixels.shape == (5, 96, 3)
    assert words.startswith("1×1: the 5 input channels down, the first 96 of 120 output channels across; ")
    blue, matrix = pixels[..., 2].astype(int) - pixels[..., 0], kernel[0, 0, :, :96]
    clear = np.abs(matrix) > 0.02 * np.abs(matrix).max()
    np.testing.assert_array_equal((blue > 0)[clear], (matrix < 0)[clear])
    largest = np.unravel_index(np.abs(kernel[0, 0, :, :96]).argmax(), (5, 96))
    assert pixels[largest].sum() == pixels.sum(-1).min()
    assert kernel_pixels(kernel[:, :, :3, :1])[0].shape == (3, 1, 3)
    assert kernel_pixels(kernel[:, :, :1, :1])[1].startswith(
        "1×1: the 1 input channel down, the 1 output channel across"
    )


def test_the_first_kernel_is_that_of_the_first_layer_that_has_one():
    def born(net):
        return jax.eval_shape(lambda: net.init(jax.random.key(0), (1, 8, 8, 3)))[0]

    stem = jc.chain(jnp.tanh, jc.residual(jc.chain(jc.Conv(3, 3, padding=1), jnp.sin)))
    net = jc.chain(zero=stem, a=jc.Conv(4, 1), head=jc.Dense(2))
    params = born(net)
    path, kernel = first_kernel(net, params)
    assert path == "zero/residual0/body/conv0"
    assert kernel is params["zero"]["residual0"]["body"]["conv0"]["kernel"]
    assert first_kernel(jc.Conv(4, 3), born(jc.Conv(4, 3)))[0] == "conv"
    dense = jc.chain(jc.flatten, jc.Dense(3))
    assert first_kernel(dense, born(dense)) is None
    again = jc.repeat(jc.Conv(3, 3, padding=1), 2)  # five axes: two kernels in one
    assert first_kernel(again, born(again)) is None


# ---------------------------------------------------------------- feature maps


def test_each_layer_has_a_row_of_maps(rng):
    image = rng.uniform(0, 255, (12, 10, 3))
    found = {
        "conv0": rng.normal(size=(1, 12, 10, 4)),
        "stage1/a_block/of_a_long_name/relu0": rng.normal(size=(1, 6, 5, 16)),
        "flatten0": rng.normal(size=(1, 480)),
        "dead": np.zeros((1, 6, 5, 2)),
    }
    figure = draw_features(image, {name: jnp.asarray(y) for name, y in found.items()}, "a run")
    first, *rest = figure.axes
    want = (image - image.min()) / np.ptp(image)
    np.testing.assert_allclose(first.images[0].get_array(), want, atol=1e-6)
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert labels == ["image\n12×10×3", "conv0\n12×10×4", "…ck/of_a_long_name/relu0\n6×5×16", "dead\n6×5×2"]
    assert figure.get_suptitle() == "a run, the first 10 maps"
    rows = [(row, bar, y[0].astype(np.float32)[..., :10]) for row, bar, y in zip(
        rest[::2], rest[1::2], [y for y in found.values() if y.ndim == 4], strict=True
    )]  # fmt: skip
    for row, bar, y in rows:
        limits = (y.min(), y.max()) if y.any() else (0, 1)
        assert len(row.images) == y.shape[-1]
        for number, shown in enumerate(row.images):
            np.testing.assert_array_equal(shown.get_array(), y[..., number])
            assert shown.get_clim() == limits
            assert shown.get_extent()[0] == pytest.approx(number * 1.06)
        assert [text.get_text() for text in bar.get_yticklabels()] == [f"{limit:.2g}" for limit in limits]
    assert_nothing_cut(figure)
    assert not overlapping([axes.yaxis.label for axes in figure.axes])


def test_of_many_layers_some_are_drawn(rng):
    found = {f"conv{i}": rng.normal(size=(1, 4, 4, 2)) for i in range(30)}
    figure = draw_features(rng.normal(size=(4, 4, 1)), found)
    labels = [axes.get_ylabel().split("\n")[0] for axes in figure.axes if axes.get_ylabel()]
    assert labels == ["image", *(f"conv{i}" for i in (0, 3, 5, 8, 11, 13, 16, 18, 21, 24, 26, 29))]
    assert figure.get_suptitle() == "12 of 30 layers"
    assert_nothing_cut(figure)


# ---------------------------------------------------------------- activations


@pytest.mark.slow
def test_activations_are_the_numbers_of_the_layers(rng):
    net = jc.chain(jc.Conv(6, 3), jax.nn.relu, jc.flatten, jc.Dense(5), jax.nn.sigmoid, jc.Dense(4), jnp.tanh)
    x = jnp.asarray(rng.normal(size=(8, 7, 6, 2)), jnp.float32)
    params, state = net.init(jax.random.key(0), x)
    params["conv0"]["bias"] = jnp.array([0.0, -100, 0, 0, -100, 0])  # two dead units
    params["dense0"]["kernel"] *= 4
    params["dense1"]["kernel"] *= 4
    found = {row.layer: row for row in activations(net, params, state, x)}
    assert list(found) == ["conv0", "relu0", "flatten0", "dense0", "sigmoid0", "dense1", "tanh0"]
    maps = np.maximum(np.asarray(jc.conv(x, params["conv0"]["kernel"]) + params["conv0"]["bias"]), 0)
    relu = found["relu0"]
    assert (relu.mean, relu.std) == (pytest.approx(maps.mean(), rel=1e-4), pytest.approx(maps.std(), rel=1e-4))
    assert (relu.zeros, relu.dead) == (pytest.approx((maps == 0).mean()), pytest.approx(2 / 6))
    assert (relu.low, relu.high, relu.saturated, relu.finite) == (0, pytest.approx(maps.max()), None, True)
    hidden = maps.reshape(8, -1) @ np.asarray(params["dense0"]["kernel"]) + np.asarray(params["dense0"]["bias"])
    sigmoid = 1 / (1 + np.exp(-hidden.astype(np.float64)))
    slope = np.exp(-hidden) / (1 + np.exp(-hidden)) ** 2
    assert found["sigmoid0"].saturated == pytest.approx((slope < 0.05 * 0.25).mean())
    assert 0 < found["sigmoid0"].saturated < 1
    out = sigmoid @ np.asarray(params["dense1"]["kernel"], np.float64) + np.asarray(params["dense1"]["bias"])
    assert found["tanh0"].saturated == pytest.approx((1 / np.cosh(out) ** 2 < 0.05).mean())
    assert found["dense0"].saturated is None


@pytest.mark.slow
def test_activations_are_drawn_layer_by_layer(rng):
    net = jc.chain(jc.Conv(6, 3), jax.nn.relu, jc.chain(jc.flatten, jc.Dense(5), jax.nn.sigmoid))
    x = jnp.asarray(rng.normal(size=(8, 7, 6, 2)), jnp.float32)
    found = activations(net, *net.init(jax.random.key(0), x), x)
    figure = draw_activations(found, "a run, 8 test images")
    mean, zeros, flat = figure.axes
    names = ["conv0", "relu0", "chain0/flatten0", "chain0/dense0", "chain0/sigmoid0"]
    assert [label.get_text() for label in mean.get_yticklabels()] == names
    assert mean.get_ylim()[0] > mean.get_ylim()[1]  # the first above
    points = mean.containers[0].lines[0]
    np.testing.assert_allclose(points.get_xdata(), [row.mean for row in found])
    np.testing.assert_array_equal(points.get_ydata(), range(5))
    assert [bar.get_width() for bar in zeros.containers[0]] == [row.zeros for row in found]
    assert [bar.get_width() for bar in zeros.containers[1]] == [row.dead for row in found]
    assert [bar.get_width() for bar in flat.containers[0]][-1] == found[-1].saturated
    assert flat.get_legend().get_texts()[0].get_text() == "slope below 5% of the steepest"
    assert_nothing_cut(figure)
    assert not overlapping([*(axes.title for axes in figure.axes), *mean.get_yticklabels()])
    assert len(draw_activations(found[:2]).axes) == 2


@pytest.mark.slow
def test_of_very_many_layers_some_are_drawn():
    found = [Activation(f"relu{i}", "relu", 1.0, 0.5, 0.0, 2.0, 0.5, 0.1, None, True) for i in range(517)]
    figure = draw_activations(found, "a run")
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert (len(labels), labels[0], labels[-1]) == (60, "relu0", "relu516")
    assert figure.get_suptitle() == "a run, 60 of 517 layers"
    assert_nothing_cut(figure)


def test_numbers_that_are_not_finite_are_named():
    net = jc.chain(jnp.log, jnp.sin)
    found = activations(net, {"log0": {}, "sin0": {}}, {"log0": {}, "sin0": {}}, jnp.array([[1.0, 0.0]]))
    assert [row.finite for row in found] == [False, False]
    figure = draw_activations(found)
    assert [text.get_text() for text in figure.axes[0].texts] == ["NaN or infinity"] * 2
    assert_nothing_cut(figure)


# ---------------------------------------------------------------- norms


def logged(parts, count, rng):
    return [
        {"step": 10 * i, "loss": 1.0, "gradient_norm": float(rng.uniform(0.1, 10)),
         "weight_norms": {f"part{p}": float(rng.uniform(1, 2) * (p + 1)) for p in range(parts)}}
        for i in range(1, count + 1)
    ]  # fmt: skip


@pytest.mark.parametrize(("parts", "count"), [(1, 1), (4, 30), (30, 200)])
def test_the_norms_are_the_numbers(parts, count, rng):
    lines = logged(parts, count, rng)
    figure = norm_curves([{"step": 5, "test_loss": 1.0}, *lines], "a run")
    gradient, weights = figure.axes
    steps = [10 * i for i in range(1, count + 1)]
    assert list(gradient.lines[0].get_xdata()) == steps
    assert list(gradient.lines[0].get_ydata()) == [line["gradient_norm"] for line in lines]
    for number, curve in enumerate(weights.lines):
        assert curve.get_label() == f"part{number}"
        assert list(curve.get_ydata()) == [line["weight_norms"][f"part{number}"] for line in lines]
    looks = {(curve.get_color(), curve.get_linestyle()) for curve in weights.lines}
    assert len(looks) == min(parts, 28)
    assert (gradient.get_yscale(), weights.get_xlabel()) == ("log", "step")
    assert (gradient.get_ylabel(), weights.get_ylabel()) == ("norm of the gradient", "norm of each part's weights")
    assert_nothing_cut(figure)
    assert not overlapping(weights.get_legend().get_texts())
    assert not overlapping(weights.get_yticklabels())
    if count > 1:
        assert sum(bool(label.get_text()) for label in weights.get_yticklabels()) >= 3


def test_a_step_gone_over_again_counts_once_and_zeros_are_left_out():
    lines = [
        {"step": 1, "gradient_norm": 3.0},
        {"step": 2, "gradient_norm": 9.0},
        {"step": 2, "gradient_norm": 4.0, "weight_norms": {"a": 0.0}},
        {"step": 3, "gradient_norm": float("inf"), "weight_norms": {"a": 2.0}},
    ]
    gradient, weights = norm_curves(lines).axes
    assert [list(gradient.lines[0].get_xdata()), list(gradient.lines[0].get_ydata())] == [[1, 2], [3.0, 4.0]]
    assert list(weights.lines[0].get_xdata()) == [3]


# ---------------------------------------------------------------- messages


def test_bad_input_is_told():
    for call, message in [
        (lambda: draw_kernels(np.ones((3, 3, 1))),
         "kernels are drawn from an array [kh, kw, C_in, C_out]\n  got: shape (3, 3, 1)"),
        (lambda: draw_features(np.ones((4, 4)), {"dense0": np.ones((1, 4))}),
         "draw_features needs feature maps [1, h, w, C] of one image\n  got: dense0 (1, 4)"),
        (lambda: draw_features(np.ones((4, 4)), {"conv0": np.ones((2, 4, 4, 1))}),
         "draw_features needs feature maps [1, h, w, C] of one image\n  got: conv0 (2, 4, 4, 1)"),
        (lambda: draw_features(np.ones((4, 4)), {}),
         "draw_features needs feature maps [1, h, w, C] of one image\n  got: nothing"),
        (lambda: activations(jnp.argmax, {}, {}, jnp.ones((2, 3))),
         "at least one layer must have floating-point output\n  got: 1 layers, none of them"),
        (lambda: draw_activations([]), "draw_activations needs the activations of at least one layer\n  got: none"),
        (lambda: norm_curves([{"step": 1, "loss": 2.0}]),
         "this run logged no norms; train with train.log_norms=true to log them"),
    ]:  # fmt: skip
        with pytest.raises((jc.ShapeError, DataError)) as caught:
            call()
        assert str(caught.value) == message


@pytest.mark.slow
def test_pyplot_is_never_imported_and_matplotlib_only_when_drawing():
    code = """
import sys, numpy as np
from jaxconv.viz import activations, features, field_pictures, kernels, norms
print("matplotlib" in sys.modules)
figures = [kernels.draw_kernels(np.ones((3, 3, 1, 2))), norms.norm_curves([{"step": 1, "gradient_norm": 1.0}])]
print(len(figures), "matplotlib.pyplot" in sys.modules)
"""
    process = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (process.stderr, process.stdout) == ("", "False\n2 False\n")
