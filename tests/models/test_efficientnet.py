"""EfficientNet: counts as published, numbers as torch's, the scaling rule."""

import importlib

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv import models

pytestmark = pytest.mark.sampled

# Size, parameters and GFLOPS (multiplications with their additions in convolutions and dense layers, taps on padding
# among them: `Summary.macs`) as torchvision 0.15 documents them for its weights of these nets.
PUBLISHED = {
    "efficientnet_b0": (224, 5_288_548, 0.386),
    "efficientnet_b1": (240, 7_794_184, 0.687),
    "efficientnet_b2": (288, 9_109_994, 1.088),
    "efficientnet_b3": (300, 12_233_232, 1.827),
    "efficientnet_b4": (380, 19_341_616, 4.394),
    "efficientnet_b5": (456, 30_389_784, 10.266),
    "efficientnet_b6": (528, 43_040_704, 19.068),
    "efficientnet_b7": (600, 66_347_960, 37.746),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiplications_as_published(name):
    size, parameters, gigas = PUBLISHED[name]
    found = jc.summary(models.registry[name](), (1, size, size, 3))
    assert (found.parameters, round(found.macs / 1e9, 3)) == (parameters, gigas)


# (c_in, kernel, hidden, c_out, squeezed, stride) of B0's blocks.
B0 = [
    [(32, 3, 32, 16, 8, 1)],
    [(16, 3, 96, 24, 4, 2), (24, 3, 144, 24, 6, 1)],
    [(24, 5, 144, 40, 6, 2), (40, 5, 240, 40, 10, 1)],
    [(40, 3, 240, 80, 10, 2), (80, 3, 480, 80, 20, 1), (80, 3, 480, 80, 20, 1)],
    [(80, 5, 480, 112, 20, 1), (112, 5, 672, 112, 28, 1), (112, 5, 672, 112, 28, 1)],
    [(112, 5, 672, 192, 28, 2), *[(192, 5, 1152, 192, 48, 1)] * 3],
    [(192, 3, 1152, 320, 48, 1)],
]


@pytest.mark.slow
def test_a_small_one_equals_torch(rng):
    pytest.importorskip("torch")
    from models.parity import check
    from models.torch_nets import inverted

    stages = ((1, 3, 16, 1, 1), (6, 5, 24, 2, 2))
    net = models.efficientnet(5, width=0.5, stages=stages, dropout=0.0, drop_path=0.0, momentum=0.99, eps=1e-3)
    theirs = [[(16, 3, 16, 8, 4, 1)], [(8, 5, 48, 16, 2, 2), (16, 5, 96, 16, 4, 1)]]
    module = inverted.efficientnet(16, theirs, 64, 5, eps=1e-3, momentum=0.01)
    check(net, module, (2, 33, 40, 3), rng)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_whole_b0_equals_torch(dtype, rng):
    """Values and statistics in float32, gradients in float64: so deep, rounding moves them past float32's tolerance."""
    pytest.importorskip("torch")
    from models.parity import check
    from models.torch_nets import inverted

    net = models.efficientnet_b0(dropout=0.0, drop_path=0.0)
    module = inverted.efficientnet(32, B0, 1280, 1000)
    deep = dtype == "float64"
    with jax.enable_x64(deep):
        check(net, module, (2, 64, 64, 3), rng, dtype=dtype, slopes=deep, evaluates=not deep)


@pytest.mark.slow
def test_blocks_are_dropped_more_often_the_deeper_they_are(monkeypatch):
    module, rates = importlib.import_module("jaxconv.models._efficientnet"), []
    monkeypatch.setattr(module, "DropPath", lambda rate: rates.append(rate) or jc.DropPath(rate))
    models.efficientnet_b0()
    np.testing.assert_allclose(rates, 0.2 * np.arange(16) / 16)


@pytest.mark.slow
def test_three_largest_take_the_norms_of_the_papers_code():
    """B0 … B4 are torch's defaults, B5 … B7 TensorFlow's: after one step 1 % of the batch's mean is in the state."""
    for name, share in (("efficientnet_b4", 0.1), ("efficientnet_b5", 0.01)):
        net = models.registry[name](upto="features/0")
        params, state = net.init(jax.random.key(0), (1, 9, 9, 3))
        x = np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype(np.float32) + 1
        _, new = net.apply(params, state, x, train=True)
        batch = jc.conv(x, params["features"]["0"]["0"]["kernel"], stride=2, padding=1).mean((0, 1, 2))
        np.testing.assert_allclose(new["features"]["0"]["1"]["mean"], share * batch, rtol=1e-4, atol=1e-6)


def test_functions_carry_their_names_and_their_documentation():
    for name in PUBLISHED:
        assert models.registry[name].__name__ == name
        assert models.registry[name].__doc__.startswith(f"EfficientNet-{name[-2:].upper()}: ")
