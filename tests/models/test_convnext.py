"""ConvNeXt: counts as published, numbers as torch's."""

import importlib

import jax
import numpy as np
import pytest

import jaxconv as jc
from jaxconv import models

pytestmark = pytest.mark.sampled

# Parameters and GFLOPS (multiplications with their additions in convolutions and dense layers, taps on padding among
# them: `Summary.macs`) at 224×224 as torchvision 0.15 documents them for its weights of these nets.
PUBLISHED = {
    "convnext_tiny": (28_589_128, 4.456),
    "convnext_small": (50_223_688, 8.684),
    "convnext_base": (88_591_464, 15.355),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n != "convnext_tiny" else []) for n in PUBLISHED]
)
def test_parameters_and_multiplications_as_published(name):
    found = jc.summary(models.registry[name](), (1, 224, 224, 3))
    assert (found.parameters, round(found.macs / 1e9, 3)) == PUBLISHED[name]


def parity(shape, widths, depths, classes, rng):
    pytest.importorskip("torch")
    from models.parity import check
    from models.torch_nets.convnext import ConvNeXt

    net = models.convnext(classes, widths=widths, depths=depths, drop_path=0.0)
    check(net, ConvNeXt(widths, depths, classes), shape, rng)


@pytest.mark.slow
def test_a_small_one_equals_torch(rng):
    parity((2, 33, 46, 3), (8, 16, 24), (1, 2, 1), 5, rng)


@pytest.mark.slow
def test_the_whole_tiny_one_equals_torch(rng):
    parity((2, 32, 45, 3), (96, 192, 384, 768), (3, 3, 9, 3), 1000, rng)


def test_blocks_are_dropped_more_often_the_deeper_they_are(monkeypatch):
    module, rates = importlib.import_module("jaxconv.models._convnext"), []
    monkeypatch.setattr(module, "DropPath", lambda rate: rates.append(rate) or jc.DropPath(rate))
    models.convnext_tiny()
    np.testing.assert_allclose(rates, np.linspace(0, 0.1, 18))
    rates.clear()
    models.convnext(widths=(8,), depths=(1,))
    assert rates == [0]


def test_it_starts_as_little_more_than_its_shortcuts(rng, quick_jit):
    """With layer scales of 1e-6 a block gives back what came, all but."""
    net = models.convnext(upto="features/1", widths=(8,), depths=(2,))
    x = rng.normal(size=(1, 16, 16, 3)).astype(np.float32)
    params, state = net.init(jax.random.key(0), x.shape)
    blocks, scales = params["features"]["1"], np.zeros(8, np.float32)
    assert np.all(np.asarray(blocks["0"]["layer_scale"]) == np.float32(1e-6))
    without = {**params["features"], "1": {name: {**block, "layer_scale": scales} for name, block in blocks.items()}}
    apply = quick_jit(lambda params: net.apply(params, state, x)[0])
    moved = np.abs(apply(params) - apply({"features": without})).max()
    assert 0 < moved < 1e-4


def test_a_net_without_state_is_two_functions():
    """Though its layer scales are bare arrays among the parts, not dicts."""
    init, apply = jc.stateless(models.convnext(5, widths=(8, 16), depths=(1, 1)))
    params = jax.eval_shape(lambda: init(jax.random.key(0), (2, 16, 16, 3)))
    assert jax.eval_shape(apply, params, jax.ShapeDtypeStruct((2, 16, 16, 3), "float32")).shape == (2, 5)


def test_messages():
    with pytest.raises(ValueError) as caught:
        models.convnext(widths=(8, 16), depths=(1,))
    assert str(caught.value) == "widths and depths must have one entry for each stage, got (8, 16) and (1,)"
    net = models.convnext(5, widths=(8,), depths=(1,))
    x = jax.ShapeDtypeStruct((1, 8, 8, 3), "float32")
    params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), x))
    block = params["features"]["1"]["0"]
    for wrong, came in ((jax.ShapeDtypeStruct((8, 1, 1), "float32"), "(8, 1, 1)"), ({}, "dict")):
        broken = {**params, "features": {**params["features"], "1": {"0": {**block, "layer_scale": wrong}}}}
        with pytest.raises(jc.ShapeError) as caught:
            jax.eval_shape(net.apply, broken, state, x)
        assert str(caught.value) == f"at features/1/0/layer_scale: layer_scale must be an array (8,)\n  got: {came}"
